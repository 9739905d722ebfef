//! Reads PyTorch checkpoints (`torch.save`) as tensors only; nothing in them is executed.
//!
//! Both containers: the zip archive of PyTorch 1.6 and later (`NAME/data.pkl`, one stored entry `NAME/data/KEY` for each
//! storage), and the legacy stream before it (pickles of a magic number, the protocol, the byte order, the object and
//! the storage keys; then for each key an int64 count of elements and the elements). Big-endian files are refused.
//!
//! Every length is checked against the file before memory is taken for it, and every stride against its storage, so a
//! hostile file costs at most a few times its own size.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use storage::arrays::{END, Fault, HostArray, TensorFileError, byte_len};
use zip::ZipArchive;

use super::pickle::{Node, Pickle, StorageRef, TensorRef, Value};

/// First pickle of a legacy file.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// Second pickle of a legacy file.
const PROTOCOL: i128 = 1001;
/// Bytes of one pickle; a network of a thousand tensors has about 0.1 MB.
const MAX_PICKLE: u64 = 1 << 28;
/// Dictionaries inside dictionaries.
const MAX_DEPTH: usize = 32;
/// Bytes of one name.
const MAX_NAME: usize = 4096;
/// Values visited in search of tensors: a few dictionaries that hold one another twice would otherwise never end.
const MAX_VISITS: usize = 1 << 22;

/// Reads every tensor of the checkpoint at `path`.
///
/// Dictionaries, lists and tuples are walked; a tensor is named by the keys on the way joined by dots
/// (`state_dict.first_conv.conv.weight`), a lone tensor by the empty string. Other values are ignored.
///
/// # Errors
/// `Content` for a file that is cut short, damaged, of another kind, or holds other Python objects than tensors and
/// plain containers; `Io` where the operating system refuses.
pub fn read_pth(path: &Path) -> Result<BTreeMap<String, HostArray>, TensorFileError> {
    let file = File::open(path).map_err(|error| Fault::Io(error).at(path))?;
    read_pth_from(BufReader::new(file), path)
}

/// [`read_pth`] on any bytes; `path` is named in errors.
///
/// # Errors
/// As [`read_pth`].
fn read_pth_from(mut reader: impl Read + Seek, path: &Path) -> Result<BTreeMap<String, HostArray>, TensorFileError> {
    read(&mut reader).map_err(|fault| fault.at(path))
}

fn read<R: Read + Seek>(reader: &mut R) -> Result<BTreeMap<String, HostArray>, Fault> {
    const EXPECTED: &str = "a PyTorch checkpoint (a zip archive or a pickle)";
    let length = reader.seek(SeekFrom::End(0)).map_err(Fault::Io)?;
    reader.rewind().map_err(Fault::Io)?;
    let mut start = [0; 2];
    reader.read_exact(&mut start).map_err(|error| Fault::read(error, "first bytes", EXPECTED))?;
    reader.rewind().map_err(Fault::Io)?;
    match &start {
        b"PK" => {
            let mut container = ZipContainer::open(reader, length)?;
            let object = container.object()?;
            build_tensors(&object, &mut container, length)
        }
        [0x80, _] => {
            let (object, mut container) = LegacyContainer::open(reader, length)?;
            build_tensors(&object, &mut container, length)
        }
        other => Err(Fault::content("first bytes", EXPECTED, format!("{other:02x?}"))),
    }
}

/// Where the elements are.
trait Container {
    /// All bytes of the storage.
    fn storage(&mut self, storage: &StorageRef) -> Result<Vec<u8>, Fault>;
}

struct ZipContainer<R> {
    archive: ZipArchive<R>,
    /// Folder that everything is in, with its slash.
    prefix: String,
    length: u64,
}

impl<R: Read + Seek> ZipContainer<R> {
    fn open(reader: R, length: u64) -> Result<ZipContainer<R>, Fault> {
        let archive = ZipArchive::new(reader)
            .map_err(|error| Fault::zip(error, "zip directory", "a whole zip archive, as torch.save writes it"))?;
        let names = archive.file_names().filter_map(Result::ok);
        let prefix = names.filter_map(|name| Some(name.strip_suffix("data.pkl")?.to_owned())).min_by_key(String::len);
        let Some(prefix) = prefix else {
            return Err(Fault::content("zip archive", "an entry data.pkl, as torch.save writes it", "none"));
        };
        let mut container = ZipContainer { archive, prefix, length };
        let order = format!("{}byteorder", container.prefix);
        if container.archive.index_for_name(&order).is_some() {
            let order = container.entry("byteorder", None)?;
            if order != b"little" {
                return Err(Fault::content("byteorder", "little", String::from_utf8_lossy(&order)));
            }
        }
        Ok(container)
    }

