//! The predictor that search asks: top-1 of an architecture, with the spread between its members.
//!
//! ```text
//! top-1 = label mean + label std × (additive part + interactions + mean over members of MLP)
//! ```
//!
//! Each of the three parts is optional: a published predictor is one MLP with label mean 0 and label std 1, a ridge
//! predictor has the additive part ([`crate::ridge`]) alone. Values are fractions (0.8171 is 81.71 %).

use rayon::prelude::*;
use search::additive::AdditiveScores;
use search::arch::ArchSpec;
use search::dense::CostTables;
use search::error::{ForeignError, SearchError};
use search::objective::Evaluator;
use storage::digest::Digest;
use storage::failure::Failure;

use crate::encode::{ActiveRows, ArchEncoder};
use crate::error::Result;
use crate::interactions::Interactions;
use crate::mlp::Mlp;
use crate::ridge::AdditiveModel;

/// Key of [`AccuracyPredictor::weights`] in the provenance.
const WEIGHTS: &str = "weights";

/// Centre and scale of the labels that the parts were fitted to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelScale {
    /// Added last.
    pub mean: f64,
    /// What one unit of the parts amounts to.
    pub std: f64,
}

impl LabelScale {
    /// Parts that speak in fractions themselves.
    pub const UNIT: LabelScale = LabelScale { mean: 0.0, std: 1.0 };
}

/// A predicted top-1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Fraction of images predicted right.
    pub top1: f64,
    /// Standard deviation between the members, a fraction too; absent with fewer than two.
    pub spread: Option<f64>,
}

/// Top-1 from features, whatever they stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub(crate) features: usize,
    pub(crate) label: LabelScale,
    pub(crate) additive: Option<AdditiveModel>,
    pub(crate) interactions: Option<Interactions>,
    pub(crate) members: Vec<Mlp>,
    pub(crate) provenance: serde_json::Map<String, serde_json::Value>,
}

impl Model {
    /// A model of `features` features and these parts.
    ///
    /// # Panics
    /// If there is no part at all or a part has another number of features: files are checked before.
    pub(crate) fn new(features: usize, label: LabelScale, additive: Option<AdditiveModel>, members: Vec<Mlp>) -> Model {
        assert!(additive.is_some() || !members.is_empty(), "a predictor of no parts");
        let widths = members.iter().map(Mlp::inputs).chain(additive.iter().map(|model| model.shares.len()));
        widths.for_each(|width| assert_eq!(width, features, "a part for other features"));
        Model { features, label, additive, interactions: None, members, provenance: serde_json::Map::new() }
    }

    /// Top-1 and spread of every row: numbers that depend on the row alone, not on the others or the threads.
    pub fn predict(&self, rows: &ActiveRows) -> Vec<Prediction> {
        let members: Vec<Vec<f32>> = self.members.par_iter().map(|member| member.forward(rows)).collect();
        let predict = |(row, active): (usize, &[u32])| {
            let additive = self.additive.as_ref().map_or(0.0, |model| model.predict(active));
            let additive = additive + self.interactions.as_ref().map_or(0.0, |model| model.predict(active));
            let outputs = members.iter().map(|outputs| f64::from(outputs[row]));
            let count = members.len() as f64;
            let mean = if members.is_empty() { 0.0 } else { outputs.clone().sum::<f64>() / count };
            let spread = (members.len() > 1).then(|| {
                let squares: f64 = outputs.map(|output| (output - mean).powi(2)).sum();
                self.label.std * (squares / (count - 1.0)).sqrt()
            });
            Prediction { top1: self.label.mean + self.label.std * (additive + mean), spread }
        };
        (0..rows.len()).into_par_iter().with_min_len(256).map(|row| predict((row, rows.row(row)))).collect()
    }
}

/// Accuracy from an architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct AccuracyPredictor {
    encoder: ArchEncoder,
    model: Model,
}

