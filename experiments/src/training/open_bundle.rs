//! A bundle whose files, and the images it is used with, are read when first asked for, and then never again.

use std::cell::{OnceCell, RefCell};

use search::space::SearchSpace;
use supernet::data::{DataSource, Divided, Division, ImageSet, LoadOptions, Loaded};
use supernet::supernet::Supernet;
use tch::Device;

use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::folders::calibration_file::CalibrationFile;
use crate::folders::image_settings::ImageSettings;
use crate::folders::names;
use crate::folders::supernet_file::load_supernet;
use crate::training::images::{CalibrationImages, EvalImages};
use crate::training::inputs;
use crate::training::test_part::{TestPart, test_part};

/// A bundle in use, on one device and with the images of at most one source.
pub(crate) struct OpenBundle {
    bundle: Bundle,
    space: SearchSpace,
    data: Option<DataSource>,
    device: Device,
    supernet: OnceCell<Supernet>,
    settings: OnceCell<ImageSettings>,
    training: OnceCell<Divided>,
    calibration: OnceCell<CalibrationFile>,
    notes: RefCell<Vec<String>>,
}

impl OpenBundle {
    /// The bundle of that name or in that folder.
    ///
    /// # Errors
    /// There is none, or it lacks its space or its weights.
    pub(crate) fn find(name: &str, data: Option<DataSource>, device: Device) -> Result<OpenBundle> {
        let bundle = Bundle::find(name)?;
        let space = bundle.space()?;
        bundle.supernet()?;
        Ok(Self::new(bundle, space, data, device))
    }

    /// `bundle`, whose space is known already.
    pub(crate) fn new(bundle: Bundle, space: SearchSpace, data: Option<DataSource>, device: Device) -> OpenBundle {
        OpenBundle {
            bundle,
            space,
            data,
            device,
            supernet: OnceCell::new(),
            settings: OnceCell::new(),
            training: OnceCell::new(),
            calibration: OnceCell::new(),
            notes: RefCell::default(),
        }
    }

    /// Which bundle it is.
    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Its space.
    pub(crate) fn space(&self) -> &SearchSpace {
        &self.space
    }

    /// The images it is used with; none = those that come with it.
    pub(crate) fn data(&self) -> Option<&DataSource> {
        self.data.as_ref()
    }

    /// The weights of all subnets.
    ///
    /// # Errors
    /// A missing or damaged file, or weights of another space.
    pub(crate) fn supernet(&self) -> Result<&Supernet> {
        once(&self.supernet, || {
            let _span = tracing::debug_span!("load_weights", bundle = self.bundle.name()).entered();
            let supernet = load_supernet(self.bundle.folder(), &self.space, self.device)?;
            tracing::info!(bundle = self.bundle.name(), space = %self.space.id(), "weights read");
            Ok(supernet)
        })
    }

    /// How its images are read.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub(crate) fn settings(&self) -> Result<&ImageSettings> {
        once(&self.settings, || {
            self.bundle.preprocessing()?;
            ImageSettings::of_bundle(self.bundle.folder())
        })
    }

    /// The training images of its source as the bundle's recipe divides them.
    ///
    /// # Errors
    /// No source, or images that cannot be read.
    pub(crate) fn training(&self) -> Result<&Divided> {
        once(&self.training, || {
            let settings = self.settings()?;
            let options = self.options()?;
            let Loaded { images, notes } = self.source()?.train(&options)?;
            self.notes.borrow_mut().extend(notes);
            let division = settings.division();
            let trained_on = settings.trained_on.as_ref();
            let are_others = match trained_on {
                Some(trained_on) => !trained_on.are(&images)?,
                // Older bundles do not say; so few cannot be those that the recipe divided.
                None => division.held_out.is_some_and(|held_out| 2 * held_out > images.len()),
            };
            let share = match trained_on.filter(|_| are_others) {
                Some(trained_on) => match trained_on.share_of(&images)?.filter(|share| *share > 0.0) {
                    Some(share) => share,
                    None => trained_on.share_alike(&images)?,
                },
                None => 0.0,
            };
            if share > 0.0 {
                self.notes.borrow_mut().push(format!(
                    "about {:.0} % of these images are among those that the weights were trained on, though in another \
                     source: what is measured on them as held out is too good",
                    (100.0 * share).max(1.0)
                ));
            }
            if !are_others {
                return Ok(division.divide(images)?);
            }
            let divided = Division { held_out: None, splits_test: false, ..division }.divide(images)?;
            self.notes.borrow_mut().push(format!(
                "these are not the images that the recipe divided: {} of them are held out here, by seed {}",
                divided.held_out.len(),
                division.seed
            ));
            Ok(divided)
        })
    }

    /// What there is to say about the training images, if they were read.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }

    /// The test images of its source, none of which it was trained on as far as that is known.
    ///
    /// # Errors
    /// No source, images that cannot be read, or [`Error::TrainedOn`].
    pub(crate) fn test_part(&self) -> Result<TestPart> {
        test_part(self.source()?, &self.options()?, self.settings()?.trained_on.as_ref())
    }

    /// The held-out images of its source at each of `resolutions`.
    ///
    /// # Errors
    /// No source, or images that cannot be read.
    pub(crate) fn held_out_images(&self, resolutions: &[u32]) -> Result<EvalImages> {
        self.eval_images(&self.training()?.held_out, resolutions)
    }

    /// Training images of its source to calibrate with, at each of `resolutions`.
    ///
    /// # Errors
    /// No source, or images that cannot be read.
    pub(crate) fn real_calibration(&self, resolutions: &[u32]) -> Result<CalibrationImages> {
        let (settings, images) = (self.settings()?, self.training()?);
        Ok(CalibrationImages::of_training(&images.train, settings, resolutions, self.device)?)
    }

    /// The images that come with it to calibrate with, at each of `resolutions`.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub(crate) fn own_calibration(&self, resolutions: &[u32]) -> Result<CalibrationImages> {
        let preprocessing = &self.settings()?.preprocessing;
        Ok(CalibrationImages::new(self.calibration_file()?.batches(preprocessing, resolutions, self.device)))
    }

    /// The file of images that come with it.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub(crate) fn calibration_file(&self) -> Result<&CalibrationFile> {
        once(&self.calibration, || CalibrationFile::read(self.bundle.folder()))
    }

    /// `set` at each of `resolutions`.
    ///
    /// # Errors
    /// Images of another native size than its own.
    pub(crate) fn eval_images(&self, set: &ImageSet, resolutions: &[u32]) -> Result<EvalImages> {
        Ok(EvalImages::new(set, &self.settings()?.preprocessing, resolutions, self.device)?)
    }

    fn source(&self) -> Result<&DataSource> {
        let lacks = || Error::BundleLacks { bundle: self.bundle.folder().to_path_buf(), file: names::CALIBRATION };
        self.data.as_ref().ok_or_else(lacks)
    }

    /// Digests of the training images and of the test images of its source.
    ///
    /// # Errors
    /// No source, or images that cannot be read.
    pub(crate) fn digests(&self) -> Result<[String; 2]> {
        inputs::digests(self.source()?, self.options()?)
    }

    fn options(&self) -> Result<LoadOptions> {
        Ok(self.settings()?.options(&self.space))
    }
}

/// What `cell` holds; made first where it holds nothing.
fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(made) => Ok(made),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made))
        }
    }
}
