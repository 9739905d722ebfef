//! Where images come from: the `DATA` of the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::decode::Collector;
use super::division::{Divided, Division};
use super::error::{DataError, list_folder};
use super::image_set::ImageSet;
use super::synthetic::Synthetic;
use super::{cifar, folder, idx, parquet_images};

/// A source of labelled images, parsed from `parquet:PATH`, `cifar:FOLDER`, `folder:FOLDER`, `idx:FOLDER` or
/// `synthetic[:COUNT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// Encoded images in Parquet: one file, or a folder holding `train*.parquet` and `test*.parquet` (or
    /// `validation*.parquet`).
    Parquet(PathBuf),
    /// CIFAR-10's binary files, in this folder or its `cifar-10-batches-bin`.
    Cifar(PathBuf),
    /// JPEG and PNG files in one folder per class, below `train/` and `test/` (or `val/`) where there are such.
    Folder(PathBuf),
    /// MNIST's idx-ubyte files.
    Idx(PathBuf),
    /// Images made up on the spot, for tests.
    Synthetic(Synthetic),
}

/// What to make of the images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Height and width every image is resized and centre-cropped to; without it, all must have one square size.
    pub image_size: Option<usize>,
    /// Names of the classes, in the order of the labels; without them, those the source knows, else `0`, `1`, ….
    pub class_names: Option<Vec<String>>,
    /// Number of classes where it is known otherwise, so that a part without the last ones is not taken for fewer.
    pub classes: Option<usize>,
}

impl FromStr for DataSource {
    type Err = DataError;

    fn from_str(text: &str) -> Result<DataSource, DataError> {
        let wrong = |reason: String| DataError::Source { text: text.to_string(), reason };
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let path = || match rest {
            "" => Err(wrong(format!("`{scheme}:` is followed by a path"))),
            path => Ok(PathBuf::from(path)),
        };
        match scheme {
            "parquet" => path().map(DataSource::Parquet),
            "cifar" => path().map(DataSource::Cifar),
            "folder" => path().map(DataSource::Folder),
            "idx" => path().map(DataSource::Idx),
            "synthetic" => Synthetic::parse(rest).map(DataSource::Synthetic).map_err(wrong),
            _ => Err(wrong("it does not begin with a known kind".into())),
        }
    }
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataSource::Parquet(path) => write!(f, "parquet:{}", path.display()),
            DataSource::Cifar(path) => write!(f, "cifar:{}", path.display()),
            DataSource::Folder(path) => write!(f, "folder:{}", path.display()),
            DataSource::Idx(path) => write!(f, "idx:{}", path.display()),
            DataSource::Synthetic(synthetic) => write!(f, "synthetic:{synthetic}"),
        }
    }
}

impl DataSource {
    /// All training images. A single Parquet file, or class folders without `train/`, are the training images.
    ///
    /// # Errors
    /// A missing file, wrong content (file and row named), or no training part.
    pub fn train(&self, options: &LoadOptions) -> Result<ImageSet, DataError> {
        self.part(Part::Train, options)
    }

    /// The test images alone; all images of a source without parts (one Parquet file, class folders alone).
    ///
    /// # Errors
    /// As for [`DataSource::train`].
    pub fn test(&self, options: &LoadOptions) -> Result<ImageSet, DataError> {
        self.part(Part::Test, options)
    }

    /// The training images, divided, without reading the test part.
    ///
    /// # Errors
    /// As for [`DataSource::train`] and [`Division::divide`].
    pub fn divided(&self, options: &LoadOptions, division: &Division) -> Result<Divided, DataError> {
        division.divide(self.train(options)?)
    }