impl AccuracyPredictor {
    /// A predictor of these parts.
    ///
    /// # Panics
    /// If there is no part at all or a part has another number of features than the encoder: files are checked before.
    pub fn new(
        encoder: ArchEncoder,
        label: LabelScale,
        additive: Option<AdditiveModel>,
        members: Vec<Mlp>,
    ) -> AccuracyPredictor {
        let model = Model::new(encoder.width(), label, additive, members);
        AccuracyPredictor { encoder, model }
    }

    /// A predictor of features that a model was made for.
    pub(crate) fn of_model(encoder: ArchEncoder, model: Model) -> AccuracyPredictor {
        assert_eq!(encoder.width(), model.features, "a model of other features");
        AccuracyPredictor { encoder, model }
    }

    /// This predictor with `interactions` added.
    ///
    /// # Panics
    /// If they are for another number of features.
    pub fn with_interactions(mut self, interactions: Option<Interactions>) -> AccuracyPredictor {
        if let Some(Interactions { correction, pairs }) = &interactions {
            let width = self.encoder.width();
            assert!(correction.shares.len() == width && pairs.len() == width * width, "interactions of other features");
        }
        self.model.interactions = interactions;
        self
    }

    /// This predictor with a word on where it comes from (how it was fitted, which file it was read from), saved with it.
    pub(crate) fn with_provenance(
        mut self,
        provenance: serde_json::Map<String, serde_json::Value>,
    ) -> AccuracyPredictor {
        self.model.provenance = provenance;
        self
    }

    /// This predictor with the digest of the weights that its pairs were measured with.
    pub fn measured_with(mut self, weights: Digest) -> AccuracyPredictor {
        self.model.provenance.insert(WEIGHTS.to_owned(), weights.to_string().into());
        self
    }

    /// Digest of the weights that its pairs were measured with, where that is known.
    pub fn weights(&self) -> Option<Digest> {
        self.provenance().get(WEIGHTS)?.as_str()?.parse().ok()
    }

    /// Standard deviation of a predicted top-1 from what very many images would say, a fraction: √(RMSE² + p (1 − p) / n),
    /// the error on subnets that the fit never saw beside that of the n images they were measured on. `None` for a
    /// predictor whose file does not say both.
    pub fn error_of(&self, top1: f64) -> Option<f64> {
        let number = |part: &str, path: &str| self.provenance().get(part)?.pointer(path)?.as_f64();
        let (rmse, images) = (number("report", "/test/rmse")?, number("fit", "/images")?);
        let share = top1.clamp(0.0, 1.0);
        let error = rmse.hypot((share * (1.0 - share) / images).sqrt());
        error.is_finite().then_some(error)
    }

    /// The features it reads.
    pub fn encoder(&self) -> &ArchEncoder {
        &self.encoder
    }

    /// What makes top-1 of the features.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Resolutions it was trained on.
    pub fn resolutions(&self) -> &[u32] {
        self.encoder.resolutions()
    }

    /// Centre and scale of its labels.
    pub fn label(&self) -> LabelScale {
        self.model.label
    }

    /// Its additive part, in units of the label scale.
    pub fn additive(&self) -> Option<&AdditiveModel> {
        self.model.additive.as_ref()
    }

    /// Its interactions, in units of the label scale.
    pub fn interactions(&self) -> Option<&Interactions> {
        self.model.interactions.as_ref()
    }

    /// Its MLPs.
    pub fn members(&self) -> &[Mlp] {
        &self.model.members
    }

    /// Where it comes from.
    pub fn provenance(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.model.provenance
    }

