//! The training and the test images of a source.

use network::units::Bytes;

use super::cifar::Cifar;
use super::collector::{Collected, Collector};
use super::division::{Divided, Division};
use super::error::DataError;
use super::image_set::ImageSet;
use super::manifest::Manifest;
use super::orientation::ExifOrientation;
use super::part::Part;
use super::source::{DataSource, Form};
use super::{balance, classes, folder, idx, memory, parquet_images, parquet_parts};

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
    /// What is done about orientations in EXIF.
    pub exif_orientation: ExifOrientation,
}

/// Images, and what there is to say about how they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The images.
    pub images: ImageSet,
    /// How many of how many classes there are, and what was left out and why.
    pub notes: Vec<String>,
}

impl DataSource {
    /// All training images. A single Parquet file, a table without parts, or class folders without `train/`, are the
    /// training images.
    ///
    /// # Errors
    /// A missing file, wrong content (file and row named), more broken images than may be left out, classes other than
    /// `options` say, or no training part.
    pub fn train(&self, options: &LoadOptions) -> Result<Loaded, DataError> {
        self.part(Part::Train, options)
    }

    /// The test images alone; all images of a source without a test part.
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
        let mut images = Collector::new(Some(1), ExifOrientation::Applied, usize::MAX);
        self.gather(Part::Train, &mut images, &mut Vec::new())?;
        let sides = images.files().iter().map(|file| file.sides).collect();
        images.finish(self.skip_broken)?;
        Ok(sides)
    }

    /// Whether the source has test images apart from those for training.
    ///
    /// # Errors
    /// A folder or a table that cannot be read.
    pub fn has_test_part(&self) -> Result<bool, DataError> {
        Ok(match &self.form {
            Form::Parquet(path) => parquet_parts::exists(path, Part::Test)?,
            Form::Cifar(path) => Cifar::find(path).test_files().iter().all(|file| file.exists()),
            Form::Folder(path) => folder::test_folder(path)?.is_some(),
            Form::Idx(path) => idx::exists(path, "t10k"),
            Form::Csv(_) | Form::JsonLines(_) => self.manifest()?.has_test_part(),
            Form::Synthetic(_) => true,
        })
    }

    fn part(&self, part: Part, options: &LoadOptions) -> Result<Loaded, DataError> {
        let has_test_part = self.has_test_part()?;
        let part = if has_test_part { part } else { Part::Train };
        let (size, exif) = (options.image_size, options.exif_orientation);
        let most = self.memory.map_or_else(memory::for_images, |memory| memory.0 as usize);
        let mut images = Collector::new(size, exif, most);
        let mut notes = Vec::new();
        let names = match self.gather(part, &mut images, &mut notes) {
            Err(DataError::Memory { .. }) => {
                notes.clear();
                images = Collector::streaming(size, exif);
                self.gather(part, &mut images, &mut notes)?
            }
            names => names?,
        };
        let Collected { pixels, mut labels, size, note } = images.finish(self.skip_broken)?;
        notes.extend(note);
        let is_named = names.is_some();
        let names = classes::settle(self.path(), &mut labels, names, options.class_names.as_deref(), options.classes)?;
        let images = ImageSet::of(pixels, labels, size, names)?;
        let classes = images.histogram().iter().filter(|count| **count > 0).count();
        let what = if has_test_part { format!("{} ", part.name()) } else { String::new() };
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
        if part == Part::Train {
            notes.extend(balance::imbalance(&images.histogram(), images.class_names()));
        }
        if images.is_streamed() {
            let (all, most) = (Bytes(images.bytes() as u64), Bytes(most as u64));
            notes.push(format!("images are decoded as they are needed: all of them are {all}, and {most} may be held"));
        }
        notes.insert(0, format!("{self}: {} {what}images of {classes} classes", images.len()));
        Ok(Loaded { images, notes })
    }

    /// Reads a part; gives the names of its classes, where the source knows them.
    pub(super) fn gather(
        &self,
        part: Part,
        images: &mut Collector,
        notes: &mut Vec<String>,
    ) -> Result<Option<Vec<String>>, DataError> {
        Ok(match &self.form {
            Form::Parquet(path) => parquet_images::read_all(&parquet_parts::files(path, part)?, &self.columns, images)?,
            Form::Cifar(path) => {
                let cifar = Cifar::find(path);
                let files = if part == Part::Train { cifar.train_files() } else { cifar.test_files() };
                cifar.read(&files, images)?;
                cifar.class_names()
            }
            Form::Folder(path) => Some(folder::read(path, part, images, notes)?),
            Form::Idx(path) => {
                idx::read(path, if part == Part::Train { "train" } else { "t10k" }, images)?;
                None
            }
            Form::Csv(_) | Form::JsonLines(_) => {
                let manifest = self.manifest()?;
                notes.extend(manifest.notes().iter().cloned());
                manifest.append(part, images)?;
                manifest.names()
            }
            Form::Synthetic(synthetic) => {
                synthetic.generate(part == Part::Test, images)?;
                Some((0..synthetic.classes).map(|class| format!("texture {class}")).collect())
            }
        })
    }

    fn manifest(&self) -> Result<Manifest, DataError> {
        Manifest::read(self.path(), matches!(self.form, Form::Csv(_)), &self.columns)
    }
}
