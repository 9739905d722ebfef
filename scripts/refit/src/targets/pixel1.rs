//! The shipped target `pixel1`: latency of ProxylessNAS's 72 operators on a Google Pixel 1, brought to the seven networks
//! that once-for-all's authors timed whole on one.
//!
//! - Operators: 69 blocks of kernel 3, 5 and 7 and expand ratio 1, 3 and 6 at 224 px, stem, head and classifier. Of the
//!   17 counts of a block the table exercises 12; non-negativity leaves eight above zero.
//! - The classifier's row holds the pooling before it. Pooling of its own is note10's by the ratio of the devices, and is
//!   taken off the classifier.
//! - Squeeze-excite and h-swish come from note10 by the same ratio.
//! - Sums are well above the networks timed whole, all of them by about as much, so the target carries a correction: one
//!   scale and one offset. What the networks were timed with is not published; a later release of the runtime would do.
//! - The table of Single-Path NAS is of the same phone by its name, and says other things of the same operators
//!   ([`against_single_path_nas`]): it is no check, and is not used.

use std::path::Path;

use crate::networks::{Picker, proxyless};
use crate::sources::ofa_specialized;
use crate::targets::{bundles, fitted, network_mape, text};
use hw_targets::error::HwError;
use hw_targets::import::{Imported, proxyless_yaml, single_path_nas};
use hw_targets::manifest::{Correction, FittedEntry, Manifest, TARGET_SCHEMA, six_digits};
use hw_targets::model::features::OpClass;
use hw_targets::model::fit::{fit_relative, mean_absolute};
use hw_targets::model::fitted::{ClassFit, TRANSFERRED_REL_ERROR};
use hw_targets::model::{CostModel, FittedModel};
use hw_targets::table::OpTable;
use hw_targets::table::measured;
use hw_targets::table_op::{TableKind, TableOp};
use hw_targets::target::Target;
use network::op::{Activation, Workload};
use network::units::Measured;

/// Error common to all networks: a judgement. Threads and the release of the runtime are not stated.
const COMMON_REL: f64 = 0.1;
/// Random networks that sums are compared on.
const NETWORKS: usize = 1000;

/// Fits the target; `data` is the folder with `proxylessnas-pixel1/`, `single-path-nas-pixel1/` and `ofa-specialized/`,
/// `note10` the fit of that phone, and `plain` the blocks to compare the two phones on.
///
/// # Errors
/// Those of reading and fitting.
pub(crate) fn refit(data: &Path, note10: &FittedModel, plain: &[TableOp]) -> Result<Manifest, HwError> {
    let Imported { table, .. } = proxyless_yaml::read(&data.join("proxylessnas-pixel1"))?;
    let other = single_path_nas::read(&data.join("single-path-nas-pixel1"))?.table;
    let whole = ofa_specialized::read(&data.join("ofa-specialized"), "pixel1")?;
    let model = model(&table, note10, plain)?;
    let mut picker = Picker(3);
    let networks: Vec<Workload> = (0..NETWORKS).map(|_| proxyless(&picker.proxyless())).collect();
    let mape = network_mape(&table, Measured::Latency, &model, &networks);
    let entry = FittedEntry { extrapolation: Some(STEM_DOUBLINGS), ..FittedEntry::of(&model, Some(mape)) };
    let mut manifest = Manifest {
        schema: TARGET_SCHEMA.to_string(),
        name: text("pixel1"),
        device: text("Google Pixel 1"),
        soc: text("Qualcomm Snapdragon 821"),
        processing_unit: text("CPU; threads are not stated with the table"),
        runtime: text("TFLite"),
        batch: Some(1),
        measured_by: text(
            "authors of ProxylessNAS (Cai et al., ICLR 2019), 142 to 982 runs an operator; whole networks: authors of \
             once-for-all (Cai et al., ICLR 2020)",
        ),
        source: text("github.com/han-cai/files, proxylessnas/mobile_trim.yaml and ofa/ofa_specialized"),
        commit: text("a7c9bcd525e17404968bc55aa43772bf7e51909e"),
        licence: text("none stated for the tables, which are not part of this file"),
        composition: text("sum+const"),
        bundles: bundles(),
        latency: fitted("latency fitted to measured operators", "measured", "inference", COMMON_REL, entry),
        ..Manifest::default()
    };
    let (correction, before) = correction(&manifest, &whole)?;
    if let Some(latency) = &mut manifest.latency {
        latency.correction = Some(correction);
    }
    let milliseconds = whole.iter().map(|(_, seconds)| seconds * 1e3);
    manifest.notes = vec![
        format!(
            "without the correction the sums are {:.0} to {:.0} % above {} networks of OFA's MobileNetV3 timed whole \
             ({:.0} to {:.0} ms); with it, each of them is off by {:.1} % in the mean when the others alone correct it",
            100.0 * least(before.iter().copied()),
            100.0 * most(before.iter().copied()),
            whole.len(),
            least(milliseconds.clone()),
            most(milliseconds),
            100.0 * correction.mape,
        ),
        against_single_path_nas(&table, &other),
        "squeeze-excite, h-swish and pooling of its own were never measured in this table: their terms come from note10 \
         by the devices' ratio on plain blocks, and half of each counts as error"
            .to_string(),
        "every operator was measured inside networks of 224 px: the first convolution of one of 24 px lies 3.2 doublings \
         away, which this target allows itself, and its error is larger than its latency"
            .to_string(),
        "import the published table with proxyless-yaml to use the measured operators themselves, uncorrected".to_string(),
    ];
    Ok(manifest)
}

fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::INFINITY, f64::min)
}

fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NEG_INFINITY, f64::max)
}

/// How far outside it answers: the first convolution was measured at 224 px alone, and networks for small images begin at
/// 24 px, 3.22 doublings below. That operator is a small part of such a network, and what it costs carries an error bar
/// wider than itself.
const STEM_DOUBLINGS: f64 = 3.25;

/// The fit of the table, with pooling from `note10`.
fn model(table: &OpTable, note10: &FittedModel, plain: &[TableOp]) -> Result<FittedModel, HwError> {
    let no_fit = |problem: String| HwError::NoFit { what: "pooling".to_string(), problem };
    let pool = note10.classes.get(&OpClass::Pool).ok_or_else(|| no_fit("note10 has none".to_string()))?;
    let fit = |rows: &[(TableOp, f64)]| {
        let mut model = FittedModel::fit(rows, COMMON_REL)?;
        model.transfer_from(note10, "note10", plain)?;
        let ratio = model.transfer.as_ref().map_or(1.0, |transfer| transfer.ratio);
        let coefficients = pool.coefficients.iter().map(|(name, w)| (name.clone(), ratio * w)).collect();
        let taken =
            ClassFit { coefficients, rows: 0, loo_mape: None, rel_error: TRANSFERRED_REL_ERROR, ..pool.clone() };
        model.classes.insert(OpClass::Pool, taken);
        Ok::<_, HwError>(model)
    };
    let mut rows = measured(table, Measured::Latency, |_| true);
    let first = fit(&rows)?;
    for (op, value) in rows.iter_mut().filter(|(op, _)| op.kind == TableKind::Linear) {
        let pooling = TableOp::plain(TableKind::AvgPool, LAST_MAP, op.in_channels, 1, op.in_channels);
        *value -= first.cost(&pooling.op(), 0).map_err(|uncovered| no_fit(uncovered.near))?.value;
    }
    fit(&rows)
}

/// Height of the last map at 224 px.
const LAST_MAP: u32 = 7;

