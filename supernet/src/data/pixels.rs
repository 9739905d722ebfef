//! Pixels of images of one size: held in memory, or decoded each time that they are asked for.
//!
//! What is decoded later is kept as it was found: an image that has a file of its own by its path and a checksum, so that
//! a file which changes meanwhile is noticed; a row of a table, whose place in a compressed file cannot be jumped to, as
//! encoded bytes in a file without a name; raw pixels likewise.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use storage::file::read_exact_at;

use super::decode::{decode, fit};
use super::error::{DataError, read_file};
use super::orientation::ExifOrientation;

/// Images decoded at a time where all are gone through: enough for all threads, little enough to hold.
const AT_ONCE: usize = 256;

/// Pixels of N images, size×size×3 bytes each.
#[derive(Clone, Debug)]
pub(super) enum Pixels {
    /// All of them.
    Held(Vec<u8>),
    /// Where to find these of a store, in this order.
    Streamed(Arc<Store>, Vec<u32>),
}

impl Pixels {
    /// Those of one image, of `bytes` bytes.
    pub(super) fn of(&self, index: usize, bytes: usize) -> Result<Cow<'_, [u8]>, DataError> {
        match self {
            Pixels::Held(pixels) => Ok(Cow::Borrowed(&pixels[index * bytes..(index + 1) * bytes])),
            Pixels::Streamed(store, places) => Ok(Cow::Owned(store.pixels(places[index])?)),
        }
    }

    /// Hands over those of each image in order; where they are decoded, on all threads.
    pub(super) fn each(&self, bytes: usize, mut take: impl FnMut(&[u8])) -> Result<(), DataError> {
        match self {
            Pixels::Held(pixels) => pixels.chunks_exact(bytes).for_each(take),
            Pixels::Streamed(store, places) => {
                for some in places.chunks(AT_ONCE) {
                    let decoded: Vec<_> =
                        some.par_iter().map(|place| store.pixels(*place)).collect::<Result<_, DataError>>()?;
                    decoded.iter().for_each(|pixels| take(pixels));
                }
            }
        }
        Ok(())
    }

    /// Those of the images at `places`, ascending or not, in the same way.
    pub(super) fn select(&self, indices: &[usize], bytes: usize) -> Pixels {
        match self {
            Pixels::Held(pixels) => {
                let mut selected = Vec::with_capacity(indices.len() * bytes);
                indices.iter().for_each(|at| selected.extend_from_slice(&pixels[at * bytes..(at + 1) * bytes]));
                Pixels::Held(selected)
            }
            Pixels::Streamed(store, places) => {
                Pixels::Streamed(Arc::clone(store), indices.iter().map(|at| places[*at]).collect())
            }
        }
    }

    /// Without the images at `places`, which ascend. Gaps are closed in place: the set may be too large to be held twice.
    pub(super) fn remove(&mut self, gone: &[usize], bytes: usize) {
        match self {
            Pixels::Held(pixels) => {
                let (mut kept, mut next) = (0, gone.iter().peekable());
                for index in 0..pixels.len() / bytes {
                    if next.next_if_eq(&&index).is_none() {
                        pixels.copy_within(index * bytes..(index + 1) * bytes, kept * bytes);
                        kept += 1;
                    }
                }
                pixels.truncate(kept * bytes);
                pixels.shrink_to_fit();
            }
            Pixels::Streamed(_, places) => remove(places, gone),
        }
    }
}

/// Takes the values at the places `gone`, which ascend, out of `values`.
pub(super) fn remove<T>(values: &mut Vec<T>, gone: &[usize]) {
    let (mut at, mut next) = (0, gone.iter().peekable());
    values.retain(|_| {
        at += 1;
        next.next_if_eq(&&(at - 1)).is_none()
    });
}

/// Where encoded images are, all of which are decoded in one way.
#[derive(Debug)]
pub(super) struct Store {
    size: usize,
    exif: ExifOrientation,
    entries: Vec<Entry>,
    /// Where there are any.
    copies: Option<File>,
}

/// Where one image is.
#[derive(Debug)]
enum Entry {
    /// A file with these bytes.
    File { path: Box<Path>, checksum: u32 },
    /// Encoded, in the copies.
    Encoded { at: u64, length: u32 },
    /// As pixels, in the copies.
    Raw { at: u64 },
}

