//! `ofa search --verify`: the best predicted subnets measured on held-out images, so that the truly best leads.
//!
//! Neighbours of a search's optimum differ by less than a predictor's error, and the highest prediction among thousands
//! is more lucky than good. Measuring a few of them costs seconds. But a measurement has its luck too, and among close
//! subnets often more of it than the predictor has error. The order is that of the best estimate out of both: the
//! prediction, plus the part of the difference that other images would repeat, which the predictor's fit knows from two
//! halves of the images ([`predictors::diagnostics::repeatable`]). Where it does not know, measurements alone count.

use crate::error::Result;
use crate::search::report::{FoundSubnet, SearchReport, Verified};
use crate::torch::{CalibrationSource, Part};
use crate::training::evaluate::evaluate;
use crate::training::open_bundle::OpenBundle;

/// Measures every subnet of `report` with the weights of `bundle`, calibrated with its training images, on the held-out
/// ones, and puts the best first; `repeatable` is the part of the differences between measured and predicted top-1 that
/// counts. Predictions stay as they are; a note says how the order came about.
///
/// # Errors
/// A damaged bundle or images that cannot be read.
pub(crate) fn verify(bundle: &OpenBundle, repeatable: Option<f64>, report: &mut SearchReport) -> Result<()> {
    let archs: Vec<_> = report.found.iter().map(|found| found.arch.clone()).collect();
    let measured = evaluate(bundle, &archs, Part::HeldOut, CalibrationSource::Data)?;
    report.notes.extend(measured.notes);
    for (found, accuracy) in report.found.iter_mut().zip(measured.accuracies) {
        found.verified = Some(Verified { top1: accuracy.top1, images: accuracy.images });
    }
    rank(&mut report.found, repeatable.unwrap_or(1.0));
    report.notes.push(match repeatable {
        Some(part) => format!(
            "ranked by the prediction plus {part:.2} of what the measurement says beyond it: so much of such a \
             difference would be measured again on other images"
        ),
        None => "ranked by the measurement, as the predictor does not say how much of one is chance".to_owned(),
    });
    Ok(())
}

/// The best estimate first.
fn rank(found: &mut [FoundSubnet], repeatable: f64) {
    let estimate = |found: &FoundSubnet| {
        let measured = found.verified.map_or(found.top1, |verified| verified.top1);
        found.top1 + repeatable * (measured - found.top1)
    };
    found.sort_by(|a, b| estimate(b).total_cmp(&estimate(a)));
}

#[cfg(test)]
mod tests {
    use hw_targets::cost::NetworkCost;
    use search::space::SearchSpace;

    use super::*;

    #[test]
    fn only_what_other_images_repeat_outweighs_a_prediction() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let arch = space.smallest(24).unwrap();
        let found = |top1: f64, measured: f64| FoundSubnet {
            arch: arch.clone(),
            top1,
            error: None,
            spread: None,
            cost: NetworkCost::exact(&space.lower(&arch)),
            additive: None,
            verified: Some(Verified { top1: measured, images: 5_000 }),
        };
        let first = |repeatable: f64| {
            let mut all = vec![found(0.853, 0.851), found(0.852, 0.855), found(0.850, 0.856)];
            rank(&mut all, repeatable);
            all[0].top1
        };
        assert_eq!([first(0.0), first(0.1), first(0.4), first(1.0)], [0.853, 0.853, 0.852, 0.850]);
    }
}
