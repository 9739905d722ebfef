//! How the fitted targets that ship are made: from published measurements, which themselves are not shipped.
//!
//! `scripts/refit` runs [`refit`] and writes `targets/*.yaml`; a test runs it where the measurements
//! are and compares. Sources:
//!
//! - `note10`: latency of 480 operators inside OFA's MobileNetV3 on a Samsung Galaxy Note10, published with
//!   once-for-all. No energy.
//! - `pixel3`: latency of 201 FBNet operators on a Google Pixel 3 (HW-NAS-Bench), groups and both image sizes. No
//!   measured energy of networks on this phone is known, so energy = latency × 1.2 W: the vendor's CPU power profile
//!   says 1.08 W for one big core at 2.65 GHz, a bench of the same chip 1.00 W there and 1.30 W at 2.8 GHz.
//! - `jetson-tx2`: latency and energy of the 153 ungrouped FBNet operators on an NVIDIA Jetson TX2 (HW-NAS-Bench),
//!   energy metered on the board's input rail.
//! - `raspberry-pi-4`: latency of the same 201 FBNet operators as pixel3 on a Raspberry Pi 4 (HW-NAS-Bench); energy
//!   fitted to whole networks.
//! - `pixel1`: `shipped_pixel1.rs`.
//! - `stm32h7a3`, `stm32l4r5`, `stm32u575`: `shipped_boards.rs`.
//! - `jetson-agx-orin`, `jetson-agx-xavier`, `khadas-vim4`, `rk3588s`: [`crate::targets::whole_networks`].
//! - `2080ti`, `essential-ph1`, `pixel2`, `samsung-a50`, `samsung-s7`, `v100`: [`crate::targets::help`].
//!
//! FBNet has no squeeze-excite, no h-swish and no kernel 7: the devices of HW-NAS-Bench take those terms from note10 by
//! the ratio of the devices on the plain blocks of note10's table.
//!
//! The errors common to all networks of a target (5 % on note10, 10 % on the others, 30 % for pixel3's energy) are
//! judgements from what the sources leave open (threads, clock, power), not measurements.

mod boards;
pub mod help;
mod pixel1;
pub mod whole_networks;

use std::path::Path;

use crate::networks::{Networks, Picker};
use hw_targets::error::HwError;
use hw_targets::import::{Imported, hw_nas_bench, ofa_yaml};
use hw_targets::manifest::{DefaultBundle, FittedEntry, Manifest, QuantityEntry, TARGET_SCHEMA};
use hw_targets::model::fitted::is_plain_block;
use hw_targets::model::{FittedModel, TableModel, difference_of_sums};
use hw_targets::table::{OpTable, measured};
use hw_targets::table_op::TableOp;
use network::op::Workload;
use network::units::Measured;

/// Vendor CPU power of the Pixel 3, watts above idle.
const PIXEL3_WATTS: f64 = 1.2;
/// Random networks that sums are compared on.
const NETWORKS: usize = 1000;

/// Fits all shipped targets to the measurements under `data` (`hw-nas-bench-fbnet/`, `ofa-note10/`,
/// `proxylessnas-pixel1/` and more: every module names its own); they come in alphabetical order.
///
/// # Errors
/// Those of reading and fitting.
pub fn refit(data: &Path) -> Result<Vec<Manifest>, HwError> {
    let note10 = ofa_yaml::read(&data.join("ofa-note10"))?.table;
    let lut = data.join("hw-nas-bench-fbnet/fbnet_cached_metrics.json");
    let pixel3 = hw_nas_bench::read(&lut, hw_nas_bench::Device::Pixel3)?;
    let tx2 = hw_nas_bench::read(&lut, hw_nas_bench::Device::JetsonTx2)?;
    let pi4 = hw_nas_bench::read(&lut, hw_nas_bench::Device::RaspberryPi4)?;

    let note10_latency = FittedModel::fit(&measured(&note10, Measured::Latency, |_| true), 0.05)?;
    let plain: Vec<TableOp> = note10.rows().iter().map(|row| *row.key.op()).filter(is_plain_block).collect();
    let fit = |table: &OpTable, quantity, keep: fn(&TableOp) -> bool| {
        let mut model = FittedModel::fit(&measured(table, quantity, keep), 0.1)?;
        model.transfer_from(&note10_latency, "note10", &plain)?;
        Ok::<_, HwError>(model)
    };
    let pixel3_latency = fit(&pixel3.table, Measured::Latency, |_| true)?;
    let pi4_latency = fit(&pi4.table, Measured::Latency, |_| true)?;
    let tx2_latency = fit(&tx2.table, Measured::Latency, |op| op.groups == 1)?;
    let tx2_energy = fit(&tx2.table, Measured::Energy, |op| op.groups == 1)?;

    let whole = whole_networks::refit(data)?;
    let mut manifests = vec![
        jetson_tx2(&tx2, &tx2_latency, &tx2_energy),
        note10_manifest(&note10, &note10_latency),
        pixel1::refit(data, &note10_latency, &plain)?,
        pixel3_manifest(&pixel3, &pixel3_latency),
        raspberry_pi_4(&pi4, &pi4_latency, whole.raspberry_pi_4),
    ];
    manifests.extend(whole.manifests);
    manifests.extend(boards::refit(data)?);
    manifests.extend(help::refit(data)?);
    manifests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(manifests)
}