    /// Top-1 of every architecture: a number that depends on the architecture alone, not on the batch or the threads.
    ///
    /// # Errors
    /// [`crate::error::PredictorError::OtherSpace`] and [`crate::error::PredictorError::UnknownResolution`].
    pub fn top1<'a>(&self, archs: impl IntoIterator<Item = &'a ArchSpec>) -> Result<Vec<f64>> {
        Ok(self.top1_of_rows(&self.encoder.encode(archs)?))
    }

    /// [`AccuracyPredictor::top1`] of architectures that are encoded already.
    pub(crate) fn top1_of_rows(&self, rows: &ActiveRows) -> Vec<f64> {
        self.predict_rows(rows).into_iter().map(|prediction| prediction.top1).collect()
    }

    /// Top-1 and spread of every architecture.
    ///
    /// # Errors
    /// As [`AccuracyPredictor::top1`].
    pub fn predict<'a>(&self, archs: impl IntoIterator<Item = &'a ArchSpec>) -> Result<Vec<Prediction>> {
        Ok(self.predict_rows(&self.encoder.encode(archs)?))
    }

    /// [`AccuracyPredictor::predict`] of architectures that are encoded already.
    pub(crate) fn predict_rows(&self, rows: &ActiveRows) -> Vec<Prediction> {
        self.model.predict(rows)
    }

    /// The additive part alone, as top-1 by resolution and block; `None` if there is no such part. Exactly this
    /// predictor if it has no other ([`AccuracyPredictor::is_additive`]).
    ///
    /// # Errors
    /// A share that is not finite.
    ///
    /// # Panics
    /// If `tables` are of another space or of resolutions that the predictor does not know.
    pub fn additive_scores(&self, tables: &CostTables) -> Option<std::result::Result<AdditiveScores, SearchError>> {
        let AdditiveModel { constant, shares } = self.additive()?;
        let LabelScale { mean, std } = self.label();
        let encoder = &self.encoder;
        let of_resolution = |resolution| mean + std * (constant + shares[encoder.resolution_column(resolution)]);
        let of_block = |stage, block, settings| {
            let (kernel, expand) = encoder.block_columns(stage, block, settings);
            std * (shares[kernel] + shares[expand])
        };
        Some(AdditiveScores::new(tables, of_resolution, of_block))
    }

    /// Share of the differences between measured and predicted top-1 that would be measured again on other images, if
    /// the predictor was fitted here to pairs with halves ([`crate::diagnostics::repeatable`]).
    pub fn repeatable(&self) -> Option<f64> {
        let share = self.provenance().get("report")?.get("repeatable")?.as_f64()?;
        (0.0..=1.0).contains(&share).then_some(share)
    }

    /// Whether there is nothing but an additive part.
    pub fn is_additive(&self) -> bool {
        self.model.additive.is_some() && self.model.interactions.is_none() && self.model.members.is_empty()
    }

    /// The resolutions that both the predictor and `others` know, ascending.
    pub fn common_resolutions(&self, others: &[u32]) -> Vec<u32> {
        let mut common = self.resolutions().to_vec();
        common.retain(|resolution| others.contains(resolution));
        common.sort_unstable();
        common
    }
}

impl Evaluator for AccuracyPredictor {
    fn evaluate(&mut self, archs: &[ArchSpec]) -> std::result::Result<Vec<f64>, ForeignError> {
        (&*self).evaluate(archs)
    }
}

