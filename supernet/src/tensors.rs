//! The one place where arrays become LibTorch tensors and back, and safetensors files of tensors.
//!
//! Files are written by [`storage::arrays::safetensors`]; tch's own writer refuses channels-last tensors.

use std::collections::BTreeMap;
use std::path::Path;

use storage::arrays::safetensors::write;
pub use storage::arrays::safetensors::{Metadata, load_arrays, save_arrays};
use storage::arrays::{DType, Fault, HostArray, TensorFileError};
use tch::{Device, Kind, Tensor};

/// Whether `tensor` holds neither NaN nor infinity.
pub(crate) fn is_finite(tensor: &Tensor) -> bool {
    tensor.isfinite().all().int64_value(&[]) != 0
}

/// Writes `tensors` (any device, any memory format; row-major in the file) to `path`, atomically; equal tensors and
/// metadata give equal bytes.
///
/// # Panics
/// If two tensors have one name.
///
/// # Errors
/// `Io` where the operating system refuses; `Content` for an element type that files do not have (complex, quantised).
pub fn save_safetensors(
    path: &Path,
    tensors: &[(String, &Tensor)],
    metadata: &Metadata,
) -> Result<(), TensorFileError> {
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let expected = "a float, integer or bool element type";
        let unsupported = || Fault::content(format!("tensor `{name}`"), expected, format!("{:?}", tensor.kind()));
        let dtype = dtype_of(tensor.kind()).ok_or_else(|| unsupported().at(path))?;
        let shape: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
        entries.push((name.as_str(), dtype, shape, *tensor));
    }
    let written = write(path, entries, metadata, bytes_of);
    written.map_err(|source| TensorFileError::Io { path: path.to_path_buf(), source })
}

/// Reads every tensor of the file at `path` to the CPU, with its metadata.
///
/// # Errors
/// `Content` for a file that is cut short, damaged, or has element types that are not supported; `Io` where the
/// operating system refuses.
pub fn load_safetensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, Metadata), TensorFileError> {
    let (arrays, metadata) = load_arrays(path)?;
    Ok((arrays.into_iter().map(|(name, array)| (name, to_tensor(&array))).collect(), metadata))
}

/// A tensor of `array`'s shape, type and elements, on the CPU.
pub fn to_tensor(array: &HostArray) -> Tensor {
    let kind = match array.dtype() {
        DType::F32 => Kind::Float,
        DType::F64 => Kind::Double,
        DType::F16 => Kind::Half,
        DType::Bf16 => Kind::BFloat16,
        DType::I64 => Kind::Int64,
        DType::I32 => Kind::Int,
        DType::I16 => Kind::Int16,
        DType::I8 => Kind::Int8,
        DType::U8 => Kind::Uint8,
        DType::Bool => Kind::Bool,
    };
    let size: Vec<i64> = array.shape().iter().map(|&size| size as i64).collect();
    Tensor::from_data_size(array.data(), &size, kind)
}

/// The elements of `tensor` (any device, any memory format) in host memory.
///
/// # Panics
/// If its elements are complex or quantised.
pub fn from_tensor(tensor: &Tensor) -> HostArray {
    let kind = tensor.kind();
    let dtype = dtype_of(kind).unwrap_or_else(|| panic!("tensors of {kind:?} have no array"));
    let shape = tensor.size().iter().map(|&size| size as usize).collect();
    HostArray::new(shape, dtype, bytes_of(tensor))
}

fn dtype_of(kind: Kind) -> Option<DType> {
    Some(match kind {
        Kind::Float => DType::F32,
        Kind::Double => DType::F64,
        Kind::Half => DType::F16,
        Kind::BFloat16 => DType::Bf16,
        Kind::Int64 => DType::I64,
        Kind::Int => DType::I32,
        Kind::Int16 => DType::I16,
        Kind::Int8 => DType::I8,
        Kind::Uint8 => DType::U8,
        Kind::Bool => DType::Bool,
        _ => return None,
    })
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        (0..20).map(|i| (format!("key {i}"), format!("a \"text\" of {i}"))).collect()
    }

    #[test]
    fn every_kind_and_memory_format_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/weights.safetensors");
        let dense = Tensor::arange(2 * 3 * 4 * 5, (Kind::Float, Device::Cpu)).reshape([2, 3, 4, 5]);
        // Strides of a channels-last tensor under the shape of a channels-first one.
        let channels_last = dense.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        assert!(!channels_last.is_contiguous());
        let slice = dense.narrow(1, 0, 2);
        let trained = dense.copy().set_requires_grad(true);
        let kinds = [Kind::Double, Kind::Half, Kind::BFloat16, Kind::Int64, Kind::Int, Kind::Int16, Kind::Int8];
        let mut tensors: Vec<(String, Tensor)> =
            kinds.iter().map(|&kind| (format!("{kind:?}"), dense.to_kind(kind))).collect();
        tensors.push(("bytes".into(), dense.to_kind(Kind::Uint8)));
        tensors.push(("mask".into(), dense.gt(7.0)));
        tensors.push(("channels last".into(), channels_last));
        tensors.push(("slice".into(), slice));
        tensors.push(("trained".into(), trained));
        tensors.push(("scalar".into(), Tensor::from(-7i64)));
        tensors.push(("empty".into(), Tensor::zeros([0, 3], (Kind::Float, Device::Cpu))));
        let borrowed: Vec<(String, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
        save_safetensors(&path, &borrowed, &metadata()).unwrap();
        let (loaded, loaded_metadata) = load_safetensors(&path).unwrap();
        assert_eq!(loaded_metadata, metadata());
        assert_eq!(loaded.len(), tensors.len());
        for (name, tensor) in &tensors {
            assert_eq!(loaded[name], tensor.detach(), "{name}");
            assert_eq!(loaded[name].kind(), tensor.kind(), "{name}");
        }
    }

    #[test]
    fn equal_tensors_give_equal_files_whatever_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (Tensor::from_slice(&[1.0f32, 2.0]), Tensor::from_slice(&[3i64]));
        let files = ["1", "2"].map(|name| folder.path().join(name));
        save_safetensors(&files[0], &[("a".into(), &a), ("b".into(), &b)], &metadata()).unwrap();
        save_safetensors(&files[1], &[("b".into(), &b), ("a".into(), &a)], &metadata()).unwrap();
        let bytes = files.map(|path| std::fs::read(path).unwrap());
        assert_eq!(bytes[0], bytes[1]);
        // Elements begin at a multiple of eight, as the format asks.
        assert_eq!(u64::from_le_bytes(bytes[0][..8].try_into().unwrap()) % 8, 0);
    }

    #[test]
    fn arrays_and_tensors_are_the_same_thing() {
        let array = HostArray::from_f32(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let tensor = to_tensor(&array);
        assert_eq!(tensor.double_value(&[1, 2]), 5.0);
        assert_eq!(from_tensor(&tensor), array);
        assert_eq!(from_tensor(&tensor.tr()).to_f32().unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }
}
