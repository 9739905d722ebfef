//! Shipped microcontroller boards with energy and latency, from MLPerf Tiny: four int8 reference networks a board,
//! which determine one cost per multiply-accumulate and one per network ([`PerMac`]) and no more.
//!
//! Of the submissions for a board the one taken is STMicroelectronics' of round 1.2, for all three: all four networks
//! of all three boards, one runtime (X-CUBE-AI 9.0), clock and supply voltage stated, and five windows of energy and of
//! throughput logged for each. Round 1.3 has another L4R5 board and no H7A3, and logs no throughput beside the energy;
//! earlier rounds ran older, slower runtimes; those of other submitters cost 1.4 to 4.4 times as much
//! on the same chip.
//!
//! Energy is that of the chip's own supply (the board's jumper for it is open and EEMBC's EnergyRunner in its place),
//! so its scope is the chip: regulators, debugger and sensors of the board are not in it. Clock and voltage are what
//! the submitter chose, and energy grows with both.

use std::path::Path;

use crate::sources::mlperf_tiny::{self, TinyRow};
use crate::targets::text;
use crate::tiny_networks::network;
use hw_targets::error::HwError;
use hw_targets::manifest::{DefaultBundle, Manifest, PerMacEntry, QuantityEntry, TARGET_SCHEMA, six_digits};
use hw_targets::model::PerMac;
use hw_targets::model::per_mac::MeasuredMacs;

/// Where the file lies among the measurements.
const FILE: &str = "mlperf-tiny/mlperf_tiny_energy.csv";
const ROUND: &str = "v1.2";
const SUBMITTER: &str = "STMicroelectronics";
/// Revision of github.com/mlcommons/tiny_results_v1.2.
const COMMIT: &str = "cadb362343f559d459e7cdb8748685ba76b9eb23";
/// Error common to all networks: a judgement. Another chip of the kind, supply and temperature.
const COMMON_REL: f64 = 0.1;

/// A board; clock, voltage and memory as the submitter, who makes the chip, states them with the results.
struct Board {
    name: &'static str,
    device: &'static str,
    processor: &'static str,
    clock: &'static str,
    /// Its name in the file.
    system: &'static str,
    sram: &'static str,
    /// What is to be known about the SRAM.
    memory_note: &'static str,
}

static BOARDS: [Board; 3] = [
    Board {
        name: "stm32h7a3",
        device: "STMicroelectronics STM32H7A3ZI-Q (NUCLEO-H7A3ZI-Q)",
        processor: "Arm Cortex-M7",
        clock: "280 MHz at 3 V with SMPS",
        system: "NUCLEO_H7A3ZI_Q",
        sram: "1MiB",
        memory_note: "the chip has more SRAM in further banks; 1 MiB is the largest one",
    },
    Board {
        name: "stm32l4r5",
        device: "STMicroelectronics STM32L4R5ZI (NUCLEO-L4R5ZI)",
        processor: "Arm Cortex-M4",
        clock: "120 MHz at 1.8 V",
        system: "NUCLEO_L4R5ZI",
        sram: "640KiB",
        memory_note: "640 KiB of SRAM is all of the chip's",
    },
    Board {
        name: "stm32u575",
        device: "STMicroelectronics STM32U575ZI-Q (NUCLEO-U575ZI-Q)",
        processor: "Arm Cortex-M33",
        clock: "160 MHz at 1.8 V with SMPS",
        system: "NUCLEO_U575ZI_Q",
        sram: "768KiB",
        memory_note: "the chip has a small low-power bank of SRAM more, which is not counted",
    },
];

/// Fits the boards; `data` is the folder with `mlperf-tiny/`.
///
/// # Errors
/// Those of reading and fitting.
pub(crate) fn refit(data: &Path) -> Result<Vec<Manifest>, HwError> {
    let rows = mlperf_tiny::read(&data.join(FILE))?;
    BOARDS.iter().map(|board| manifest(board, &rows)).collect()
}