/// The correction on `whole`, and the relative errors of the sums before it.
fn correction(manifest: &Manifest, whole: &[(Workload, f64)]) -> Result<(Correction, Vec<f64>), HwError> {
    let target = Target::new("pixel1", manifest.clone(), None, Path::new("targets/pixel1.yaml"))?;
    let mut rows = Vec::new();
    for (network, _) in whole {
        let latency = target.cost_of(network)?.latency.map_or(0.0, |cost| cost.value);
        rows.push(vec![latency, 1.0]);
    }
    let values: Vec<f64> = whole.iter().map(|(_, seconds)| *seconds).collect();
    let fit = fit_relative(&rows, &values, &vec![0.0; values.len()]);
    let before = rows.iter().zip(&values).map(|(row, value)| row[0] / value - 1.0).collect();
    let correction = Correction {
        scale: six_digits(fit.coefficients[0]),
        offset: six_digits(fit.coefficients[1] * 1e3),
        networks: whole.len(),
        mape: six_digits(mean_absolute(&fit.left_out)),
    };
    Ok((correction, before))
}

/// One sentence on how the two tables that name this phone agree.
fn against_single_path_nas(table: &OpTable, other: &OpTable) -> String {
    // The two networks differ in what ends a convolution, ReLU6 and ReLU, which costs the same.
    let plain = |op: &TableOp| TableOp { activation: Activation::Relu, ..*op };
    let seconds = |row: &hw_targets::table::Row| row.latency.map(|latency| latency.value);
    let mut ratios: Vec<f64> = other
        .rows()
        .iter()
        .filter_map(|row| {
            let same = table.rows().iter().find(|mine| plain(mine.key.op()) == plain(row.key.op()))?;
            Some(seconds(row)? / seconds(same)?)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let Some(median) = ratios.get(ratios.len() / 2) else { return "no operator is in both tables".to_string() };
    format!(
        "Single-Path NAS publishes a table of the same phone: on the {} operators in both, its latencies are {:.2} to \
         {:.2} of these, {median:.2} in the median, less on large maps and more on small ones: other conditions, so \
         neither checks the other",
        ratios.len(),
        ratios[0],
        ratios[ratios.len() - 1],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shared;
    use hw_targets::library::TargetLibrary;

    /// The target as it ships, on the networks that its correction is fitted to: seven errors of which two are fitted.
    #[test]
    fn networks_timed_whole_are_met() {
        let Some(shared) = shared() else { return };
        let target = TargetLibrary::new(None).find("pixel1").unwrap();
        let whole = ofa_specialized::read(&shared.join("data/hw/ofa-specialized"), "pixel1").unwrap();
        let errors: Vec<f64> = whole
            .iter()
            .map(|(network, seconds)| {
                let latency = target.cost_of(network).unwrap().latency.unwrap();
                assert!(latency.sigma() > (latency.value - seconds).abs(), "{seconds}: {latency:?}");
                latency.value / seconds - 1.0
            })
            .collect();
        println!("pixel1 on seven networks: {errors:+.4?}");
        let correction = target.manifest().latency.as_ref().unwrap().correction.unwrap();
        println!("{correction:?}");
        assert!(mean_absolute(&errors) <= correction.mape && correction.mape < 0.04, "{errors:?}");
        assert!(errors.iter().all(|error| error.abs() < 0.06), "{errors:?}");
    }

    /// Pooling is in the classifier's row and in a row of its own, and counted once.
    #[test]
    fn pooling_is_taken_off_the_classifier() {
        let Some(shared) = shared() else { return };
        let target = TargetLibrary::new(None).find("pixel1").unwrap();
        let table = proxyless_yaml::read(&shared.join("data/hw/proxylessnas-pixel1")).unwrap().table;
        let (classifier, whole) = measured(&table, Measured::Latency, |op| op.kind == TableKind::Linear)[0];
        let pooling = TableOp::plain(TableKind::AvgPool, LAST_MAP, 1280, 1, 1280);
        let alone = |op: &TableOp| target.cost_in(Measured::Latency, &op.op(), 224).unwrap();
        let scale = target.manifest().latency.as_ref().unwrap().correction.unwrap().scale;
        let sum = (alone(&classifier).value + alone(&pooling).value) / scale;
        assert!((sum / whole - 1.0).abs() < 0.01, "{sum} {whole}");
        assert!(alone(&pooling).std >= 0.49 * alone(&pooling).value);
    }
}