/// Mean absolute relative difference between sums over the table and sums over the fit.
pub fn network_mape(table: &OpTable, quantity: Measured, model: &FittedModel, networks: &[Workload]) -> f64 {
    let exact = TableModel::new(table.clone().into(), quantity, 0.0);
    difference_of_sums(&exact, model, networks).1
}

fn fbnet_networks() -> Vec<Workload> {
    let mut picker = Picker(1);
    let (cifar, imagenet) = (Networks::fbnet_cifar(100), Networks::fbnet_imagenet());
    (0..NETWORKS)
        .map(|at| {
            let genome = picker.fbnet();
            if at % 2 == 0 { cifar.network(&genome, 32) } else { imagenet.network(&genome, 224) }
        })
        .collect()
}

fn mbv3_networks() -> Vec<Workload> {
    let (mut picker, space) = (Picker(2), Networks::mbv3_wide());
    (0..NETWORKS).map(|_| space.network(&picker.mbv3(), picker.pick(&[160, 176, 192, 208, 224]))).collect()
}

pub(crate) fn text(words: &str) -> Option<String> {
    Some(words.to_string())
}

pub(crate) fn bundles() -> Vec<DefaultBundle> {
    ["fbnet-cifar", "mcu-cifar"]
        .map(|name| DefaultBundle { space: name.to_string(), bundle: name.to_string() })
        .to_vec()
}

pub(crate) fn fitted(
    explanation: &str,
    basis: &str,
    scope: &str,
    common_rel: f64,
    model: FittedEntry,
) -> Option<QuantityEntry> {
    Some(QuantityEntry {
        explanation: text(explanation),
        method: text("fitted"),
        basis: text(basis),
        scope: text(scope),
        grade: text("C"),
        common_rel: Some(common_rel),
        fitted: Some(model),
        ..QuantityEntry::default()
    })
}

/// `mape` is the error of sums over networks against the table's.
fn fitted_latency(model: &FittedModel, mape: f64) -> Option<QuantityEntry> {
    let entry = FittedEntry::of(model, Some(mape));
    fitted("latency fitted to measured operators", "measured", "inference", model.common_rel, entry)
}

const HW_NAS_BENCH: &str = "HW-NAS-Bench v1.0, FBNet operators, via github.com/fracapuano/sim-is-more";
const HW_NAS_BENCH_COMMIT: &str = "c8a9073b9d17d7e062b2cf8178c3084aa700af24";

const TRANSFERRED: &str = "squeeze-excite, h-swish and kernel 7 were never measured on this device: their terms come from \
                           note10 by the devices' ratio on plain blocks, and half of each counts as error";

fn pixel3_manifest(source: &Imported, latency: &FittedModel) -> Manifest {
    let mape = network_mape(&source.table, Measured::Latency, latency, &fbnet_networks());
    Manifest {
        schema: TARGET_SCHEMA.to_string(),
        name: text("pixel3"),
        device: text("Google Pixel 3"),
        soc: text("Qualcomm Snapdragon 845"),
        processing_unit: text("CPU, about one big core by its speed (4 GMAC/s); threads are not stated"),
        runtime: text("TFLite"),
        batch: Some(1),
        measured_by: text("HW-NAS-Bench (Li et al., ICLR 2021); power: Google's power_profile.xml for this phone"),
        source: text(HW_NAS_BENCH),
        commit: text(HW_NAS_BENCH_COMMIT),
        licence: text("MIT (latencies), Apache-2.0 (power profile)"),
        composition: text("sum"),
        bundles: bundles(),
        latency: fitted_latency(latency, mape),
        energy: Some(QuantityEntry {
            explanation: text(
                "latency fitted to measured operators, energy = latency × 1.2 W (vendor CPU power profile), factor ×/÷ 1.6",
            ),
            method: text("derived_power"),
            basis: text("fitted"),
            scope: text("above_idle"),
            grade: text("C"),
            common_rel: Some(0.3),
            factor: Some(1.6),
            power_w: Some(PIXEL3_WATTS),
            ..QuantityEntry::default()
        }),
        notes: vec![
            "no measured energy of networks on this phone is known; add 0.93 W × latency for the whole phone, screen off"
                .to_string(),
            TRANSFERRED.to_string(),
        ],
        ..Manifest::default()
    }
}

