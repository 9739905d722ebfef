//! CIFAR-10's official binary files (A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009).
//!
//! Each record is one label byte and 3072 pixel bytes: 32×32 red, then green, then blue. Training images are
//! `data_batch_1.bin` to `data_batch_5.bin`, test images `test_batch.bin`, 10,000 records each.

use std::path::{Path, PathBuf};

use image::RgbImage;

use super::decode::Collector;
use super::error::{DataError, Place, read_file};

/// Height and width of the images.
const SIZE: u32 = 32;
/// The official names, in the order of the labels.
const CLASS_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const PLANE: usize = (SIZE * SIZE) as usize;
const RECORD: usize = 1 + 3 * PLANE;

/// The folder the files are in: this one or its `cifar-10-batches-bin`.
fn folder(path: &Path) -> PathBuf {
    let child = path.join("cifar-10-batches-bin");
    if child.is_dir() { child } else { path.to_path_buf() }
}

/// Files of the training part.
pub(super) fn train_files(path: &Path) -> Vec<PathBuf> {
    let folder = folder(path);
    (1..=5).map(|number| folder.join(format!("data_batch_{number}.bin"))).collect()
}

/// Files of the test part.
pub(super) fn test_files(path: &Path) -> Vec<PathBuf> {
    vec![folder(path).join("test_batch.bin")]
}

/// Appends the images and labels of these files, one file after the other.
pub(super) fn read(files: &[PathBuf], images: &mut Collector, labels: &mut Vec<i64>) -> Result<(), DataError> {
    for path in files {
        let bytes = read_file(path)?;
        if bytes.is_empty() || bytes.len() % RECORD != 0 {
            let row = bytes.len() / RECORD;
            let what = format!("{} bytes, which is not a whole number of {RECORD}-byte records", bytes.len());
            return Err(DataError::content(Place::row(path, row), what));
        }
        for (row, record) in bytes.chunks_exact(RECORD).enumerate() {
            if usize::from(record[0]) >= CLASS_NAMES.len() {
                return Err(DataError::content(Place::row(path, row), format!("label {} is not 0 to 9", record[0])));
            }
            labels.push(i64::from(record[0]));
            let (red, rest) = record[1..].split_at(PLANE);
            let (green, blue) = rest.split_at(PLANE);
            let pixels = (0..PLANE).flat_map(|pixel| [red[pixel], green[pixel], blue[pixel]]).collect();
            let image = RgbImage::from_raw(SIZE, SIZE, pixels).expect("three bytes a pixel");
            images.push_raw(image, || Place::row(path, row))?;
            if row == 0 {
                images.reserve(bytes.len() / RECORD - 1, &path.as_path().into())?;
            }
        }
    }
    Ok(())
}

/// Names from `batches.meta.txt` where it names all ten classes, else the official ones.
pub(super) fn class_names(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder(path).join("batches.meta.txt")).unwrap_or_default();
    let names: Vec<String> = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
    if names.len() == CLASS_NAMES.len() { names } else { CLASS_NAMES.map(String::from).to_vec() }
}
