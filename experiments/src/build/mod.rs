//! `ofa build`: from the files of [`crate::init`] to verified networks, in stages, each of which is done once.
//!
//! [`stage`] keeps a record of what every stage depended on and made; [`file`] reads the settings of the stages between
//! training and search; [`run`] goes
//! through them, with [`deliver`] those after the search; [`networks`] is what comes out, and [`chart`] draws it.

pub mod chart;
mod deliver;
pub mod error;
pub mod file;
pub mod networks;
pub mod run;
pub mod stage;