fn manifest(board: &Board, rows: &[TinyRow]) -> Result<Manifest, HwError> {
    let energy = fit(board, rows, |row| Some(row.energy))?;
    let latency = fit(board, rows, |row| row.latency)?;
    let networks = energy.left_out.len();
    let entry = |fit: &PerMac, what: &str, basis: &str, scope: &str| {
        let explanation = format!(
            "{what}, a cost per multiply-accumulate and one per network fitted to {networks} whole networks (error of a \
             network between them {:.0} %)",
            100.0 * fit.rel_error
        );
        Some(QuantityEntry {
            explanation: Some(explanation),
            method: text("fitted"),
            basis: text(basis),
            scope: text(scope),
            grade: text("C"),
            common_rel: Some(COMMON_REL),
            per_mac: Some(PerMacEntry::of(fit)),
            ..QuantityEntry::default()
        })
    };
    let [least, most] = energy.macs.map(|macs| macs as f64 / 1e6);
    let memory =
        format!("memories as stated with the submission; code comes on top of what is counted; {}", board.memory_note);
    Ok(Manifest {
        schema: TARGET_SCHEMA.to_string(),
        name: text(board.name),
        device: text(board.device),
        processing_unit: text(board.processor),
        runtime: text("X-CUBE-AI"),
        runtime_version: text("9.0"),
        precision: text("int8"),
        batch: Some(1),
        clock: text(board.clock),
        measured_by: Some(format!("{SUBMITTER}, MLPerf Tiny {ROUND}, closed division, with EEMBC EnergyRunner")),
        source: Some(format!(
            "github.com/mlcommons/tiny_results_{ROUND}, closed/{SUBMITTER}/results/{}, medians of five windows",
            board.system
        )),
        commit: text(COMMIT),
        licence: text("Apache-2.0; MLPerf is a trademark of MLCommons"),
        composition: text("sum+const"),
        const_latency_ms: Some(six_digits(latency.constant * 1e3)),
        const_energy_mj: Some(six_digits(energy.constant * 1e3)),
        sram: text(board.sram),
        flash: text("2MiB"),
        bundles: vec![DefaultBundle { space: "mcu-cifar".to_string(), bundle: "mcu-cifar".to_string() }],
        latency: entry(&latency, "latency while energy was metered", "measured", "inference"),
        energy: entry(&energy, "energy at the chip's supply, idle power included", "measured_rail", "chip"),
        notes: vec![
            format!(
                "the four networks have {least:.2} to {most:.1} million MACs; fitted without one of them, that one's \
                 energy is off by {}, and its latency by {}: below 2.7 million MACs the cost per network rests on the \
                 autoencoder alone",
                words(&energy),
                words(&latency),
            ),
            "a cost per MAC knows no kinds of operators: dense and depthwise convolutions cost the same here, kernels \
             other than 3, squeeze-excite and h-swish were never measured and are flagged, and pooling is in the rest"
                .to_string(),
            "clock and voltage are the submitter's choice; energy above idle is not known apart".to_string(),
            memory,
        ],
        ..Manifest::default()
    })
}

/// `+196 % (autoencoder), -19 % (ds-cnn)`: what each network is off by when the others alone predict it.
fn words(fit: &PerMac) -> String {
    let words = fit.left_out.iter().map(|(network, error)| format!("{:+.0} % ({network})", 100.0 * error));
    words.collect::<Vec<_>>().join(", ")
}

fn fit(board: &Board, rows: &[TinyRow], value: fn(&TinyRow) -> Option<f64>) -> Result<PerMac, HwError> {
    PerMac::fit(&measured(board, rows, value), COMMON_REL)
}

