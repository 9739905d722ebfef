//! Shipped targets that are fitted to the latencies of HELP (Lee et al., NeurIPS 2021): thousands of whole networks,
//! each timed on GPUs and phones.
//!
//! - `v100`, `2080ti`: 3,000 subnets of OFA's MobileNetV3 of width 1.0 between 128 and 224 pixels, in batches of 64:
//!   there the GPU is what is slow. One image at a time it waits for the program that launches its layers (see the error
//!   at batch 1 in the notes of the targets).
//! - `pixel2`, `samsung-a50`, `samsung-s7`, `essential-ph1`: 3,000 FBNets of 32 pixels with 100 classes, in whole
//!   milliseconds.
//!
//! What the source does not say (clocks, runtimes, threads, precision of the phones) is left out of the targets. The
//! error common to all networks (10 %: another device of the kind, driver, temperature) is a judgement.

use std::path::Path;

use crate::networks::Networks;
use crate::targets::{bundles, text};
use hw_targets::error::HwError;
use hw_targets::import::help;
use hw_targets::manifest::{Manifest, NetworkFitEntry, QuantityEntry, TARGET_SCHEMA, six_digits};
use hw_targets::model::NetworkFit;
use hw_targets::model::fit::mean_absolute;
use network::op::Workload;

/// Where the files lie among the measurements.
const FOLDER: &str = "help-latency";
/// Revision of github.com/HayeonLee/HELP, in which each column is a file of its own.
const COMMIT: &str = "11970ec72b43a2500a2eb00a8436bd05eb14e776";
/// Classes of the FBNets.
const FBNET_CLASSES: u32 = 100;
/// Error common to all networks of a device.
const COMMON_REL: f64 = 0.1;
/// The same on a GPU, whose software and precision the source does not say: the only other measurements, on the V100, took
/// half the time.
const GPU_REL: f64 = 0.5;
/// The same as a factor.
const GPU_FACTOR: f64 = 2.0;

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelpFile {
    /// Subnets of OFA's MobileNetV3 of width 1.0 on GPUs.
    MobileNetV3,
    /// FBNets for 32 pixels and 100 classes on GPUs, CPUs and phones.
    FbNet,
}

impl HelpFile {
    fn name(self) -> &'static str {
        match self {
            HelpFile::MobileNetV3 => "help_ofa_mbv3_latency_ms.csv.gz",
            HelpFile::FbNet => "help_fbnet_cifar100_latency_ms.csv.gz",
        }
    }

    /// Where its columns lie in the source.
    fn folder(self) -> &'static str {
        match self {
            HelpFile::MobileNetV3 => "ofa",
            HelpFile::FbNet => "fbnet",
        }
    }
}

/// The networks of one column of a file, with their latency in seconds per batch, in the order of the file. `data` is
/// the folder with `help-latency/`.
///
/// # Errors
/// Those of reading.
pub fn networks(data: &Path, file: HelpFile, column: &str) -> Result<Vec<(Workload, f64)>, HwError> {
    let path = data.join(FOLDER).join(file.name());
    let read = help::read(&path, Some(column), "")?;
    let space = match file {
        HelpFile::MobileNetV3 => Networks::mbv3_narrow(),
        HelpFile::FbNet => Networks::fbnet_cifar(FBNET_CLASSES),
    };
    let lower = |row: &hw_targets::networks::MeasuredNetwork| Some((space.parse(&row.subnet)?, row.latency?.value));
    Ok(read.rows().iter().filter_map(lower).collect())
}

/// A device with a fit.
struct Device {
    name: &'static str,
    device: &'static str,
    soc: Option<&'static str>,
    processing_unit: Option<&'static str>,
    file: HelpFile,
    column: &'static str,
    batch: u32,
    /// The column of the same device with one image at a time.
    alone: Option<&'static str>,
    /// What else is to be said.
    notes: &'static [&'static str],
}

static DEVICES: [Device; 6] = [
    Device {
        name: "2080ti",
        device: "NVIDIA GeForce RTX 2080 Ti",
        soc: None,
        processing_unit: Some("GPU"),
        file: HelpFile::MobileNetV3,
        column: "2080ti_64",
        batch: 64,
        alone: Some("2080ti_1"),
        notes: &[],
    },
    phone("essential-ph1", "Essential Phone PH-1", "Qualcomm Snapdragon 835", "essential_ph_1"),
    phone("pixel2", "Google Pixel 2", "Qualcomm Snapdragon 835", "pixel2"),
    phone("samsung-a50", "Samsung Galaxy A50", "Samsung Exynos 9610", "samsung_a50"),
    // Sold with either of two chips; the source does not say which.
    Device { soc: None, ..phone("samsung-s7", "Samsung Galaxy S7", "", "samsung_s7") },
    Device {
        name: "v100",
        device: "NVIDIA Tesla V100",
        soc: None,
        processing_unit: Some("GPU"),
        file: HelpFile::MobileNetV3,
        column: "v100_64",
        batch: 64,
        alone: Some("v100_1"),
        // A test of `search` compares them.
        notes: &["four networks that once-for-all's authors specialised for a V100 (batches of 64, width 1.3, whole \
                  milliseconds) took them half the time that this target says, in the same order: other software or \
                  precision"],
    },
];

