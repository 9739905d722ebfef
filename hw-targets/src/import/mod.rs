//! Foreign formats of operator tables, one file each.

pub mod hw_nas_bench;
pub mod ofa_yaml;

use std::path::Path;

use crate::error::HwError;
use crate::manifest::Manifest;
use crate::table::OpTable;

/// A foreign format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Latency tables of the published once-for-all implementation: a folder of `{resolution}_lookup_table.yaml`, or one
    /// such file.
    OfaYaml,
}

impl Format {
    /// All names, for messages.
    pub const NAMES: &'static str = "ofa-yaml";

    /// Reads the name used on the command line.
    ///
    /// # Errors
    /// [`HwError::UnknownFormat`].
    pub fn parse(name: &str) -> Result<Self, HwError> {
        match name {
            "ofa-yaml" => Ok(Format::OfaYaml),
            _ => Err(HwError::UnknownFormat { name: name.to_string(), known: Self::NAMES }),
        }
    }
}

/// A table out of a foreign format; the table's notes say what could not be mapped.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// What is known about the device.
    pub manifest: Manifest,
    /// Its operators.
    pub table: OpTable,
}

/// Reads `path` in `format`.
///
/// # Errors
/// [`HwError::NotFound`], [`HwError::Io`], and those of the format's content.
pub fn import(format: Format, path: &Path) -> Result<Imported, HwError> {
    match format {
        Format::OfaYaml => ofa_yaml::read(path),
    }
}
