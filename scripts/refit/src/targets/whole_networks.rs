//! Shipped targets that are fitted to whole networks: MobileNet v1 and v2 of all widths and resolutions in fp32, as
//! submitted to MLPerf Inference (edge, power, SingleStream).
//!
//! Energy is metered at the wall plug and includes the idle board, so it is not comparable with energies of another
//! scope; latency is the 90th percentile. Each board was measured under several runtimes, and some in several power
//! modes, which the word `platform` keeps apart: a fit never mixes platforms, and a target is the platform of its board
//! with the smallest sum of the leave-one-out errors of energy and latency (of energy alone for the Raspberry Pi, whose
//! latency comes from operators). Choosing the best of several makes its error somewhat optimistic.
//!
//! Left out, with the reason:
//! - `firefly-tflite-v2.7.1-ruy`: noisy, a network differs by a quarter from what a fit to the others says;
//! - `odroid-*` of v2.0, submitted as Jetson AGX Xavier and most likely another board: they run OpenCL, which no Jetson
//!   has, draw 4 to 7 W (TFLite on `xavier-*`: 18 to 27 W) and are 2.5 to 4.7 times as slow in TFLite. The Odroid N2+
//!   of the following release carries the same platform names;
//! - rows with preprocessing inside the timed part, and boards with other memory pages or power limits than they come
//!   with (`Siliconhighway …`).
//!
//! The error common to all networks (10 %: another board of the kind, supply, ambient temperature) is a judgement.

use std::collections::BTreeMap;
use std::path::Path;

use crate::sources::mlperf_power::{self, PowerRow};
use crate::targets::{bundles, text};
use hw_targets::error::HwError;
use hw_targets::manifest::{Manifest, NetworkFitEntry, QuantityEntry, TARGET_SCHEMA, six_digits};
use hw_targets::model::NetworkFit;
use network::units::Measured;

/// Where the file lies among the measurements.
const FILE: &str = "mlperf-inference-edge-power/mlperf_edge_power_singlestream.csv.gz";
/// Platforms that are not what they say or not one set of conditions: see the top of this file.
const EXCLUDED: [&str; 3] =
    ["firefly-tflite-v2.7.1-ruy", "odroid-", "nvidia_orin-tflite_cpp-cpu-tflite-vmaster-with_live"];
/// Revision of github.com/mlcommons/cm4mlperf-results.
const COMMIT: &str = "84d8b84c6d6e3d646e27d511e438fd12d144ade9";
/// Error common to all networks of a board.
const COMMON_REL: f64 = 0.1;

/// A board with fits.
struct Board {
    name: &'static str,
    device: &'static str,
    soc: &'static str,
    cpu: &'static str,
    gpu: &'static str,
    /// How its systems begin in the file.
    systems: &'static [&'static str],
    /// What decides between its platforms, and what the target takes.
    quantities: &'static [Measured],
}

const BOTH: &[Measured] = &[Measured::Energy, Measured::Latency];

static BOARDS: [Board; 5] = [
    Board {
        name: "jetson-agx-orin",
        device: "NVIDIA Jetson AGX Orin",
        soc: "NVIDIA Tegra Orin",
        cpu: "CPU, Arm Cortex-A78AE",
        gpu: "",
        systems: &["NVIDIA Jetson AGX Orin"],
        quantities: BOTH,
    },
    Board {
        name: "jetson-agx-xavier",
        device: "NVIDIA Jetson AGX Xavier",
        soc: "NVIDIA Tegra Xavier",
        cpu: "CPU, NVIDIA Carmel",
        gpu: "",
        systems: &["NVIDIA Jetson AGX Xavier"],
        quantities: BOTH,
    },
    Board {
        name: "khadas-vim4",
        device: "Khadas VIM4",
        soc: "Amlogic A311D2",
        cpu: "CPU, Arm Cortex-A73 and Cortex-A53",
        gpu: "GPU, Arm Mali-G52",
        systems: &["Khadas VIM4"],
        quantities: BOTH,
    },
    Board {
        name: "raspberry-pi-4",
        device: "Raspberry Pi 4 Model B",
        soc: "Broadcom BCM2711",
        cpu: "CPU, Arm Cortex-A72",
        gpu: "",
        systems: &["Raspberry Pi 4", "PiBOX India Raspberry Pi 4"],
        quantities: &[Measured::Energy],
    },
    Board {
        name: "rk3588s",
        device: "Firefly board with Rockchip RK3588S",
        soc: "Rockchip RK3588S",
        cpu: "CPU, Arm Cortex-A76 and Cortex-A55",
        gpu: "GPU, Arm Mali-G610",
        systems: &["Firefly-RK3588S"],
        quantities: BOTH,
    },
];

