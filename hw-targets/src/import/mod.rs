//! Foreign formats of measurements, one file each.

pub mod help;
pub mod hw_nas_bench;
mod json_entries;
mod layer_key;
mod layer_yaml;
pub mod netadapt;
pub mod ofa_yaml;
pub(crate) mod ort_profile;
mod ort_trace;
pub mod proxyless_yaml;
mod repeats;
pub mod single_path_nas;
pub(crate) mod tflite_benchmark;
mod work_list;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::HwError;
use crate::manifest::Manifest;
use crate::networks::Networks;
use crate::table::OpTable;
use storage::file::FileError;

/// A foreign format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Latency tables of the published once-for-all implementation: a folder of `{resolution}_lookup_table.yaml`, or
    /// one such file.
    OfaYaml,
    /// The latency table of ProxylessNAS.
    ProxylessYaml,
    /// The FBNet part of HW-NAS-Bench, one of its devices.
    HwNasBench,
    /// The runtime model of Single-Path NAS.
    SinglePathNas,
    /// NetAdapt tables in their JSON form: a file, or a folder of them.
    NetAdapt,
    /// HELP's measurements of whole networks, one of its devices.
    Help,
    /// Profiles of TFLite's `benchmark_model` beside the work list that they answer.
    TfliteBenchmark,
    /// Profiles of ONNX Runtime: one of a network, or many beside the work list that they answer.
    OrtProfile,
}

impl Format {
    /// All formats by the name used on the command line.
    pub const ALL: [(&'static str, Format); 8] = [
        ("ofa-yaml", Format::OfaYaml),
        ("proxyless-yaml", Format::ProxylessYaml),
        ("hw-nas-bench", Format::HwNasBench),
        ("single-path-nas", Format::SinglePathNas),
        ("netadapt", Format::NetAdapt),
        ("help", Format::Help),
        ("tflite-benchmark", Format::TfliteBenchmark),
        ("ort-profile", Format::OrtProfile),
    ];
    /// All names, for messages.
    pub(crate) const NAMES: &'static str =
        "ofa-yaml, proxyless-yaml, hw-nas-bench, single-path-nas, netadapt, help, tflite-benchmark, ort-profile";

    /// Reads the name used on the command line.
    ///
    /// # Errors
    /// [`HwError::UnknownFormat`].
    pub fn parse(name: &str) -> Result<Self, HwError> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, format)| *format);
        found.ok_or_else(|| HwError::UnknownFormat { name: name.to_string(), known: Self::NAMES })
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

/// What a foreign format holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Operators.
    Operators(Box<Imported>),
    /// Whole networks.
    Networks(Networks),
}

/// Reads `path` in `format`. Where a format holds several devices, `device` chooses; without it, the one that `name`
/// contains.
///
/// # Errors
/// [`FileError::NotFound`], [`FileError::Io`], [`HwError::UnknownDevice`], and those of the format's content.
pub fn import(format: Format, path: &Path, device: Option<&str>, name: &str) -> Result<Content, HwError> {
    let operators = |imported| Content::Operators(Box::new(imported));
    if let (Some(device), false) = (device, matches!(format, Format::HwNasBench | Format::Help)) {
        return Err(HwError::UnknownDevice { asked: Some(device.to_string()), known: Vec::new() });
    }
    Ok(match format {
        Format::OfaYaml => operators(ofa_yaml::read(path)?),
        Format::ProxylessYaml => operators(proxyless_yaml::read(path)?),
        Format::HwNasBench => {
            let known = hw_nas_bench::Device::ALL.map(|(name, _)| name.to_string());
            let picked = pick(device, name, &known)?;
            let device = hw_nas_bench::Device::ALL.iter().find(|(name, _)| *name == picked).map(|(_, device)| *device);
            operators(hw_nas_bench::read(
                path,
                device.ok_or(HwError::UnknownDevice { asked: None, known: known.to_vec() })?,
            )?)
        }
        Format::SinglePathNas => operators(single_path_nas::read(path)?),
        Format::NetAdapt => operators(netadapt::read(path)?),
        Format::Help => Content::Networks(help::read(path, device, name)?),
        Format::TfliteBenchmark => operators(tflite_benchmark::read(path)?),
        Format::OrtProfile => operators(ort_profile::read(path)?),
    })
}