    /// The bytes of the entry `name`, their checksum compared; `expected` is their number, where it is known.
    fn entry(&mut self, name: &str, expected: Option<u64>) -> Result<Vec<u8>, Fault> {
        let name = format!("{}{name}", self.prefix);
        let wanted = expected.map_or_else(|| "a stored entry".to_owned(), |bytes| format!("{bytes} bytes, stored"));
        let entry = self.archive.by_name(&name).map_err(|error| Fault::zip(error, &name, &wanted))?;
        if entry.compression() != zip::CompressionMethod::Stored {
            return Err(Fault::content(name, wanted, format!("compression {}", entry.compression())));
        }
        let size = entry.size();
        if expected.is_some_and(|expected| expected != size) || size > self.length {
            return Err(Fault::content(name, wanted, format!("{size} bytes")));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        // One byte more than there is, so that the end is reached and the checksum compared.
        entry.take(size + 1).read_to_end(&mut bytes).map_err(|error| Fault::read(error, &name, &wanted))?;
        if bytes.len() as u64 != size {
            return Err(Fault::content(name, wanted, END));
        }
        Ok(bytes)
    }

    fn object(&mut self) -> Result<Pickle, Fault> {
        let bytes = self.entry("data.pkl", None)?;
        if bytes.len() as u64 > MAX_PICKLE {
            return Err(Fault::content("data.pkl", format!("at most {MAX_PICKLE} bytes"), bytes.len()));
        }
        Pickle::read(&bytes[..], "data.pkl", bytes.len() as u64)
    }
}

impl<R: Read + Seek> Container for ZipContainer<R> {
    fn storage(&mut self, storage: &StorageRef) -> Result<Vec<u8>, Fault> {
        self.entry(&format!("data/{}", storage.key), Some(storage_bytes(storage)?))
    }
}

struct LegacyContainer<'r, R> {
    reader: &'r mut R,
    /// First byte and number of bytes of each storage.
    places: HashMap<Rc<str>, (u64, u64)>,
}

impl<'r, R: Read + Seek> LegacyContainer<'r, R> {
    fn open(reader: &'r mut R, length: u64) -> Result<(Pickle, LegacyContainer<'r, R>), Fault> {
        let mut next = |part: &str| {
            let left = length.saturating_sub(reader.stream_position().map_err(Fault::Io)?);
            Pickle::read(&mut *reader, part, left.min(MAX_PICKLE))
        };
        let expect = |part: &str, value: Value, expected: i128| match value {
            Value::Int(number) if number == expected => Ok(()),
            other => Err(Fault::content(part, format!("{expected:#x}"), format!("{other:?}"))),
        };
        expect("magic number", next("magic number")?.root, MAGIC)?;
        expect("protocol", next("protocol")?.root, PROTOCOL)?;
        let system = next("byte order")?;
        let little = match &system.root {
            Value::Dict(dict) => match &system.nodes[*dict] {
                Node::Dict(pairs) => pairs.iter().find(|(key, _)| *key == Value::Str("little_endian".into())),
                _ => None,
            },
            _ => None,
        };
        if little.is_none_or(|(_, value)| *value != Value::Bool(true)) {
            return Err(Fault::content("byte order", "little_endian = True", "another"));
        }
        let object = next("object")?;
        let keys = next("storage keys")?;
        let places = LegacyContainer::places(reader, &object, &keys, length)?;
        Ok((object, LegacyContainer { reader, places }))
    }