const fn phone(name: &'static str, device: &'static str, soc: &'static str, column: &'static str) -> Device {
    let (file, soc) = (HelpFile::FbNet, Some(soc));
    Device { name, device, soc, processing_unit: None, file, column, batch: 1, alone: None, notes: &[] }
}

/// Fits the devices to all of their networks.
///
/// # Errors
/// Those of reading and fitting.
pub fn refit(data: &Path) -> Result<Vec<Manifest>, HwError> {
    DEVICES.iter().map(|device| manifest(device, data)).collect()
}

fn manifest(device: &Device, data: &Path) -> Result<Manifest, HwError> {
    let measured = networks(data, device.file, device.column)?;
    let whole = NetworkFit::fit(&measured, COMMON_REL)?;
    let alone = |column| NetworkFit::fit(&networks(data, device.file, column)?, COMMON_REL);
    let alone = device.alone.map(alone).transpose()?;
    let last = error_of_last_third(&measured)?;
    let is_gpu = device.file == HelpFile::MobileNetV3;
    let (networks, error) = (whole.networks, 100.0 * whole.loo_mape);
    let what = match device.file {
        HelpFile::MobileNetV3 => format!("latency per batch of {} images", device.batch),
        HelpFile::FbNet => "latency in whole milliseconds".to_string(),
    };
    let of = match device.file {
        HelpFile::MobileNetV3 => "MobileNetV3 subnets",
        HelpFile::FbNet => "FBNets of 32 px",
    };
    Ok(Manifest {
        schema: TARGET_SCHEMA.to_string(),
        name: text(device.name),
        device: text(device.device),
        soc: device.soc.map(str::to_string),
        processing_unit: device.processing_unit.map(str::to_string),
        batch: Some(device.batch),
        measured_by: text("HELP (Lee et al., NeurIPS 2021)"),
        source: Some(format!("github.com/HayeonLee/HELP, data/{}/latency/{}.pt", device.file.folder(), device.column)),
        commit: text(COMMIT),
        licence: text("MIT"),
        composition: text("sum+const"),
        const_latency_ms: Some(six_digits(whole.constant * 1e3)),
        bundles: bundles(),
        latency: Some(QuantityEntry {
            explanation: Some(format!(
                "{what}, fitted to {networks} whole {of} (error on held-out tenths {error:.1} %)"
            )),
            method: text("fitted"),
            basis: text("measured"),
            scope: text("inference"),
            grade: text("C"),
            common_rel: Some(if is_gpu { GPU_REL } else { COMMON_REL }),
            factor: is_gpu.then_some(GPU_FACTOR),
            network_fit: Some(NetworkFitEntry::of(&whole)),
            ..QuantityEntry::default()
        }),
        notes: notes(device, last, alone.as_ref()),
        ..Manifest::default()
    })
}

/// Error on the last third of the networks of a fit to the others: what came later on the device, and may have
/// been measured under other conditions, is not in it.
fn error_of_last_third(measured: &[(Workload, f64)]) -> Result<f64, HwError> {
    let (earlier, last) = measured.split_at(2 * measured.len() / 3);
    let fit = NetworkFit::fit(earlier, COMMON_REL)?;
    let off =
        |(network, value): &(Workload, f64)| fit.predict(network).map(|predicted| (predicted / value - 1.0).abs());
    let errors: Vec<f64> = last.iter().filter_map(off).collect();
    Ok(mean_absolute(&errors))
}

fn notes(device: &Device, last: f64, alone: Option<&NetworkFit>) -> Vec<String> {
    let mut notes =
        vec![format!("a fit to the first two thirds of the networks is {:.1} % off on the last", 100.0 * last)];
    let limits = match device.file {
        HelpFile::FbNet => vec![
            "measured in whole milliseconds: networks that differ by less than 1 ms cannot be told apart",
            "networks of 32 px and 100 classes: larger images are extrapolated; squeeze-excite, h-swish and kernel 7 \
             were never measured: such operators are flagged, and half of the first two counts as error",
        ],
        HelpFile::MobileNetV3 => {
            vec!["networks of width 1.0 between 128 and 224 px; wider or smaller ones are extrapolated and flagged"]
        }
    };
    notes.extend(limits.into_iter().chain(device.notes.iter().copied()).map(str::to_string));
    if let Some(alone) = alone {
        notes.push(format!(
            "this is the latency of {} images together; of one alone it is {:.1} % off when fitted likewise, and mostly \
             the number of layers and of squeeze-excites",
            device.batch,
            100.0 * alone.loo_mape
        ));
    }
    notes
}

#[cfg(test)]
#[path = "help_tests.rs"]
mod tests;
