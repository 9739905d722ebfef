//! Images: from files to normalised, augmented batches, all on the CPU and all reproducible.
//!
//! [`DataSource`] (the `DATA` of the command line) loads an [`ImageSet`], held in memory as bytes where that is not too much
//! and else decoded as it is needed; [`TrainLoader`] makes [`Batch`]es of it in a thread of its own, every one a function of (seed, epoch, step); [`eval_batches`] and
//! [`calibration_batches`] make unaugmented ones. [`Preprocessing`] says how bytes become a network's input.

mod augment;
mod balance;
mod cifar;
mod classes;
mod collector;
mod colour;
mod contact_sheet;
mod decode;
mod division;
mod error;
mod folder;
mod idx;
mod image_set;
mod inspect;
mod loader;
mod look;
mod manifest;
mod manifest_rows;
mod memory;
mod mix;
mod orientation;
mod parquet_columns;
mod parquet_images;
mod parquet_parts;
mod part;
mod parts;
mod pixels;
mod preprocess;
mod rand_augment;
mod skip_broken;
mod source;
mod source_settings;
mod synthetic;
#[cfg(test)]
mod test_images;
#[cfg(test)]
mod tests;
mod thumbnail;
mod trained_on;

pub use augment::{Augmentation, Border, Crop};
pub use balance::{ClassWeights, ImageSampling};
pub use colour::ColourJitter;
pub use decode::Mode;
pub use division::{Divided, Division};
pub use error::{DataError, Place};
pub use image_set::ImageSet;
pub use inspect::{ClassCount, Duplicates, Inspection, PartInspection};
pub use loader::{
    Batch, EvalBatches, Position, TrainBatches, TrainLoader, calibration_batches, calibration_set, check_shares,
    eval_batches,
};
pub use mix::{Mix, Partners};
pub use orientation::ExifOrientation;
pub use parts::{LoadOptions, Loaded};
pub use preprocess::{
    Interpolation, MAX_SIZE, Preprocessing, PreprocessingFile, channels_last, check_normalisation, resize,
};
pub use rand_augment::RandAugment;
pub use skip_broken::SkipBroken;
pub use source::{DataSource, Form};
pub use synthetic::Synthetic;
pub use trained_on::TrainedOn;
