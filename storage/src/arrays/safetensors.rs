//! safetensors files: an 8-byte header length, a JSON header, and the elements; widest types first, then by name.
//!
//! Files are written here in the layout of the `safetensors` crate, which reads them: the crate keeps metadata in a hash
//! map, whose random order would make equal files differ.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use super::array::{DType, HostArray, byte_len};
use super::error::{Fault, TensorFileError};
use crate::atomic::write_atomically;
use crate::file::{open_file, read_bytes};

/// Free-form text in the header of a safetensors file.
pub type Metadata = BTreeMap<String, String>;

/// Writes `arrays` to `path`, atomically; equal arrays and metadata give equal bytes.
///
/// # Errors
/// `Io` where the operating system refuses.
pub fn save_arrays(
    path: &Path,
    arrays: &BTreeMap<String, HostArray>,
    metadata: &Metadata,
) -> Result<(), TensorFileError> {
    let entries = arrays.iter().map(|(name, array)| (name.as_str(), array.dtype(), array.shape().to_vec(), array));
    let written = write(path, entries.collect(), metadata, |array| array.data());
    written.map_err(|source| TensorFileError::Io { path: path.to_path_buf(), source })
}

/// Reads every array of the file at `path`, with its metadata.
///
/// # Errors
/// `Content` for a file that is cut short, damaged, or has element types that are not supported; `Io` where the
/// operating system refuses.
pub fn load_arrays(path: &Path) -> Result<(BTreeMap<String, HostArray>, Metadata), TensorFileError> {
    let read = || {
        let bytes = read_bytes(path).map_err(Fault::Io)?;
        parse(&bytes)
    };
    read().map_err(|fault| fault.at(path))
}

/// The metadata of the file at `path`, whose tensors are not read.
///
/// # Errors
/// As [`load_arrays`], for the header.
pub fn load_metadata(path: &Path) -> Result<Metadata, TensorFileError> {
    let read = || {
        let mut file = open_file(path).map_err(Fault::Io)?;
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(cut)?;
        let length = u64::from_le_bytes(length);
        if length > MOST {
            return Err(damaged(format!("a header of {length} bytes")));
        }
        let mut header = Vec::new();
        file.take(length).read_to_end(&mut header).map_err(Fault::Io)?;
        let mut header: Map<String, Value> = serde_json::from_slice(&header).map_err(damaged)?;
        let metadata = header.remove("__metadata__").unwrap_or(Value::Object(Map::new()));
        serde_json::from_value(metadata).map_err(damaged)
    };
    read().map_err(|fault: Fault| fault.at(path))
}

/// Bytes of a header at most, a limit of the format's own.
const MOST: u64 = 100_000_000;

fn cut(source: io::Error) -> Fault {
    if source.kind() == io::ErrorKind::UnexpectedEof { damaged(source) } else { Fault::Io(source) }
}

fn damaged(error: impl std::fmt::Display) -> Fault {
    Fault::content("safetensors header", "a whole safetensors file", error)
}

/// Writes the entries (name, type, shape, source) atomically, asking for the bytes of one source at a time.
///
/// # Panics
/// If two entries have one name.
///
/// # Errors
/// What the operating system refuses, the file named.
pub fn write<S: Copy, B: AsRef<[u8]>>(
    path: &Path,
    mut entries: Vec<(&str, DType, Vec<usize>, S)>,
    metadata: &Metadata,
    bytes: impl Fn(S) -> B,
) -> io::Result<()> {
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
    write_atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        entries.into_iter().try_for_each(|(_, _, _, source)| file.write_all(bytes(source).as_ref()))
    })
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

fn parse(bytes: &[u8]) -> Result<(BTreeMap<String, HostArray>, Metadata), Fault> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut arrays = BTreeMap::new();
    for (name, view) in file.iter() {
        let spelling = SPELLING.iter().find(|(_, known, _)| *known == view.dtype());
        let (dtype, ..) = spelling.ok_or_else(|| unsupported(name, view.dtype()))?;
        if byte_len(view.shape(), *dtype).is_none() {
            let shape = format!("shape {:?}", view.shape());
            return Err(Fault::content(format!("tensor `{name}`"), "a size that fits memory", shape));
        }
        arrays.insert(name.to_owned(), HostArray::new(view.shape().to_vec(), *dtype, view.data().to_vec()));
    }
    let metadata = header.metadata().iter().flatten().map(|(key, text)| (key.clone(), text.clone())).collect();
    Ok((arrays, metadata))
}

fn unsupported(name: &str, found: impl std::fmt::Debug) -> Fault {
    Fault::content(format!("tensor `{name}`"), "a float, integer or bool element type", format!("{found:?}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::failure::{Failure, FailureKind};

    fn metadata() -> Metadata {
        (0..20).map(|i| (format!("key {i}"), format!("a \"text\" of {i}"))).collect()
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
            TensorView::new(dtype, array.shape().to_vec(), array.data()).map(|view| view.data().len())
        };
        assert_eq!((view(&narrow, Dtype::F32).unwrap(), view(&wide, Dtype::I64).unwrap()), (8, 8));
        let views = [
            ("a", TensorView::new(Dtype::F32, vec![2, 1], narrow.data()).unwrap()),
            ("z", TensorView::new(Dtype::I64, vec![1], wide.data()).unwrap()),
        ];
        assert_eq!(std::fs::read(&path).unwrap(), safetensors::serialize(views, None).unwrap());
        assert_eq!(load_arrays(&path).unwrap().0, arrays);
        save_arrays(&path, &arrays, &metadata()).unwrap();
        assert_eq!(load_metadata(&path).unwrap(), metadata());
    }

    #[test]
    fn cut_and_foreign_files_are_content_and_missing_ones_usage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        assert_eq!(load_arrays(&path).unwrap_err().kind(), FailureKind::Usage);
        let arrays = BTreeMap::from([("a".to_owned(), HostArray::from_f32(&[3], &[1.0, 2.0, 3.0]))]);
        save_arrays(&path, &arrays, &metadata()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = load_arrays(&path).unwrap_err();
            assert_eq!(error.kind(), FailureKind::Content);
            assert!(error.to_string().contains("x.safetensors"), "{error}");
            // The header may be whole; if not, that is said alike.
            if let Err(error) = load_metadata(&path) {
                assert_eq!(error.kind(), FailureKind::Content);
            }
        }
        std::fs::write(&path, b"\x80\x02}q\x00.a pickle, not a header").unwrap();
        assert_eq!(load_arrays(&path).unwrap_err().kind(), FailureKind::Content);
    }

    #[test]
    fn an_empty_tensor_has_sizes_that_fit_memory() {
        let header = r#"{"a":{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0]}}"#;
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        let Err(Fault::Content { part, found, .. }) = parse(&bytes) else { panic!("taken") };
        assert_eq!((&*part, &*found), ("tensor `a`", "shape [0, 9223372036854775808]"));
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
