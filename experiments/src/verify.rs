//! `ofa search --verify`: the best predicted subnets measured on held-out images, so that the truly best leads.
//!
//! Neighbours of a search's optimum differ by less than a predictor's error, and the highest prediction among thousands
//! is more lucky than good. Measuring a few of them costs seconds.

use anyhow::Result;
use supernet::data::DataSource;
use tch::Device;

use crate::bundle::Bundle;
use crate::eval::{CalibrationSource, Part, eval_bundle};
use crate::search_report::{SearchReport, Verified};

/// Measures every subnet of `report` with the weights of `bundle`, calibrated with training images of `data`, on the
/// held-out ones, and puts the best first. Predictions stay as they are.
///
/// # Errors
/// A damaged bundle or images that cannot be read.
pub fn verify(bundle: &Bundle, report: &mut SearchReport, data: &DataSource, device: Device) -> Result<()> {
    bundle.supernet()?;
    let archs: Vec<_> = report.found.iter().map(|found| found.arch.clone()).collect();
    let space = bundle.space()?;
    let measured = eval_bundle(bundle.folder(), &space, &archs, data, Part::HeldOut, CalibrationSource::Data, device)?;
    for (found, accuracy) in report.found.iter_mut().zip(measured) {
        found.verified = Some(Verified { top1: accuracy.top1, images: accuracy.images });
    }
    let top1 = |verified: &Option<Verified>| verified.map_or(0.0, |verified| verified.top1);
    report.found.sort_by(|a, b| top1(&b.verified).total_cmp(&top1(&a.verified)));
    Ok(())
}