    /// Walks over the storages, in the order of their keys, to where each begins.
    fn places(
        reader: &mut R,
        object: &Pickle,
        keys: &Pickle,
        length: u64,
    ) -> Result<HashMap<Rc<str>, (u64, u64)>, Fault> {
        let storages: HashMap<&Rc<str>, &StorageRef> = object
            .nodes
            .iter()
            .filter_map(|node| if let Node::Storage(storage) = node { Some((&storage.key, storage)) } else { None })
            .collect();
        let keys = match &keys.root {
            Value::List(list) => match &keys.nodes[*list] {
                Node::List(keys) => &keys[..],
                _ => &[],
            },
            other => return Err(Fault::content("storage keys", "a list", other.name())),
        };
        let mut places = HashMap::new();
        for key in keys {
            let key: Rc<str> = match key {
                Value::Str(key) => key.clone(),
                Value::Int(number) => number.to_string().into(),
                other => return Err(Fault::content("storage keys", "strings", other.name())),
            };
            let Some(storage) = storages.get(&key) else {
                return Err(Fault::content("storage keys", "keys of the object's storages", format!("`{key}`")));
            };
            let part = format!("storage {key}");
            let mut count = [0; 8];
            reader.read_exact(&mut count).map_err(|error| Fault::read(error, &part, "a count of elements"))?;
            let count = i64::from_le_bytes(count);
            if usize::try_from(count) != Ok(storage.numel) {
                return Err(Fault::content(part, format!("{} elements", storage.numel), count));
            }
            let (start, bytes) = (reader.stream_position().map_err(Fault::Io)?, storage_bytes(storage)?);
            let Some(end) = start.checked_add(bytes).filter(|end| *end <= length) else {
                let expected = format!("{bytes} bytes from byte {start}");
                return Err(Fault::content(part, expected, format!("{END} at byte {length}")));
            };
            reader.seek(SeekFrom::Start(end)).map_err(Fault::Io)?;
            places.insert(key, (start, bytes));
        }
        Ok(places)
    }
}

impl<R: Read + Seek> Container for LegacyContainer<'_, R> {
    fn storage(&mut self, storage: &StorageRef) -> Result<Vec<u8>, Fault> {
        let part = || format!("storage {}", storage.key);
        let expected = storage_bytes(storage)?;
        let Some(&(start, bytes)) = self.places.get(&storage.key) else {
            return Err(Fault::content(part(), format!("{expected} bytes"), "no such storage"));
        };
        if bytes != expected {
            return Err(Fault::content(part(), format!("{expected} bytes"), bytes));
        }
        self.reader.seek(SeekFrom::Start(start)).map_err(Fault::Io)?;
        // `places` has checked that the file is long enough.
        let mut data = vec![0; bytes as usize];
        self.reader.read_exact(&mut data).map_err(|error| Fault::read(error, part(), format!("{bytes} bytes")))?;
        Ok(data)
    }
}

fn storage_bytes(storage: &StorageRef) -> Result<u64, Fault> {
    let bytes = storage.numel.checked_mul(storage.dtype.size());
    bytes.map(|bytes| bytes as u64).ok_or_else(|| {
        Fault::content(
            format!("storage {}", storage.key),
            "a size that fits a file",
            format!("{} elements", storage.numel),
        )
    })
}

/// Copies every tensor that can be reached from the object out of its storage; each storage is read once.
fn build_tensors(
    object: &Pickle,
    container: &mut impl Container,
    length: u64,
) -> Result<BTreeMap<String, HostArray>, Fault> {
    let mut walk = Walk { object, found: BTreeMap::new(), visits: 0 };
    walk.visit(&object.root, &mut String::new(), 0)?;

    // Tensors may share storages (tied weights), but a checkpoint in which they add up to many times the file is not one.
    let mut allowed = length.saturating_mul(4).saturating_add(1 << 20);
    let mut by_storage: BTreeMap<_, Vec<(&String, &TensorRef)>> = BTreeMap::new();
    for (name, tensor) in &walk.found {
        let bytes = byte_len(&tensor.shape, tensor.storage.dtype).map(|bytes| bytes as u64);
        let left = bytes.and_then(|bytes| allowed.checked_sub(bytes)).ok_or_else(|| {
            let found = format!("{} of shape {:?}", tensor.storage.dtype, tensor.shape);
            Fault::content(format!("tensor `{name}`"), format!("tensors of at most 4 × {length} bytes"), found)
        })?;
        allowed = left;
        let StorageRef { key, dtype, numel, .. } = &tensor.storage;
        by_storage.entry((key, *dtype, *numel)).or_default().push((name, tensor));
    }

    let mut arrays = BTreeMap::new();
    for tensors in by_storage.into_values() {
        // No group is empty.
        let elements = container.storage(&tensors[0].1.storage)?;
        for (name, tensor) in tensors {
            let data = gather(tensor, &elements)
                .map_err(|(expected, found)| Fault::content(format!("tensor `{name}`"), expected, found))?;
            arrays.insert(name.clone(), HostArray::new(tensor.shape.clone(), tensor.storage.dtype, data));
        }
    }
    Ok(arrays)
}

