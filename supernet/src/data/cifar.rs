//! CIFAR's official binary files (A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009).
//!
//! Each record ends with 3072 pixel bytes: 32×32 red, then green, then blue. CIFAR-10 has one label byte before them, and
//! training images in `data_batch_1.bin` to `data_batch_5.bin`, test images in `test_batch.bin`, 10,000 records each;
//! CIFAR-100 has a byte for the coarse and one for the fine label, of which the second is taken, in `train.bin` and
//! `test.bin`.

use std::path::{Path, PathBuf};

use image::RgbImage;

use super::collector::Collector;
use super::error::{DataError, Place, read_file};

/// Height and width of the images.
const SIZE: u32 = 32;
const PLANE: usize = (SIZE * SIZE) as usize;
/// The official names of CIFAR-10, in the order of the labels.
const CLASS_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The files of one of the two sets.
pub(super) struct Cifar {
    folder: PathBuf,
    has_hundred: bool,
}

impl Cifar {
    /// The set in `path`, or in the folder there that its archive makes: CIFAR-100 where that one's files are and those of
    /// CIFAR-10 are not.
    pub(super) fn find(path: &Path) -> Cifar {
        let within = |child: &str| Some(path.join(child)).filter(|child| child.is_dir());
        let ten = within("cifar-10-batches-bin");
        let hundred = within("cifar-100-binary");
        match (ten, hundred) {
            (Some(folder), _) => Cifar { folder, has_hundred: false },
            (None, Some(folder)) => Cifar { folder, has_hundred: true },
            (None, None) => {
                let has_hundred = ["train.bin", "test.bin"].iter().any(|file| path.join(file).exists())
                    && !path.join("data_batch_1.bin").exists();
                Cifar { folder: path.to_path_buf(), has_hundred }
            }
        }
    }

    /// Files of the training part.
    pub(super) fn train_files(&self) -> Vec<PathBuf> {
        match self.has_hundred {
            true => vec![self.folder.join("train.bin")],
            false => (1..=5).map(|number| self.folder.join(format!("data_batch_{number}.bin"))).collect(),
        }
    }

    /// Files of the test part.
    pub(super) fn test_files(&self) -> Vec<PathBuf> {
        vec![self.folder.join(if self.has_hundred { "test.bin" } else { "test_batch.bin" })]
    }

    fn classes(&self) -> usize {
        if self.has_hundred { 100 } else { CLASS_NAMES.len() }
    }

    /// Appends the images and labels of these files, one file after the other.
    pub(super) fn read(&self, files: &[PathBuf], images: &mut Collector) -> Result<(), DataError> {
        let (label_bytes, classes) = (1 + usize::from(self.has_hundred), self.classes());
        let length = label_bytes + 3 * PLANE;
        for path in files {
            let bytes = read_file(path)?;
            if bytes.is_empty() || bytes.len() % length != 0 {
                let row = bytes.len() / length;
                let what = format!("{} bytes, which is not a whole number of {length}-byte records", bytes.len());
                return Err(DataError::content(Place::row(path, row), what));
            }
            for (row, record) in bytes.chunks_exact(length).enumerate() {
                let label = record[label_bytes - 1];
                if usize::from(label) >= classes {
                    let what = format!("label {label} is not 0 to {}", classes - 1);
                    return Err(DataError::content(Place::row(path, row), what));
                }
                let (red, rest) = record[label_bytes..].split_at(PLANE);
                let (green, blue) = rest.split_at(PLANE);
                let pixels = (0..PLANE).flat_map(|pixel| [red[pixel], green[pixel], blue[pixel]]).collect();
                let image = RgbImage::from_raw(SIZE, SIZE, pixels).expect("three bytes a pixel");
                images.push_raw(image, i64::from(label), || Place::row(path, row))?;
                if row == 0 {
                    images.reserve(bytes.len() / length - 1, &path.as_path().into())?;
                }
            }
        }
        Ok(())
    }

    /// Names from the file that the archive has for them, where it names all classes; else the official ones of CIFAR-10,
    /// and none for CIFAR-100.
    pub(super) fn class_names(&self) -> Option<Vec<String>> {
        let file = if self.has_hundred { "fine_label_names.txt" } else { "batches.meta.txt" };
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        let names: Vec<String> =
            text.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
        if names.len() == self.classes() {
            return Some(names);
        }
        (!self.has_hundred).then(|| CLASS_NAMES.map(String::from).to_vec())
    }
}
