//! NumPy's `.npz`: a zip archive of `.npy` arrays, for exchanging inputs and logits with other frameworks.
//!
//! Follows the `.npy` format description, versions 1 to 3 (NumPy Enhancement Proposal 1). Entries may be stored or
//! deflated; arrays are little-endian float32, float64 or int64 in C order, anything else is refused by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::array::{DType, HostArray, byte_len};
use super::error::{END, Fault, TensorFileError};
use crate::atomic::write_atomically;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Bytes of a header: a dictionary of three short values.
const MAX_HEADER: usize = 1 << 16;
/// Most bytes of one array, and far more than any published file has: a small archive may unpack to anything.
const MAX_ARRAY: usize = 1 << 31;

/// Reads every array of the file at `path`, by name without `.npy`.
///
/// # Errors
/// `Content` for a file that is cut short or damaged, or an array of another type or order; `Io` where the operating
/// system refuses.
pub fn read_npz(path: &Path) -> Result<BTreeMap<String, HostArray>, TensorFileError> {
    let read = || read_archive(BufReader::new(File::open(path).map_err(Fault::Io)?));
    read().map_err(|fault| fault.at(path))
}

/// Writes `arrays` to `path`, uncompressed, atomically; equal arrays give equal bytes.
///
/// # Panics
/// If an array is not float32, float64 or int64.
///
/// # Errors
/// `Io` where the operating system refuses.
pub fn write_npz(path: &Path, arrays: &[(&str, &HostArray)]) -> Result<(), TensorFileError> {
    let written = write_atomically(path, |file| {
        let mut archive = ZipWriter::new(file);
        for (name, array) in arrays {
            // Beyond 4 GiB an entry needs the 64-bit fields; the header adds less than a mebibyte.
            let large = array.data().len() as u64 > u64::from(u32::MAX) - (1 << 20);
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
            archive.start_file(format!("{name}.npy"), options)?;
            archive.write_all(&header(array))?;
            archive.write_all(array.data())?;
        }
        archive.finish()?;
        Ok(())
    });
    written.map_err(|source| TensorFileError::Io { path: path.to_path_buf(), source })
}

fn read_archive(reader: impl Read + Seek) -> Result<BTreeMap<String, HostArray>, Fault> {
    let mut archive = ZipArchive::new(reader)
        .map_err(|error| Fault::zip(error, "zip directory", "a whole zip archive, as numpy.savez writes it"))?;
    let mut arrays = BTreeMap::new();
    for index in 0..archive.len() {
        let mut entry =
            archive.by_index(index).map_err(|error| Fault::zip(error, format!("entry {index}"), "an array"))?;
        let name = match entry.name() {
            Ok(name) => name.into_owned(),
            Err(error) => return Err(Fault::zip(error, format!("entry {index}"), "a name")),
        };
        let array = read_npy(&mut entry, &name)?;
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        if arrays.insert(name.clone(), array).is_some() {
            return Err(Fault::content(format!("array `{name}`"), "one array of that name", "two"));
        }
    }
    Ok(arrays)
}

fn read_npy(reader: &mut impl Read, part: &str) -> Result<HostArray, Fault> {
    let mut start = [0; 8];
    let expected = "an array (.npy)";
    reader.read_exact(&mut start).map_err(|error| Fault::read(error, part, expected))?;
    let [magic @ .., major, _minor] = start;
    if magic != *MAGIC || !(1..=3).contains(&major) {
        return Err(Fault::content(part, expected, format!("first bytes {start:02x?}")));
    }
    let mut length = [0; 4];
    let length_bytes = if major == 1 { 2 } else { 4 };
    reader.read_exact(&mut length[..length_bytes]).map_err(|error| Fault::read(error, part, "a header length"))?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER {
        return Err(Fault::content(part, format!("a header of at most {MAX_HEADER} bytes"), length));
    }
    let mut header = vec![0; length];
    reader.read_exact(&mut header).map_err(|error| Fault::read(error, part, "a header"))?;
    let (dtype, shape) = parse_header(&header, part)?;

    let Some(bytes) = byte_len(&shape, dtype).filter(|bytes| *bytes <= MAX_ARRAY) else {
        return Err(Fault::content(part, "a size that fits memory", format!("shape {shape:?}")));
    };
    let expected = format!("{bytes} bytes of {dtype}{shape:?}");
    // Grows with what is really there, whatever the header claims; one byte more shows that the end is reached.
    let mut data = Vec::new();
    let limit = (bytes as u64).saturating_add(1);
    reader.take(limit).read_to_end(&mut data).map_err(|error| Fault::read(error, part, &expected))?;
    match data.len() {
        got if got == bytes => Ok(HostArray::new(shape, dtype, data)),
        got if got < bytes => Err(Fault::content(part, expected, format!("{END} at byte {got}"))),
        _ => Err(Fault::content(part, expected, "more")),
    }
}