impl Evaluator for &AccuracyPredictor {
    fn evaluate(&mut self, archs: &[ArchSpec]) -> std::result::Result<Vec<f64>, ForeignError> {
        self.top1(archs).map_err(|error| ForeignError::new(error.kind(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Layout;
    use crate::testing::{random_mlp, sample, space};

    #[test]
    fn top1_is_the_sum_of_the_parts() {
        let space = space("mcu-cifar");
        let encoder = ArchEncoder::new(Layout::Blocks, &space, space.resolutions()).unwrap();
        let width = encoder.width();
        let members: Vec<Mlp> = (0..3).map(|seed| random_mlp(width, &[16, 8, 1], seed)).collect();
        let additive = AdditiveModel { constant: 0.5, shares: (0..width).map(|place| 0.01 * place as f64).collect() };
        let label = LabelScale { mean: 0.8, std: 0.02 };
        let archs = sample(&space, 70, 1);
        let rows = encoder.encode(&archs).unwrap();
        let mut predictor = AccuracyPredictor::new(encoder, label, Some(additive.clone()), members.clone());
        let predictions = predictor.predict(&archs).unwrap();
        for (row, prediction) in predictions.iter().enumerate() {
            let outputs: Vec<f64> = members.iter().map(|member| f64::from(member.forward(&rows)[row])).collect();
            let mean = outputs.iter().sum::<f64>() / 3.0;
            let expected = 0.8 + 0.02 * (additive.predict(rows.row(row)) + mean);
            assert!((prediction.top1 - expected).abs() < 1e-12);
            let variance = outputs.iter().map(|output| (output - mean).powi(2)).sum::<f64>() / 2.0;
            assert!((prediction.spread.unwrap() - 0.02 * variance.sqrt()).abs() < 1e-12);
        }
        let scores = predictor.evaluate(&archs).unwrap();
        assert_eq!(scores, predictions.iter().map(|prediction| prediction.top1).collect::<Vec<_>>());
        assert_eq!(predictor.common_resolutions(&[32, 28, 224]), [28, 32]);
    }

    #[test]
    fn the_additive_part_says_what_the_predictor_says() {
        for name in ["mcu-cifar", "mbv3-w1.2", "fbnet-cifar"] {
            let space = space(name);
            let known = &space.resolutions()[1..];
            let encoder = ArchEncoder::new(Layout::Blocks, &space, known).unwrap();
            let shares = (0..encoder.width()).map(|place| (place as f64).sin()).collect();
            let label = LabelScale { mean: 0.8, std: 0.02 };
            let model = AdditiveModel { constant: 0.3, shares };
            let predictor = AccuracyPredictor::new(encoder, label, Some(model), Vec::new());
            assert!(predictor.is_additive());
            let tables = CostTables::counts_only(&space, known).unwrap();
            let scores = predictor.additive_scores(&tables).unwrap().unwrap();
            let archs: Vec<_> =
                sample(&space, 60, 2).into_iter().filter(|arch| known.contains(&arch.resolution())).collect();
            for (arch, top1) in archs.iter().zip(predictor.top1(&archs).unwrap()) {
                assert!((scores.score(&tables, arch) - top1).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_repeatable_share_is_a_share() {
        let mcu = space("mcu-cifar");
        let encoder = ArchEncoder::new(Layout::Blocks, &mcu, &[32]).unwrap();
        let member = random_mlp(encoder.width(), &[4, 1], 1);
        let predictor = AccuracyPredictor::new(encoder, LabelScale::UNIT, None, vec![member]);
        for (said, expected) in [(0.5, Some(0.5)), (0.0, Some(0.0)), (-0.1, None), (7.0, None)] {
            let report = serde_json::json!({"report": {"repeatable": said}});
            let predictor = predictor.clone().with_provenance(report.as_object().unwrap().clone());
            assert_eq!(predictor.repeatable(), expected);
        }
        assert_eq!(predictor.repeatable(), None);
    }

    #[test]
    fn an_evaluator_passes_errors_on() {
        let mcu = space("mcu-cifar");
        let encoder = ArchEncoder::new(Layout::Blocks, &mcu, &[32]).unwrap();
        let member = random_mlp(encoder.width(), &[4, 1], 1);
        let predictor = AccuracyPredictor::new(encoder, LabelScale::UNIT, None, vec![member]);
        assert_eq!(predictor.predict([&mcu.largest(32).unwrap()]).unwrap()[0].spread, None);
        let error = (&predictor).evaluate(&[mcu.largest(28).unwrap()]).unwrap_err();
        assert_eq!(error.kind, storage::failure::FailureKind::Content);
        assert_eq!(error.to_string(), "the predictor does not know resolution 28");
    }
}
