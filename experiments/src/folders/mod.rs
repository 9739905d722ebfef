//! Everything that lies in folders: bundles, runs, spaces, recipes, weights, and the files of a search.

pub mod bundle;
#[cfg(feature = "torch")]
pub(crate) mod calibration_file;
#[cfg(feature = "torch")]
pub(crate) mod deployment;
#[cfg(feature = "torch")]
pub(crate) mod digest;
pub(crate) mod history_file;
#[cfg(feature = "torch")]
pub(crate) mod image_settings;
pub mod names;
pub mod network_folder;
pub(crate) mod pairs_file;
pub mod predictor_file;
#[cfg(feature = "torch")]
pub(crate) mod recipe_error;
#[cfg(feature = "torch")]
pub(crate) mod recipe_file;
#[cfg(feature = "torch")]
pub(crate) mod run_dir;
#[cfg(feature = "torch")]
pub(crate) mod run_file;
pub(crate) mod search_journal;
pub mod spaces;
#[cfg(feature = "torch")]
pub(crate) mod supernet_file;
