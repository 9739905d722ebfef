//! What each count of a block earns: the leave-one-out error of the three tables with that count left out.
//!
//! `OFA_SHARED=… cargo run --release -p refit --bin block-features`: the measurements are read from `data/hw` in
//! that folder (default: `../shared` beside the repository). A count that a table never exercises, or whose coefficient
//! is zero there anyway, changes nothing.

use std::path::{Path, PathBuf};

use hw_targets::import::hw_nas_bench::{self, Device};
use hw_targets::import::ofa_yaml;
use hw_targets::model::features::{OpClass, counts};
use hw_targets::model::fit::{fit_relative, mean_absolute};
use hw_targets::table::measured;
use hw_targets::table_op::TableOp;
use network::units::Measured;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let data = std::env::var_os("OFA_SHARED").map_or_else(beside, PathBuf::from).join("data/hw");
    let lut = data.join("hw-nas-bench-fbnet/fbnet_cached_metrics.json");
    let is_block = |op: &TableOp| OpClass::of(op) == Some(OpClass::Block);
    let note10 = measured(&ofa_yaml::read(&data.join("ofa-note10"))?.table, Measured::Latency, is_block);
    let pixel3 = measured(&hw_nas_bench::read(&lut, Device::Pixel3)?.table, Measured::Latency, is_block);
    let ungrouped = |op: &TableOp| is_block(op) && op.groups == 1;
    let tx2 = measured(&hw_nas_bench::read(&lut, Device::JetsonTx2)?.table, Measured::Energy, ungrouped);
    let tables = [&note10, &pixel3, &tx2];
    let names = OpClass::Block.features();
    let all: Vec<f64> = tables.iter().map(|rows| leave_one_out(rows, None)).collect();
    println!("{:24} {:>16} {:>16} {:>16}", "left out", "note10 latency", "pixel3 latency", "tx2 energy");
    println!("{:24} {:>14} rows {:>11} rows {:>11} rows", "", note10.len(), pixel3.len(), tx2.len());
    let cells: Vec<String> = all.iter().map(|error| format!("{:>14.2} %", 100.0 * error)).collect();
    println!("{:24} {}", "nothing", cells.join(" "));
    for (at, name) in names.iter().enumerate() {
        let cell = |(rows, all): (&&Vec<(TableOp, f64)>, &f64)| {
            let error = leave_one_out(rows, Some(at));
            format!("{:>7.2} ({:+.2})", 100.0 * error, 100.0 * (error - all))
        };
        let cells: Vec<String> = tables.iter().zip(&all).map(cell).map(|cell| format!("{cell:>16}")).collect();
        println!("{name:24} {}", cells.join(" "));
    }
    Ok(())
}

/// Mean absolute relative error of a row when fitted without it, and without the count at `left_out`.
fn leave_one_out(rows: &[(TableOp, f64)], left_out: Option<usize>) -> f64 {
    let of = |op: &TableOp| {
        let counts = counts(OpClass::Block, op).into_iter().enumerate();
        counts.filter(|(at, _)| Some(*at) != left_out).map(|(_, count)| count).collect::<Vec<f64>>()
    };
    let features: Vec<Vec<f64>> = rows.iter().map(|(op, _)| of(op)).collect();
    // As a fit does: a column without any count is no coefficient.
    let used: Vec<usize> = (0..features[0].len()).filter(|&at| features.iter().any(|row| row[at] > 0.0)).collect();
    let features: Vec<Vec<f64>> = features.iter().map(|row| used.iter().map(|&at| row[at]).collect()).collect();
    let values: Vec<f64> = rows.iter().map(|(_, value)| *value).collect();
    mean_absolute(&fit_relative(&features, &values, &vec![0.0; values.len()]).left_out)
}