    /// Whether the source has test images apart from those for training.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn has_test_part(&self) -> Result<bool, DataError> {
        Ok(match self {
            DataSource::Parquet(path) => path.is_dir() && !parquet_names(path, &TEST_PREFIXES)?.is_empty(),
            DataSource::Cifar(path) => cifar::test_files(path).iter().all(|file| file.exists()),
            DataSource::Folder(path) => folder::train_folder(path) != *path && folder::test_folder(path).is_some(),
            DataSource::Idx(path) => idx::exists(path, "t10k"),
            DataSource::Synthetic(_) => true,
        })
    }

    fn part(&self, part: Part, options: &LoadOptions) -> Result<ImageSet, DataError> {
        let mut images = Collector::new(options.image_size);
        let mut labels = Vec::new();
        let names = match self {
            DataSource::Parquet(path) => {
                let mut names = None;
                for file in parquet_files(path, part)? {
                    let found = parquet_images::read(&file, &mut images, &mut labels)?;
                    names = names.or(found);
                }
                names
            }
            DataSource::Cifar(path) => {
                let files = if part == Part::Train { cifar::train_files(path) } else { cifar::test_files(path) };
                cifar::read(&files, &mut images, &mut labels)?;
                Some(cifar::class_names(path))
            }
            DataSource::Folder(path) => {
                let train = folder::train_folder(path);
                let folder = match part {
                    Part::Test if self.has_test_part()? || train != *path => {
                        folder::test_folder(path).ok_or_else(|| DataError::NoPart {
                            path: path.clone(),
                            part: "test",
                            looked_for: "test/ or val/".into(),
                        })?
                    }
                    _ => train.clone(),
                };
                let classes_from = if train == *path { &folder } else { &train };
                let names = folder::class_names(classes_from)?;
                folder::read(&folder, &names, &mut images, &mut labels)?;
                Some(names)
            }
            DataSource::Idx(path) => {
                let prefix = if part == Part::Train { "train" } else { "t10k" };
                idx::read(path, prefix, &mut images, &mut labels)?;
                None
            }
            DataSource::Synthetic(synthetic) => {
                synthetic.generate(part == Part::Test, &mut images, &mut labels)?;
                Some((0..synthetic.classes).map(|class| format!("texture {class}")).collect())
            }
        };
        self.finish(images, labels, names, options)
    }

    /// Settles the classes: names asked for, else the source's own, else numbers.
    fn finish(
        &self,
        images: Collector,
        labels: Vec<i64>,
        names: Option<Vec<String>>,
        options: &LoadOptions,
    ) -> Result<ImageSet, DataError> {
        let Some(largest) = labels.iter().max() else {
            return Err(DataError::content(self.path(), "no images in it"));
        };
        let found = *largest as usize + 1;
        let classes = names.as_ref().map(Vec::len).or(options.classes).unwrap_or(found);
        let names = match (&options.class_names, names) {
            (Some(given), Some(own)) if given.len() != own.len() => {
                return Err(DataError::ClassNames { given: given.len(), classes: own.len() });
            }
            (Some(given), _) => given.clone(),
            (None, Some(own)) => own,
            (None, None) => (0..classes.min(1 << 20)).map(|class| class.to_string()).collect(),
        };
        if found > names.len() {
            let what = format!("label {largest} in it, but there are {} classes", names.len());
            return Err(DataError::content(self.path(), what));
        }
        let size = images.size();
        ImageSet::new(images.into_images(), labels, size, names)
    }

    fn path(&self) -> &Path {
        match self {
            DataSource::Parquet(path) | DataSource::Cifar(path) => path,
            DataSource::Folder(path) | DataSource::Idx(path) => path,
            DataSource::Synthetic(_) => Path::new("synthetic"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Train,
    Test,
}

const TRAIN_PREFIXES: [&str; 1] = ["train"];
const TEST_PREFIXES: [&str; 3] = ["test", "validation", "val"];

/// The files of a part, sorted: the one file whatever the part, or those of the folder that begin with its name.
fn parquet_files(path: &Path, part: Part) -> Result<Vec<PathBuf>, DataError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let (name, prefixes) = match part {
        Part::Train => ("training", TRAIN_PREFIXES.as_slice()),
        Part::Test => ("test", TEST_PREFIXES.as_slice()),
    };
    let files = parquet_names(path, prefixes)?;
    if files.is_empty() {
        let looked_for = prefixes.iter().map(|prefix| format!("{prefix}*.parquet")).collect::<Vec<_>>().join(", ");
        return Err(DataError::NoPart { path: path.to_path_buf(), part: name, looked_for });
    }
    Ok(files)
}

/// Files of the first prefix that any file begins with.
fn parquet_names(path: &Path, prefixes: &[&str]) -> Result<Vec<PathBuf>, DataError> {
    let files = list_folder(path)?;
    let with = |prefix: &str| -> Vec<PathBuf> {
        let fits = |name: &str| name.starts_with(prefix) && name.ends_with(".parquet");
        let named = |path: &&PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(fits);
        files.iter().filter(named).cloned().collect()
    };
    Ok(prefixes.iter().map(|prefix| with(prefix)).find(|files| !files.is_empty()).unwrap_or_default())
}