/// One platform of a board with its fits.
pub struct Candidate {
    board: &'static Board,
    /// Board, runtime and power mode in one word.
    pub platform: String,
    /// Whether the target is this platform.
    pub chosen: bool,
    /// Fit of the energy.
    pub energy: NetworkFit,
    /// Fit of the 90th percentile of the latency.
    pub latency: NetworkFit,
    runtime: String,
    version: String,
    organization: String,
    cores: String,
    /// Smallest number of MACs among its networks.
    least_macs: u64,
}

/// Every platform of the boards that is not left out, fitted; one is chosen for each target. `data` is the folder with
/// `mlperf-inference-edge-power/`.
///
/// # Errors
/// Those of reading and fitting.
pub fn candidates(data: &Path) -> Result<Vec<Candidate>, HwError> {
    let rows = mlperf_power::read(&data.join(FILE))?;
    let mut all = Vec::new();
    for board in &BOARDS {
        let mut platforms: BTreeMap<&str, Vec<&PowerRow>> = BTreeMap::new();
        for row in rows.iter().filter(|row| is_used(board, row)) {
            platforms.entry(&row.platform).or_default().push(row);
        }
        let mut fitted: Vec<Candidate> =
            platforms.values().map(|rows| Candidate::fit(board, rows)).collect::<Result<_, _>>()?;
        let error = |candidate: &Candidate| -> f64 {
            board.quantities.iter().map(|quantity| candidate.of(*quantity).loo_mape).sum()
        };
        if let Some(best) = fitted.iter_mut().min_by(|a, b| error(a).total_cmp(&error(b))) {
            best.chosen = true;
        }
        all.append(&mut fitted);
    }
    Ok(all)
}

fn is_used(board: &Board, row: &PowerRow) -> bool {
    let begins = |text: &str, with: &[&str]| with.iter().any(|start| text.starts_with(start));
    !row.quantized && begins(&row.system, board.systems) && !begins(&row.platform, &EXCLUDED)
}

/// What is fitted to whole networks.
pub struct WholeNetworks {
    /// Targets as they ship.
    pub manifests: Vec<Manifest>,
    /// Energy of the Raspberry Pi, whose latency is fitted to operators.
    pub raspberry_pi_4: Manifest,
}

/// Fits the platforms and keeps the chosen ones.
///
/// # Errors
/// Those of [`candidates`]; [`HwError::NoFit`] if the file has no Raspberry Pi.
pub fn refit(data: &Path) -> Result<WholeNetworks, HwError> {
    let mut manifests = Vec::new();
    let mut raspberry_pi_4 = None;
    for candidate in candidates(data)?.into_iter().filter(|candidate| candidate.chosen) {
        let made = manifest(candidate.board, &candidate);
        if candidate.board.quantities == BOTH {
            manifests.push(made);
        } else {
            raspberry_pi_4 = Some(made);
        }
    }
    let raspberry_pi_4 = raspberry_pi_4.ok_or_else(|| HwError::NoFit {
        what: "raspberry-pi-4".to_string(),
        problem: "the file of whole networks has none on it".to_string(),
    })?;
    Ok(WholeNetworks { manifests, raspberry_pi_4 })
}

