//! safetensors files, and the one place where arrays become LibTorch tensors and back.
//!
//! Files are written by this module in the layout of the `safetensors` crate (8-byte header length, JSON header, elements;
//! widest types first, then by name), which also reads them: the crate keeps metadata in a hash map, whose random order
//! would make equal files differ. tch's own writer refuses channels-last tensors.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use storage::atomic::write_atomically;
use tch::{Device, Kind, Tensor};

use crate::import::{DType, Fault, HostArray, TensorFileError};

/// Free-form text in the header of a safetensors file.
pub type Metadata = BTreeMap<String, String>;

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
        let dtype = dtype_of(tensor.kind()).ok_or_else(|| unsupported(name, tensor.kind()).at(path))?;
        let shape: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
        entries.push((name.as_str(), dtype, shape, *tensor));
    }
    write(path, entries, metadata, bytes_of)
}

/// [`save_safetensors`] for arrays in host memory.
///
/// # Errors
/// `Io` where the operating system refuses.
pub fn save_arrays(
    path: &Path,
    arrays: &BTreeMap<String, HostArray>,
    metadata: &Metadata,
) -> Result<(), TensorFileError> {
    let entries = arrays.iter().map(|(name, array)| (name.as_str(), array.dtype(), array.shape().to_vec(), array));
    write(path, entries.collect(), metadata, |array| array.data())
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

/// [`load_safetensors`] to host memory.
///
/// # Errors
/// As [`load_safetensors`].
pub fn load_arrays(path: &Path) -> Result<(BTreeMap<String, HostArray>, Metadata), TensorFileError> {
    let read = || {
        let bytes = std::fs::read(path).map_err(Fault::Io)?;
        parse(&bytes)
    };
    read().map_err(|fault| fault.at(path))
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

fn unsupported(name: &str, found: impl std::fmt::Debug) -> Fault {
    Fault::content(format!("tensor `{name}`"), "a float, integer or bool element type", format!("{found:?}"))
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// Name and width of a type as the header spells it.
const SPELLING: [(DType, Dtype, &str); 10] = [
    (DType::F64, Dtype::F64, "F64"),
    (DType::I64, Dtype::I64, "I64"),
    (DType::F32, Dtype::F32, "F32"),
    (DType::I32, Dtype::I32, "I32"),
    (DType::F16, Dtype::F16, "F16"),
    (DType::Bf16, Dtype::BF16, "BF16"),
    (DType::I16, Dtype::I16, "I16"),
    (DType::I8, Dtype::I8, "I8"),
    (DType::U8, Dtype::U8, "U8"),
    (DType::Bool, Dtype::BOOL, "BOOL"),
];

/// Writes the entries (name, type, shape, source), asking for the bytes of one source at a time.
fn write<S: Copy, B: AsRef<[u8]>>(
    path: &Path,
    mut entries: Vec<(&str, DType, Vec<usize>, S)>,
    metadata: &Metadata,
    bytes: impl Fn(S) -> B,
) -> Result<(), TensorFileError> {
    // Widest first keeps every tensor aligned to its own width.
    entries.sort_by_key(|(name, dtype, ..)| (std::cmp::Reverse(dtype.size()), *name));
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut end = 0;
    for (name, dtype, shape, _) in &entries {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.size();
        let (_, _, spelling) = SPELLING.iter().find(|(known, ..)| known == dtype).expect("every type is spelled");
        let info = json!({"dtype": spelling, "shape": shape, "data_offsets": [start, end]});
        assert!(header.insert((*name).to_owned(), info).is_none(), "two tensors are named `{name}`");
    }
    let mut header = Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let written = write_atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        entries.into_iter().try_for_each(|(_, _, _, source)| file.write_all(bytes(source).as_ref()))
    });
    written.map_err(|source| TensorFileError::Io { path: path.to_path_buf(), source })
}

fn parse(bytes: &[u8]) -> Result<(BTreeMap<String, HostArray>, Metadata), Fault> {
    let damaged = |error| Fault::content("safetensors header", "a whole safetensors file", error);
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut arrays = BTreeMap::new();
    for (name, view) in file.iter() {
        let spelling = SPELLING.iter().find(|(_, known, _)| *known == view.dtype());
        let (dtype, ..) = spelling.ok_or_else(|| unsupported(name, view.dtype()))?;
        arrays.insert(name.to_owned(), HostArray::new(view.shape().to_vec(), *dtype, view.data().to_vec()));
    }
    let metadata = header.metadata().iter().flatten().map(|(key, text)| (key.clone(), text.clone())).collect();
    Ok((arrays, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use storage::failure::{Failure, FailureKind};

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
    fn the_layout_is_the_crates_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let wide = HostArray::from_i64(&[1], &[9]);
        let narrow = HostArray::from_f32(&[2, 1], &[1.0, 2.0]);
        let arrays = BTreeMap::from([("a".to_owned(), narrow.clone()), ("z".to_owned(), wide.clone())]);
        save_arrays(&path, &arrays, &Metadata::new()).unwrap();
        let view = |array: &HostArray, dtype| {
            safetensors::tensor::TensorView::new(dtype, array.shape().to_vec(), array.data())
                .map(|view| view.data().len())
        };
        assert_eq!((view(&narrow, Dtype::F32).unwrap(), view(&wide, Dtype::I64).unwrap()), (8, 8));
        let views = [
            ("a", safetensors::tensor::TensorView::new(Dtype::F32, vec![2, 1], narrow.data()).unwrap()),
            ("z", safetensors::tensor::TensorView::new(Dtype::I64, vec![1], wide.data()).unwrap()),
        ];
        assert_eq!(std::fs::read(&path).unwrap(), safetensors::serialize(views, None).unwrap());
        assert_eq!(load_arrays(&path).unwrap().0, arrays);
    }

    #[test]
    fn cut_and_foreign_files_are_content_and_missing_ones_io() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        assert_eq!(load_arrays(&path).unwrap_err().kind(), FailureKind::Io);
        let arrays = BTreeMap::from([("a".to_owned(), HostArray::from_f32(&[3], &[1.0, 2.0, 3.0]))]);
        save_arrays(&path, &arrays, &metadata()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = load_arrays(&path).unwrap_err();
            assert_eq!(error.kind(), FailureKind::Content);
            assert!(error.to_string().contains("x.safetensors"), "{error}");
        }
        std::fs::write(&path, b"\x80\x02}q\x00.a pickle, not a header").unwrap();
        assert_eq!(load_arrays(&path).unwrap_err().kind(), FailureKind::Content);
    }

    #[test]
    fn arrays_and_tensors_are_the_same_thing() {
        let array = HostArray::from_f32(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let tensor = to_tensor(&array);
        assert_eq!(tensor.double_value(&[1, 2]), 5.0);
        assert_eq!(from_tensor(&tensor), array);
        assert_eq!(from_tensor(&tensor.tr()).to_f32().unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    proptest! {
        #[test]
        fn damaged_headers_never_panic(flip in 0usize..200, bit in 0u8..8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.safetensors");
            let arrays = BTreeMap::from([("a".to_owned(), HostArray::from_f32(&[3], &[1.0, 2.0, 3.0]))]);
            save_arrays(&path, &arrays, &Metadata::new()).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let flip = flip % bytes.len();
            bytes[flip] ^= 1 << bit;
            let _ = parse(&bytes);
        }
    }
}
