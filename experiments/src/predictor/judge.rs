//! `ofa predictor eval`: a predictor against measured pairs.

use std::path::Path;

use predictors::ensemble::AccuracyPredictor;
use predictors::error::PredictorError;
use predictors::pairs::Halves;
use predictors::report::{Ceiling, Scores, noise_of_halves};
use search::space::SearchSpace;

use crate::error::Result;
use crate::folders::pairs_file;

/// How a predictor does on measured pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalReport {
    /// Number of pairs.
    pub pairs: usize,
    /// Predictions against measurements.
    pub scores: Scores,
    /// What label noise leaves of a perfect predictor, if the pairs have halves.
    pub ceiling: Option<Ceiling>,
}

/// Judges `predictor` by the pairs of a file. Whether it was fitted to some of them is the caller's to know.
///
/// # Errors
/// A file of pairs that is missing or wrong, pairs at resolutions that the predictor does not know.
pub fn judge(space: &SearchSpace, predictor: &AccuracyPredictor, path: &Path) -> Result<EvalReport> {
    let (measured, archs) = pairs_file::read(path, space)?;
    if measured.len() < 3 {
        return Err(PredictorError::TooFewPairs { what: "pairs", got: measured.len(), needed: 3 }.into());
    }
    let labels: Vec<f64> = measured.iter().map(|pair| pair.top1).collect();
    let halves: Option<Vec<Halves>> = measured.iter().map(|pair| pair.halves).collect();
    let noise = halves.and_then(|halves| noise_of_halves(&halves));
    Ok(EvalReport {
        pairs: measured.len(),
        scores: Scores::new(&predictor.top1(&archs)?, &labels),
        ceiling: noise.and_then(|noise| Ceiling::new(&labels, noise, 0)),
    })
}
