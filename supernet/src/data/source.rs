//! Where images come from: the `DATA` of the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::decode::Collector;
use super::division::{Divided, Division};
use super::error::{DataError, list_folder};
use super::folder::Listing;
use super::image_set::ImageSet;
use super::synthetic::Synthetic;
use super::{cifar, classes, folder, idx, parquet_images};

/// A source of labelled images, parsed from `parquet:PATH`, `cifar:FOLDER`, `folder:FOLDER`, `idx:FOLDER` or
/// `synthetic[:COUNT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// Encoded images in Parquet: one file, or a folder holding `train*.parquet` and `test*.parquet` (or
    /// `validation*.parquet`).
    Parquet(PathBuf),
    /// CIFAR-10's binary files, in this folder or its `cifar-10-batches-bin`.
    Cifar(PathBuf),
    /// JPEG and PNG files below one folder per class; these in `train/` and `test/` (or `val/`) where there are such.
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
    /// Names of the classes, in the order of the labels: a source that knows names is mapped to them. Without them, or
    /// with none, those the source knows, else `0`, `1`, ….
    pub class_names: Option<Vec<String>>,
    /// Number of classes of the result, where it is known otherwise: a network's outputs. A source may have fewer.
    pub classes: Option<usize>,
}

/// Images, and what there is to say about how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The images.
    pub images: ImageSet,
    /// How many of how many classes there are, and what was left out and why.
    pub notes: Vec<String>,
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
    /// A missing file, wrong content (file and row named), classes other than `options` say, or no training part.
    pub fn train(&self, options: &LoadOptions) -> Result<Loaded, DataError> {
        self.part(Part::Train, options)
    }

    /// The test images alone; all images of a source without a test part (one Parquet file, class folders alone).
    ///
    /// # Errors
    /// As for [`DataSource::train`].
    pub fn test(&self, options: &LoadOptions) -> Result<Loaded, DataError> {
        self.part(Part::Test, options)
    }

    /// The training images, divided, without reading the test part; with what there is to say about them.
    ///
    /// # Errors
    /// As for [`DataSource::train`] and [`Division::divide`].
    pub fn divided(&self, options: &LoadOptions, division: &Division) -> Result<(Divided, Vec<String>), DataError> {
        let Loaded { images, notes } = self.train(options)?;
        Ok((division.divide(images)?, notes))
    }

    /// Width and height of every training image as its file has it: what a size is chosen by before images are read at it.
    ///
    /// # Errors
    /// As for [`DataSource::train`].
    pub fn sides(&self) -> Result<Vec<[u32; 2]>, DataError> {
        let mut images = Collector::new(Some(1));
        self.gather(Part::Train, &mut images, &mut Vec::new(), &mut Vec::new())?;
        let sides = images.sides().to_vec();
        images.into_images()?;
        Ok(sides)
    }

    /// Whether the source has test images apart from those for training.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn has_test_part(&self) -> Result<bool, DataError> {
        Ok(match self {
            DataSource::Parquet(path) => path.is_dir() && !parquet_names(path, &TEST_PREFIXES)?.is_empty(),
            DataSource::Cifar(path) => cifar::test_files(path).iter().all(|file| file.exists()),
            DataSource::Folder(path) => folder::test_folder(path)?.is_some(),
            DataSource::Idx(path) => idx::exists(path, "t10k"),
            DataSource::Synthetic(_) => true,
        })
    }

    fn part(&self, part: Part, options: &LoadOptions) -> Result<Loaded, DataError> {
        let has_test_part = self.has_test_part()?;
        let part = if has_test_part { part } else { Part::Train };
        let mut images = Collector::new(options.image_size);
        let mut labels = Vec::new();
        let mut notes = Vec::new();
        let names = self.gather(part, &mut images, &mut labels, &mut notes)?;
        let size = images.size();
        let pixels = images.into_images()?;
        let is_named = names.is_some();
        let names = classes::settle(self.path(), &mut labels, names, options.class_names.as_deref(), options.classes)?;
        let images = ImageSet::new(pixels, labels, size, names)?;
        let classes = images.histogram().iter().filter(|count| **count > 0).count();
        let what = if !has_test_part {
            ""
        } else if part == Part::Train {
            "training "
        } else {
            "test "
        };
        if !is_named
            && classes < images.classes()
            && options.class_names.as_ref().is_some_and(|names| !names.is_empty())
        {
            let names = images.class_names();
            notes.push(format!(
                "labels are numbers here, fewer than there are classes, and taken by their places: 0 for {}, 1 for {}, …",
                names[0], names[1]
            ));
        }
        notes.insert(0, format!("{self}: {} {what}images of {classes} classes", images.len()));
        Ok(Loaded { images, notes })
    }

    /// Reads a part; gives the names of its classes, where the source knows them.
    fn gather(
        &self,
        part: Part,
        images: &mut Collector,
        labels: &mut Vec<i64>,
        notes: &mut Vec<String>,
    ) -> Result<Option<Vec<String>>, DataError> {
        Ok(match self {
            DataSource::Parquet(path) => parquet_images::read_all(&parquet_files(path, part)?, images, labels)?,
            DataSource::Cifar(path) => {
                let files = if part == Part::Train { cifar::train_files(path) } else { cifar::test_files(path) };
                cifar::read(&files, images, labels)?;
                Some(cifar::class_names(path))
            }
            DataSource::Folder(path) => Some(read_folders(path, part, images, labels, notes)?),
            DataSource::Idx(path) => {
                let prefix = if part == Part::Train { "train" } else { "t10k" };
                idx::read(path, prefix, images, labels)?;
                None
            }
            DataSource::Synthetic(synthetic) => {
                synthetic.generate(part == Part::Test, images, labels)?;
                Some((0..synthetic.classes).map(|class| format!("texture {class}")).collect())
            }
        })
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

/// Reads a part of folders of class folders and gives the names of the classes: those of the training part, where
/// there is one, so that equal labels mean equal classes.
fn read_folders(
    path: &Path,
    part: Part,
    images: &mut Collector,
    labels: &mut Vec<i64>,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, DataError> {
    let (train, test) = (folder::train_folder(path)?, folder::test_folder(path)?);
    let (own, other) = if part == Part::Train { (&train, &test) } else { (&test, &train) };
    let folder = match (own, other) {
        (Some(own), _) => own,
        (None, None) => path,
        (None, Some(_)) => {
            let looked_for = folder::looked_for_to_train();
            return Err(DataError::NoPart { path: path.to_path_buf(), part: "training", looked_for });
        }
    };
    let flat = folder::parts_without_classes(path)?;
    // Beside other classes, a folder may well be the class of trains.
    let consequence = if own.is_some() { "is not used" } else { "is taken for a class" };
    notes.extend(flat.iter().map(|flat| format!("{flat}/ {consequence}: there are no class folders in it")));
    let listing = Listing::of(folder)?;
    notes.extend(listing.notes());
    if own.is_none() && listing.classes.iter().all(|(class, _)| flat.contains(class)) {
        return Err(DataError::content(path, format!("no class folders in it or in {}/", flat.join("/, "))));
    }
    let names = match &train {
        Some(train) if train != folder => Listing::of(train)?.names(),
        _ => listing.names(),
    };
    listing.read(folder, &names, images, labels)?;
    Ok(names)
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
        let fits = |name: &str| {
            let name = name.to_lowercase();
            name.starts_with(prefix) && name.ends_with(".parquet")
        };
        let named = |path: &&PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(fits);
        files.iter().filter(named).cloned().collect()
    };
    Ok(prefixes.iter().map(|prefix| with(prefix)).find(|files| !files.is_empty()).unwrap_or_default())
}