impl Candidate {
    fn fit(board: &'static Board, rows: &[&PowerRow]) -> Result<Self, HwError> {
        let fit = |value: fn(&PowerRow) -> f64| {
            let measured: Vec<_> = rows.iter().map(|row| (row.network.clone(), value(row))).collect();
            NetworkFit::fit(&measured, COMMON_REL)
        };
        let word = |field: fn(&PowerRow) -> &String| rows.first().map(|row| field(row).clone()).unwrap_or_default();
        Ok(Self {
            board,
            platform: word(|row| &row.platform),
            chosen: false,
            energy: fit(|row| row.energy)?,
            latency: fit(|row| row.latency)?,
            runtime: word(|row| &row.framework),
            version: word(|row| &row.version),
            organization: word(|row| &row.organization),
            cores: word(|row| &row.cores),
            least_macs: rows.iter().map(|row| row.network.macs().0).min().unwrap_or(0),
        })
    }

    /// Name of the target.
    pub fn target(&self) -> &'static str {
        self.board.name
    }

    /// The fit of one of the two quantities.
    fn of(&self, quantity: Measured) -> &NetworkFit {
        if quantity == Measured::Latency { &self.latency } else { &self.energy }
    }
}

fn manifest(board: &Board, candidate: &Candidate) -> Manifest {
    let networks = candidate.energy.networks;
    let entry = |quantity, what: &str, basis: &str, scope: &str| {
        let fit = candidate.of(quantity);
        let error = 100.0 * fit.loo_mape;
        let takes = board.quantities.contains(&quantity);
        takes.then(|| QuantityEntry {
            explanation: Some(format!(
                "{what}, fitted to {networks} whole MobileNets (leave-one-out error {error:.1} %)"
            )),
            method: text("fitted"),
            basis: text(basis),
            scope: text(scope),
            grade: text("C"),
            common_rel: Some(fit.common_rel),
            network_fit: Some(NetworkFitEntry::of(fit)),
            ..QuantityEntry::default()
        })
    };
    let constant = |quantity| {
        let takes = board.quantities.contains(&quantity);
        takes.then(|| six_digits(candidate.of(quantity).constant * 1e3))
    };
    let (version, organization, platform) = (&candidate.version, &candidate.organization, &candidate.platform);
    let unit = if candidate.runtime.contains("OpenCL") {
        board.gpu.to_string()
    } else {
        format!("{}; cores as submitted: {}", board.cpu, candidate.cores)
    };
    Manifest {
        schema: TARGET_SCHEMA.to_string(),
        name: text(board.name),
        device: text(board.device),
        soc: text(board.soc),
        processing_unit: Some(unit),
        runtime: text(&candidate.runtime),
        precision: text("fp32"),
        batch: Some(1),
        clock: Some(format!("platform {platform}")),
        measured_by: Some(format!(
            "{organization}, MLPerf Inference {version}, open division, edge, power, SingleStream"
        )),
        source: Some(format!(
            "github.com/mlcommons/inference_results_{version}, open/{organization}/results/{platform}, \
             via github.com/mlcommons/cm4mlperf-results"
        )),
        commit: text(COMMIT),
        licence: text("Apache-2.0; MLPerf is a trademark of MLCommons"),
        composition: text("sum+const"),
        const_latency_ms: constant(Measured::Latency),
        const_energy_mj: constant(Measured::Energy),
        bundles: bundles(),
        latency: entry(Measured::Latency, "90th percentile of latency", "measured", "inference"),
        energy: entry(Measured::Energy, "energy at the wall plug, idle board included", "measured_wall", "wall_ac"),
        notes: vec![
            format!(
                "below {:.0} million MACs a network is smaller than any measured one, and its cost is extrapolated",
                candidate.least_macs as f64 / 1e6
            ),
            "squeeze-excite, h-swish and kernels other than 3 were never measured: such operators are costed by their \
             MACs and elements, flagged, and half of the first two counts as error"
                .to_string(),
        ],
        ..Manifest::default()
    }
}

#[cfg(test)]
#[path = "whole_networks_tests.rs"]
mod tests;