/// The header dictionary, padded so that the elements begin at a multiple of 64 bytes.
fn header(array: &HostArray) -> Vec<u8> {
    let descr = match array.dtype() {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::I64 => "<i8",
        other => panic!("arrays of {other} are not written"),
    };
    let shape: String = array.shape().iter().map(|size| format!("{size}, ")).collect();
    // Python writes (2, 3), (2,) and ().
    let shape = if array.shape().len() == 1 { shape.trim_end() } else { shape.trim_end_matches(", ") };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }` in any order.
fn parse_header(bytes: &[u8], part: &str) -> Result<(DType, Vec<usize>), Fault> {
    let text = String::from_utf8_lossy(bytes);
    let malformed = || Fault::content(part, "a header {'descr', 'fortran_order', 'shape'}", text.trim());
    let mut rest = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(malformed)?.trim();
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, value) = quoted(rest).ok_or_else(malformed)?;
        let value = value.trim_start().strip_prefix(':').ok_or_else(malformed)?.trim_start();
        let end = match value.as_bytes().first() {
            Some(b'(') => value.find(')').ok_or_else(malformed)? + 1,
            _ => value.find(',').unwrap_or(value.len()),
        };
        let (value, after) = (value[..end].trim(), value[end..].trim_start());
        match key {
            "descr" => descr = Some(value),
            "fortran_order" => fortran = Some(value),
            "shape" => shape = Some(value),
            _ => return Err(malformed()),
        }
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
    }
    let (Some(descr), Some(fortran), Some(shape)) = (descr, fortran, shape) else {
        return Err(malformed());
    };
    let dtype = match quoted(descr).filter(|(_, rest)| rest.is_empty()).map(|(descr, _)| descr) {
        Some("<f4") => DType::F32,
        Some("<f8") => DType::F64,
        Some("<i8") => DType::I64,
        _ => return Err(Fault::content(part, "elements '<f4', '<f8' or '<i8'", descr)),
    };
    if fortran != "False" {
        let expected = "C order (numpy.ascontiguousarray)";
        return Err(Fault::content(part, expected, format!("fortran_order {fortran}")));
    }
    let inside = shape.strip_prefix('(').and_then(|shape| shape.strip_suffix(')')).ok_or_else(malformed)?;
    let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape = sizes.map(|size| size.parse().map_err(|_| malformed())).collect::<Result<_, _>>()?;
    Ok((dtype, shape))
}

/// The Python string at the start of `text`, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::failure::{Failure, FailureKind};

    fn read(bytes: &[u8]) -> Result<BTreeMap<String, HostArray>, Fault> {
        read_archive(Cursor::new(bytes))
    }

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn check_npy(header: &str, data: &[u8], expected: &str) {
        match read_npy(&mut Cursor::new(npy(header, data)), "x.npy") {
            Ok(array) => assert_eq!(format!("{array:?}"), expected),
            Err(fault) => {
                let message = fault.at(Path::new("f.npz")).to_string();
                assert!(message.contains(expected), "{message}");
            }
        }
    }

    #[test]
    fn headers_as_numpy_writes_them() {
        check_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", &[0; 8], "float32[2]");
        check_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", &[0; 8], "float64[]");
        check_npy("{\"shape\": (1, 3), 'descr': '<i8', 'fortran_order': False}", &[0; 24], "int64[1, 3]");
        check_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9), }", &[], "float32[0, 9]");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        check_npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", &[0; 16], "C order");
        check_npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", &[0; 8], "found '>f4'");
        check_npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", &[0; 8], "found '|O'");
        check_npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", &[0; 8], "header");
        check_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", &[0; 8], "header");
        check_npy("{'descr': '<f4', 'fortran_order': False}", &[0; 8], "header");
        check_npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
            &[0; 8],
            "the end of the file at byte 8",
        );
        check_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", &[0; 8], "found more");
        let huge = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({0}, {0}), }}", u64::MAX);
        check_npy(&huge, &[], "fits memory");
        check_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999,), }", &[0; 8], "the end of the file");
        check_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }", &[0; 8], "fits memory");
    }

    #[test]
    fn reading_undoes_writing_and_equal_arrays_give_equal_files() {
        let folder = tempfile::tempdir().unwrap();
        let (path, again) = (folder.path().join("a.npz"), folder.path().join("b.npz"));
        let logits = HostArray::from_f32(&[2, 1, 3], &[1.0, -2.0, 3.5, f32::MIN_POSITIVE, 0.0, 1e30]);
        let scalar = HostArray::from_i64(&[], &[-7]);
        let row = HostArray::new(vec![1], DType::F64, 0.1f64.to_le_bytes().to_vec());
        let arrays = [("logits", &logits), ("scalar", &scalar), ("row", &row)];
        write_npz(&path, &arrays).unwrap();
        write_npz(&again, &arrays).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
        let read = read_npz(&path).unwrap();
        assert_eq!(read.len(), 3);
        for (name, array) in arrays {
            assert_eq!(read[name], *array, "{name}");
        }
    }

    #[test]
    fn deflated_archives_are_read() {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        archive.start_file("zeros.npy", options).unwrap();
        archive.write_all(&header(&HostArray::from_f32(&[4096], &[0.0; 4096]))).unwrap();
        archive.write_all(&[0; 4 * 4096]).unwrap();
        let bytes = archive.finish().unwrap().into_inner();
        assert!(bytes.len() < 1000);
        assert_eq!(read(&bytes).unwrap()["zeros"].shape(), [4096]);
    }

    #[test]
    fn a_missing_file_is_io_and_a_damaged_one_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        assert_eq!(read_npz(&path).unwrap_err().kind(), FailureKind::Usage);
        std::fs::write(&path, b"no archive").unwrap();
        let error = read_npz(&path).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Content);
        assert!(error.to_string().contains("a.npz"));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(cut in 0usize..500, flip in 0usize..500, bit in 0u8..8) {
            let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
            archive.start_file("x.npy", SimpleFileOptions::default()).unwrap();
            archive.write_all(&header(&HostArray::from_f32(&[9], &[1.0; 9]))).unwrap();
            archive.write_all(HostArray::from_f32(&[9], &[1.0; 9]).data()).unwrap();
            let mut bytes = archive.finish().unwrap().into_inner();
            let cut = cut % bytes.len();
            prop_assert!(read(&bytes[..cut]).is_err());
            let flip = flip % bytes.len();
            bytes[flip] ^= 1 << bit;
            let _ = read(&bytes);
        }
    }
}