impl Store {
    /// An image's pixels at the size of all.
    fn pixels(&self, entry: u32) -> Result<Vec<u8>, DataError> {
        let changed = |path: &Path| DataError::content(path, "the file is another one than when the images were read");
        match &self.entries[entry as usize] {
            Entry::File { path, checksum } => {
                let encoded = read_file(path)?;
                if crc32fast::hash(&encoded) != *checksum {
                    return Err(changed(path));
                }
                self.decoded(&encoded).ok_or_else(|| changed(path))
            }
            Entry::Encoded { at, length } => {
                let encoded = self.copied(*at, *length as usize)?;
                self.decoded(&encoded).ok_or_else(|| changed(Path::new("the copy of an image")))
            }
            Entry::Raw { at } => self.copied(*at, self.size * self.size * 3),
        }
    }

    fn decoded(&self, encoded: &[u8]) -> Option<Vec<u8>> {
        let (image, _) = decode(encoded, self.exif).ok()?;
        let image = fit(image, self.size);
        (image.width() as usize == self.size && image.height() as usize == self.size).then(|| image.into_raw())
    }

    fn copied(&self, at: u64, length: usize) -> Result<Vec<u8>, DataError> {
        let mut bytes = vec![0; length];
        let copies = self.copies.as_ref().expect("an image that was copied");
        read_exact_at(copies, &mut bytes, at).map_err(|source| DataError::read(&copies_folder(), source))?;
        Ok(bytes)
    }
}

/// Where copies of encoded images lie: where `TMPDIR` says; else where large files may, as `/tmp` is often in memory.
fn copies_folder() -> PathBuf {
    let var_tmp = Path::new("/var/tmp");
    match std::env::var_os("TMPDIR") {
        None if var_tmp.is_dir() => var_tmp.to_path_buf(),
        _ => std::env::temp_dir(),
    }
}

fn not_copied(source: io::Error) -> DataError {
    DataError::Copies { folder: copies_folder(), source }
}

/// A [`Store`] on its way.
pub(super) struct StoreWriter {
    exif: ExifOrientation,
    entries: Vec<Entry>,
    /// Made with the first copy.
    copies: Option<io::BufWriter<File>>,
    written: u64,
}

impl StoreWriter {
    /// Of images turned as `exif` says.
    pub(super) fn new(exif: ExifOrientation) -> StoreWriter {
        StoreWriter { exif, entries: Vec::new(), copies: None, written: 0 }
    }

    /// An image whose encoded bytes are those of the file at `path`, where it has one of its own.
    pub(super) fn encoded(&mut self, encoded: &[u8], path: Option<&Path>) -> Result<(), DataError> {
        let entry = match path {
            Some(path) => Entry::File { path: path.into(), checksum: crc32fast::hash(encoded) },
            None => Entry::Encoded { length: encoded.len() as u32, at: self.copy(encoded)? },
        };
        self.entries.push(entry);
        Ok(())
    }

    /// An image's pixels at the size of all.
    pub(super) fn raw(&mut self, pixels: &[u8]) -> Result<(), DataError> {
        let at = self.copy(pixels)?;
        self.entries.push(Entry::Raw { at });
        Ok(())
    }

    /// All images, of this size.
    pub(super) fn finish(self, size: usize) -> Result<Pixels, DataError> {
        let StoreWriter { exif, entries, copies, .. } = self;
        let whole = |copies: io::BufWriter<File>| copies.into_inner().map_err(|error| not_copied(error.into_error()));
        let copies = copies.map(whole).transpose()?;
        let places = (0..entries.len() as u32).collect();
        Ok(Pixels::Streamed(Arc::new(Store { size, exif, entries, copies }), places))
    }

    fn copy(&mut self, bytes: &[u8]) -> Result<u64, DataError> {
        if self.copies.is_none() {
            let file = tempfile::tempfile_in(copies_folder()).map_err(not_copied)?;
            self.copies = Some(io::BufWriter::new(file));
        }
        let copies = self.copies.as_mut().expect("made above");
        copies.write_all(bytes).map_err(not_copied)?;
        let at = self.written;
        self.written += bytes.len() as u64;
        Ok(at)
    }
}