/// Latency from operators, energy from whole networks: two sources under different conditions.
fn raspberry_pi_4(source: &Imported, latency: &FittedModel, whole: Manifest) -> Manifest {
    let mape = network_mape(&source.table, Measured::Latency, latency, &fbnet_networks());
    let said = |latency: &str, energy: Option<String>| Some(format!("latency: {latency}; energy: {}", energy?));
    let Manifest { runtime, clock, measured_by, source, commit, licence, const_energy_mj, energy, .. } = whole;
    let mut notes = vec![
        "latency and energy come from different boards, runtimes and threads: their ratio is not the power of either"
            .to_string(),
        format!("latency: {TRANSFERRED}"),
    ];
    notes.extend(whole.notes.into_iter().map(|note| format!("energy: {note}")));
    Manifest {
        schema: TARGET_SCHEMA.to_string(),
        name: text("raspberry-pi-4"),
        device: text("Raspberry Pi 4 Model B"),
        soc: text("Broadcom BCM2711"),
        processing_unit: text("CPU, Arm Cortex-A72; the threads of the latencies are not stated"),
        runtime: said("TFLite", runtime),
        batch: Some(1),
        clock: clock.map(|clock| format!("energy: {clock}")),
        source: said(HW_NAS_BENCH, source),
        commit: said(HW_NAS_BENCH_COMMIT, commit),
        licence: said("MIT", licence),
        composition: text("sum+const"),
        const_energy_mj,
        bundles: bundles(),
        latency: fitted_latency(latency, mape)
            .map(|entry| QuantityEntry { measured_by: text("HW-NAS-Bench (Li et al., ICLR 2021)"), ..entry }),
        energy: energy.map(|entry| QuantityEntry { measured_by, ..entry }),
        notes,
        ..Manifest::default()
    }
}

fn jetson_tx2(source: &Imported, latency: &FittedModel, energy: &FittedModel) -> Manifest {
    let networks = fbnet_networks();
    let mape = |quantity, model| Some(network_mape(&source.table, quantity, model, &networks));
    Manifest {
        schema: TARGET_SCHEMA.to_string(),
        name: text("jetson-tx2"),
        device: text("NVIDIA Jetson TX2"),
        soc: text("NVIDIA Tegra X2"),
        processing_unit: text("GPU"),
        runtime: text("TensorRT"),
        batch: Some(1),
        measured_by: text("HW-NAS-Bench (Li et al., ICLR 2021); mean of 50 runs after 3 s of warm-up"),
        source: text(HW_NAS_BENCH),
        commit: text(HW_NAS_BENCH_COMMIT),
        licence: text("MIT"),
        composition: text("sum"),
        bundles: bundles(),
        latency: fitted(
            "latency fitted to measured operators, each with a floor of about 0.45 ms, so that sums overstate whole networks",
            "measured",
            "inference",
            latency.common_rel,
            FittedEntry::of(latency, mape(Measured::Latency, latency)),
        ),
        energy: fitted(
            "energy fitted to operators measured on the board's input rail, each with a floor of about 0.45 ms, so that \
             sums overstate whole networks",
            "measured_rail",
            "board_dc",
            energy.common_rel,
            FittedEntry::of(energy, mape(Measured::Energy, energy)),
        ),
        notes: vec![
            "energy = mean rail power × time, idle power of the board included".to_string(),
            TRANSFERRED.to_string(),
        ],
        ..Manifest::default()
    }
}

fn note10_manifest(table: &OpTable, latency: &FittedModel) -> Manifest {
    let mape = network_mape(table, Measured::Latency, latency, &mbv3_networks());
    Manifest {
        schema: TARGET_SCHEMA.to_string(),
        name: text("note10"),
        device: text("Samsung Galaxy Note10"),
        processing_unit: text("CPU"),
        runtime: text("TFLite"),
        batch: Some(1),
        measured_by: text("authors of once-for-all (Cai et al., ICLR 2020); 38 to 500 runs an operator"),
        source: text("github.com/han-cai/files, ofa/note10"),
        commit: text("a7c9bcd525e17404968bc55aa43772bf7e51909e"),
        licence: text("none stated for the tables, which are not part of this file"),
        composition: text("sum"),
        bundles: bundles(),
        latency: fitted_latency(latency, mape),
        notes: vec!["import the published tables with ofa-yaml to use the measured operators themselves".to_string()],
        ..Manifest::default()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