/// The device asked for; without one, that which the target's name contains, `_` and `-` being the same, if it is one.
fn pick(asked: Option<&str>, name: &str, known: &[String]) -> Result<String, HwError> {
    let found = match asked {
        Some(asked) => known.iter().find(|device| *device == asked),
        None => {
            let name = format!("-{}-", name.replace('_', "-"));
            let within = |device: &&String| name.contains(&format!("-{}-", device.replace('_', "-")));
            let mut named = known.iter().filter(within);
            named.next().filter(|_| named.next().is_none())
        }
    };
    let unknown = || HwError::UnknownDevice { asked: asked.map(str::to_string), known: known.to_vec() };
    found.cloned().ok_or_else(unknown)
}

/// `path` itself if it is a file; else the only file of that folder with one of the endings.
fn one_file(path: &Path, format: &'static str, endings: &[&str]) -> Result<PathBuf, HwError> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let mut files = files_in(path, format, endings)?;
    if files.len() > 1 {
        let problem = format!("the folder has several files *.{}: name one of them", endings.join(", *."));
        return Err(FileError::malformed(path, format, problem).into());
    }
    Ok(files.swap_remove(0))
}

/// All files of a folder with one of the endings, in order of their names; at least one.
fn files_in(path: &Path, format: &'static str, endings: &[&str]) -> Result<Vec<PathBuf>, HwError> {
    let io = |source| FileError::io(path, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if endings.iter().any(|ending| name.ends_with(&format!(".{ending}"))) && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        let problem = format!("the folder has no file *.{}", endings.join(", *."));
        return Err(FileError::malformed(path, format, problem).into());
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
pub(crate) mod testing {
    use storage::failure::Failure;

    use super::*;

    /// An error about content that contains all of `words`.
    pub(crate) fn refused(result: Result<(), HwError>, words: &[&str]) {
        let error = result.unwrap_err();
        assert_eq!(error.kind().exit_code(), 3, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
        }
    }

    /// Writes the table and reads it back: the same operators with the same numbers.
    pub(crate) fn read_back(imported: &Imported) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        imported.table.write_csv(&path).unwrap();
        let again = OpTable::read(&path).unwrap();
        assert_eq!(again.rows().len(), imported.table.rows().len());
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-12;
        for (before, after) in imported.table.rows().iter().zip(again.rows()) {
            assert_eq!((before.key, &before.source_key), (after.key, &after.source_key));
            for (a, b) in [(before.latency, after.latency), (before.energy, after.energy)] {
                assert_eq!((a.is_some(), a.and_then(|a| a.count)), (b.is_some(), b.and_then(|b| b.count)));
                if let Some((a, b)) = a.zip(b) {
                    assert!(close(a.value, b.value), "{a:?} {b:?}");
                    assert_eq!((a.std.is_some(), a.statistic), (b.std.is_some(), b.statistic));
                }
            }
        }
    }

    #[test]
    fn every_format_has_its_name() {
        for (name, format) in Format::ALL {
            assert_eq!(Format::parse(name).unwrap(), format);
        }
        assert_eq!(Format::NAMES, Format::ALL.map(|(name, _)| name).join(", "));
    }

    #[test]
    fn a_device_is_picked_by_word_or_name() {
        let known = ["pixel2", "pixel3", "v100_1", "v100_64"].map(str::to_string);
        assert_eq!(pick(Some("pixel3"), "x", &known).unwrap(), "pixel3");
        assert_eq!(pick(None, "my-pixel3", &known).unwrap(), "pixel3");
        assert_eq!(pick(None, "help-v100-64", &known).unwrap(), "v100_64");
        assert!(pick(None, "pixel2-and-pixel3", &known).is_err() && pick(None, "mine", &known).is_err());
    }
}