/// The networks of the submission taken for `board`.
fn measured(board: &Board, rows: &[TinyRow], value: fn(&TinyRow) -> Option<f64>) -> Vec<MeasuredMacs> {
    let taken = |row: &&TinyRow| (&*row.round, &*row.submitter, &*row.system) == (ROUND, SUBMITTER, board.system);
    let one = |row: &TinyRow| {
        let (name, macs) = network(&row.benchmark)?;
        Some(MeasuredMacs { network: name.to_string(), macs: macs.0, value: value(row)? })
    };
    rows.iter().filter(taken).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shared;
    use hw_targets::cost::{Grade, Method, Scope};
    use hw_targets::library::TargetLibrary;
    use hw_targets::table_op::TableKind;
    use hw_targets::table_op::TableOp;
    use network::op::Workload;
    use network::units::{Measured, Quantity};

    #[test]
    fn boards_give_their_networks_back_within_the_stated_errors() {
        let Some(shared) = shared() else { return };
        let rows = mlperf_tiny::read(&shared.join("data/hw").join(FILE)).unwrap();
        for board in &BOARDS {
            let target = TargetLibrary::new(None).find(board.name).unwrap();
            let energies = measured(board, &rows, |row| Some(row.energy));
            let latencies = measured(board, &rows, |row| row.latency);
            assert_eq!((energies.len(), latencies.len()), (4, 4));
            for (energy, latency) in energies.iter().zip(&latencies) {
                // One layer with as many MACs: the board knows nothing else of a network.
                let layer = TableOp::plain(TableKind::Linear, 1, 64, 1, (energy.macs / 64) as u32);
                let cost = target.cost_of(&Workload { resolution: 1, ops: vec![layer.op()] }).unwrap();
                for (answer, measured) in [(cost.energy, energy), (cost.latency, latency)] {
                    let answer = answer.unwrap();
                    let error = answer.value / measured.value - 1.0;
                    println!("{} {}: {:+.1} % {}", board.name, measured.network, 100.0 * error, answer.scope);
                    assert!(error.abs() < 0.2 && answer.sigma() > 0.1 * answer.value, "{error}");
                }
            }
        }
    }

    #[test]
    fn boards_say_what_their_numbers_are() {
        for board in &BOARDS {
            let target = TargetLibrary::new(None).find(board.name).unwrap();
            assert_eq!(target.provenance(Measured::Energy), Some((Method::Fitted, Scope::Chip, Grade::C)));
            let network = network::published::mobilenet_v1(25, 96, 2).workload();
            let cost = target.cost_of(&network).unwrap();
            let (energy, latency) = (cost.energy.unwrap(), cost.latency.unwrap());
            assert!(energy.basis == Method::MeasuredRail && energy.fitted && energy.outside == 0);
            // Tens to a few hundred milliwatts, as these chips draw.
            assert!((0.01..0.3).contains(&(energy.value / latency.value)), "{}", board.name);
            // The error of the network is the fit's, whatever its number of operators.
            let rel = target.manifest().energy.as_ref().unwrap().per_mac.as_ref().unwrap().rel_error;
            assert!(energy.std >= rel * energy.value && energy.std < 1.5 * rel * energy.value);
            assert!(target.capacity(Quantity::PeakMemory).is_some() && target.capacity(Quantity::Flash).is_some());
        }
    }

    /// Of every measured network: which board takes the least energy and time, and which the most.
    #[test]
    fn the_measured_order_of_the_boards_is_kept() {
        let Some(shared) = shared() else { return };
        let rows = mlperf_tiny::read(&shared.join("data/hw").join(FILE)).unwrap();
        let order = |mut values: Vec<(&'static str, f64)>| -> Vec<&'static str> {
            values.sort_by(|a, b| a.1.total_cmp(&b.1));
            values.into_iter().map(|(board, _)| board).collect()
        };
        let check = |quantity: Measured, value: fn(&TinyRow) -> Option<f64>| {
            let boards: Vec<_> = BOARDS.iter().map(|board| (board.name, measured(board, &rows, value))).collect();
            for MeasuredMacs { network, macs, .. } in &boards[0].1 {
                let layer = TableOp::plain(TableKind::Linear, 1, 64, 1, (macs / 64) as u32);
                let workload = Workload { resolution: 1, ops: vec![layer.op()] };
                let truth = boards.iter().map(|(board, networks)| {
                    (*board, networks.iter().find(|other| other.network == *network).unwrap().value)
                });
                let answers = boards.iter().map(|(board, _)| {
                    let cost = TargetLibrary::new(None).find(board).unwrap().cost_of(&workload).unwrap();
                    let cost = cost.measured(quantity);
                    (*board, cost.unwrap().value)
                });
                assert_eq!(order(truth.collect()), order(answers.collect()), "{quantity} of {network}");
            }
        };
        check(Measured::Energy, |row| Some(row.energy));
        check(Measured::Latency, |row| row.latency);
    }
}