struct Walk<'a> {
    object: &'a Pickle,
    found: BTreeMap<String, &'a TensorRef>,
    visits: usize,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, value: &Value, name: &mut String, depth: usize) -> Result<(), Fault> {
        let object = self.object;
        let (Value::Dict(index) | Value::List(index) | Value::Tuple(index) | Value::Tensor(index)) = value else {
            return Ok(());
        };
        if depth > MAX_DEPTH {
            return Err(Fault::content(format!("object `{name}`"), format!("at most {MAX_DEPTH} levels"), "more"));
        }
        match &object.nodes[*index] {
            Node::Tensor(tensor) => {
                if self.found.insert(name.clone(), tensor).is_some() {
                    return Err(Fault::content(format!("tensor `{name}`"), "one tensor of that name", "two"));
                }
                Ok(())
            }
            Node::Dict(pairs) => pairs.iter().try_for_each(|(key, value)| {
                self.count(name)?;
                match key {
                    Value::Str(key) => self.visit_under(key, value, name, depth),
                    Value::Int(key) => self.visit_under(&key.to_string(), value, name, depth),
                    // A key that is no name cannot name a tensor.
                    _ => Ok(()),
                }
            }),
            Node::List(items) | Node::Tuple(items) => items.iter().enumerate().try_for_each(|(index, value)| {
                self.count(name)?;
                self.visit_under(&index.to_string(), value, name, depth)
            }),
            Node::Storage(_) => Ok(()),
        }
    }

    fn count(&mut self, name: &str) -> Result<(), Fault> {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return Err(Fault::content(format!("object `{name}`"), format!("at most {MAX_VISITS} values"), "more"));
        }
        Ok(())
    }

    fn visit_under(&mut self, key: &str, value: &Value, name: &mut String, depth: usize) -> Result<(), Fault> {
        let parent = name.len();
        if depth > 0 {
            name.push('.');
        }
        name.push_str(key);
        if name.len() > MAX_NAME {
            let expected = format!("a name of at most {MAX_NAME} bytes");
            return Err(Fault::content("object", expected, format!("{} bytes", name.len())));
        }
        self.visit(value, name, depth + 1)?;
        name.truncate(parent);
        Ok(())
    }
}

/// The elements of `tensor` in row-major order, out of the bytes of its storage; or what was expected and found.
fn gather(tensor: &TensorRef, storage: &[u8]) -> Result<Vec<u8>, (String, String)> {
    let size = tensor.storage.dtype.size();
    let (start, numel) = tensor.storage.view.unwrap_or((0, tensor.storage.numel));
    let inside = start.checked_add(numel).is_some_and(|end| end <= tensor.storage.numel);
    let extent = if tensor.strides.len() == tensor.shape.len() { extent(tensor) } else { None };
    let last = extent.filter(|last| inside && *last <= numel);
    let (Some(_), true) = (last, storage.len() == tensor.storage.numel * size) else {
        let found = format!("shape {:?}, strides {:?}, offset {}", tensor.shape, tensor.strides, tensor.offset);
        return Err((format!("elements inside its storage of {numel}"), found));
    };
    if tensor.shape.contains(&0) {
        return Ok(Vec::new());
    }
    // From here on every index is inside: `extent` has bounded the largest.
    let first = start + tensor.offset;
    let total: usize = tensor.shape.iter().product();
    if is_row_major(tensor) {
        return Ok(storage[first * size..(first + total) * size].to_vec());
    }
    let mut data = Vec::with_capacity(total * size);
    let mut index = vec![0; tensor.shape.len()];
    let mut at = first;
    loop {
        data.extend_from_slice(&storage[at * size..(at + 1) * size]);
        let mut dimension = index.len();
        loop {
            if dimension == 0 {
                return Ok(data);
            }
            dimension -= 1;
            index[dimension] += 1;
            at += tensor.strides[dimension];
            if index[dimension] < tensor.shape[dimension] {
                break;
            }
            at -= tensor.strides[dimension] * tensor.shape[dimension];
            index[dimension] = 0;
        }
    }
}

/// One past the largest element index, counted from the start of the view; `None` where that overflows.
fn extent(tensor: &TensorRef) -> Option<usize> {
    if tensor.shape.contains(&0) {
        return Some(0);
    }
    let mut last = tensor.offset;
    for (size, stride) in tensor.shape.iter().zip(&tensor.strides) {
        // The product with the full size must fit too: `gather` steps that far before it steps back.
        let span = size.checked_mul(*stride)?;
        last = last.checked_add(span - stride)?;
        last.checked_add(span)?;
    }
    last.checked_add(1)
}

fn is_row_major(tensor: &TensorRef) -> bool {
    let mut expected = 1;
    tensor.shape.iter().zip(&tensor.strides).rev().all(|(size, stride)| {
        let fits = *size == 1 || *stride == expected;
        expected *= size;
        fits
    })
}

#[cfg(test)]
mod tests;
