//! Fitting a predictor to measured pairs.
//!
//! A few hundred pairs say more about main effects than an MLP can hear, so the fit has three parts: a ridge regression
//! ([`crate::ridge`]) for what blocks and resolution add, a Gaussian process ([`crate::interactions`]) for what pairs of
//! choices do together, and a small ensemble of MLPs for what is left over. How much of the ensemble's word is kept is
//! cross-validated: with `r` the residual of a fold's first two parts on pairs that the fold did not see, and `q` the
//! fold's ensemble there,
//!
//! ```text
//! share = Σ q·r / Σ q², within 0 and 1
//! ```
//!
//! is the least-squares answer (0 if the ensemble takes less than a hundredth of the squared error away), and the last
//! layer is multiplied by it: with few pairs the predictor may be the closed-form parts alone. Without them (`additive:
//! false`) the fit is the published recipe: MLPs on standardised labels, Adam at 10⁻³ with weight decay 10⁻⁴, the
//! output starting at the mean label (`once-for-all` §4.3); the decay here is decoupled (AdamW), and the learning rate
//! falls along a cosine.
//!
//! The MLPs read the ridge's steps, centred and scaled, rather than the bare one-hot features; that is a linear map, and
//! is multiplied into the first layer afterwards. Their spread is that of initial weights and order of batches.

use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use search::arch::ArchSpec;
use search::space::SearchSpace;
use serde_json::{Map, Value, json};

use crate::diagnostics::{Calibration, CurvePoint, repeatable, slices};
use crate::encode::{ActiveRows, ArchEncoder};
use crate::ensemble::{AccuracyPredictor, LabelScale};
use crate::error::{PredictorError, Result};
use crate::interactions::{self, Interactions, Strength};
use crate::members::{self, mean_output, scale_output};
use crate::mlp::Mlp;
use crate::noise::{Ceiling, noise_of_halves};
use crate::pairs::{AccuracyPair, Halves};
use crate::rank::{kendall_tau_b, mean, rmse, variance};
use crate::report::{FitReport, Scores, Split};
use crate::ridge::{self, AdditiveModel};
use crate::settings::FitSettings;

/// A fitted predictor and its report; the predictor's provenance holds both settings and report.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The predictor, fitted to the training pairs only.
    pub predictor: AccuracyPredictor,
    /// Its scores on the pairs set aside.
    pub report: FitReport,
}

/// Fits a predictor of top-1 to `pairs`, whose architectures are `archs` ([`crate::pairs::architectures`]).
///
/// The predictor knows the resolutions that occur among the training pairs. `progress` is called with the epochs done
/// and their total. The same input and settings give the same bits on the same machine, whatever the number of threads;
/// the order of the pairs matters to the last bits only through rounding and batches.
///
/// # Errors
/// [`PredictorError::Setting`], [`PredictorError::TooFewPairs`] for fewer than [`ridge::MIN_PAIRS`] × 2 training or 3
/// test pairs, and the encoder's errors for architectures of another space.
///
/// # Panics
/// If there are not as many architectures as pairs.
pub fn fit(
    space: &SearchSpace,
    pairs: &[AccuracyPair],
    archs: &[ArchSpec],
    settings: &FitSettings,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Fitted> {
    assert_eq!(pairs.len(), archs.len(), "as many architectures as pairs");
    settings.check()?;
    let start = Instant::now();
    let split = Split::new(archs, settings.test_pairs, settings.seed);
    let least = ridge::MIN_PAIRS * 2;
    if split.train.len() < least {
        return Err(PredictorError::TooFewPairs { what: "training pairs", got: split.train.len(), needed: least });
    }
    let mut resolutions: Vec<u32> = split.train.iter().map(|&row| archs[row].resolution()).collect();
    resolutions.sort_unstable();
    resolutions.dedup();
    let test: Vec<usize> =
        split.test.iter().copied().filter(|&row| resolutions.contains(&archs[row].resolution())).collect();
    if test.len() < 3 {
        return Err(PredictorError::TooFewPairs { what: "pairs to judge the fit with", got: test.len(), needed: 3 });
    }
    let encoder = ArchEncoder::new(settings.layout, space, &resolutions)?;
    let top1 = |rows: &[usize]| -> Vec<f64> { rows.iter().map(|&row| pairs[row].top1).collect() };
    let train = Data {
        encoder: &encoder,
        rows: encoder.encode(split.train.iter().map(|&row| &archs[row]))?,
        labels: top1(&split.train),
    };
    let folds = folds(&split.train.iter().map(|&row| &archs[row]).collect::<Vec<_>>(), settings);
    let parts = train.fit(&folds, settings, progress)?;
    let test_rows = encoder.encode(test.iter().map(|&row| &archs[row]))?;
    let test_labels = top1(&test);
    let additive_scores = parts.base.additive.as_ref().map(|model| {
        let alone = AccuracyPredictor::new(encoder.clone(), parts.label, Some(model.clone()), Vec::new());
        Scores::new(&alone.top1_of_rows(&test_rows), &test_labels)
    });
    let predictor = AccuracyPredictor::new(encoder.clone(), parts.label, parts.base.additive, parts.members)
        .with_interactions(parts.base.interactions);
    let halves: Option<Vec<Halves>> = pairs.iter().map(|pair| pair.halves).collect();
    let noise = halves.and_then(|halves| noise_of_halves(&halves));
    let test_macs: Vec<u64> = test.iter().map(|&row| space.lower(&archs[row]).macs().0).collect();
    let predictions = predictor.predict(test.iter().map(|&row| &archs[row]))?;
    let test_top1: Vec<f64> = predictions.iter().map(|prediction| prediction.top1).collect();
    let train_halves: Option<Vec<Halves>> = split.train.iter().map(|&row| pairs[row].halves).collect();
    let cross_validated: Vec<f64> =
        parts.cross_validated.iter().map(|value| parts.label.mean + parts.label.std * value).collect();
    let learning_curve = train.learning_curve(&folds, settings, |smaller| {
        let smaller = AccuracyPredictor::new(encoder.clone(), smaller.label, smaller.base.additive, Vec::new())
            .with_interactions(smaller.base.interactions);
        let top1 = smaller.top1_of_rows(&test_rows);
        (rmse(&top1, &test_labels), kendall_tau_b(&top1, &test_labels))
    })?;
    let report = FitReport {
        train_pairs: split.train.len(),
        test_pairs: test.len(),
        scores: Scores::new(&test_top1, &test_labels),
        additive_scores,
        ceiling: noise.and_then(|noise| Ceiling::new(&test_labels, noise, settings.seed)),
        slices: slices(&test_top1, &test_labels, &test_macs, noise),
        calibration: Calibration::new(&predictions, &test_labels, noise),
        learning_curve,
        test_labels: (mean(&test_labels), variance(&test_labels).sqrt()),
        penalty: parts.penalty,
        interactions: parts.strength,
        mlp_share: parts.share,
        cross_validated_kendall: kendall_tau_b(&parts.cross_validated, &train.labels),
        repeatable: train_halves.and_then(|halves| repeatable(&cross_validated, &halves)),
        seconds: start.elapsed().as_secs_f64(),
    };
    let predictor = predictor.with_provenance(provenance(pairs, settings, &report));
    Ok(Fitted { predictor, report })
}

/// Rows of `archs` that the fit of `predictor` set aside, if `archs` are the architectures it was given.
///
/// `None` for a predictor that was not fitted here, or to another number of pairs.
pub fn unseen(predictor: &AccuracyPredictor, archs: &[ArchSpec]) -> Option<Vec<usize>> {
    let fit = predictor.provenance().get("fit")?;
    let number = |name: &str| fit.get(name).and_then(Value::as_u64);
    if number("pairs")? != archs.len() as u64 {
        return None;
    }
    let split = Split::new(archs, number("test_pairs")? as usize, number("seed")?);
    Some(split.test.into_iter().filter(|&row| predictor.resolutions().contains(&archs[row].resolution())).collect())
}

fn provenance(pairs: &[AccuracyPair], settings: &FitSettings, report: &FitReport) -> Map<String, Value> {
    let mut report = report.to_json();
    // A clock's word would make two equal fits differ.
    if let Some(report) = report.as_object_mut() {
        report.remove("seconds");
    }
    let settings = json!({
        "pairs": pairs.len(),
        "images": pairs.iter().map(|pair| pair.images).min(),
        "test_pairs": settings.test_pairs,
        "seed": settings.seed,
        "additive": settings.additive,
        "interactions": settings.interactions,
        "members": settings.members,
        "hidden": settings.hidden,
        "epochs": settings.epochs,
        "batch": settings.batch,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "folds": settings.folds,
    });
    Map::from_iter([("fit".to_owned(), settings), ("report".to_owned(), report)])
}

/// The fold of every training pair; equal architectures share one.
fn folds(archs: &[&ArchSpec], settings: &FitSettings) -> Vec<usize> {
    let mut distinct = archs.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let mut fold_of: Vec<usize> = (0..distinct.len()).map(|index| index % settings.folds.max(1)).collect();
    fold_of.shuffle(&mut ChaCha8Rng::seed_from_u64(settings.seed ^ 0xF01D));
    archs.iter().map(|arch| distinct.binary_search(arch).map_or(0, |index| fold_of[index])).collect()
}

/// Encoded architectures with their top-1.
struct Data<'a> {
    encoder: &'a ArchEncoder,
    rows: ActiveRows,
    labels: Vec<f64>,
}

/// What a fit finds, in units of its label scale.
struct Parts {
    label: LabelScale,
    base: Base,
    penalty: Option<f64>,
    strength: Option<Strength>,
    members: Vec<Mlp>,
    share: f64,
    /// Every label as the other folds predict it.
    cross_validated: Vec<f64>,
}

/// Pairs between two points of the learning curve.
const CURVE_STEP: usize = 100;

/// The parts in closed form.
#[derive(Default)]
struct Base {
    additive: Option<AdditiveModel>,
    interactions: Option<Interactions>,
}

impl Base {
    fn predict(&self, active: &[u32]) -> f64 {
        let additive = self.additive.as_ref().map_or(0.0, |model| model.predict(active));
        additive + self.interactions.as_ref().map_or(0.0, |model| model.predict(active))
    }
}

impl Data<'_> {
    /// The closed-form parts for some rows, their settings given.
    fn base(
        &self,
        rows: &ActiveRows,
        labels: &[f64],
        penalty: Option<f64>,
        strength: Option<Strength>,
    ) -> Result<Base> {
        let Some(penalty) = penalty else { return Ok(Base::default()) };
        let additive = ridge::fit_with(self.encoder, rows, labels, penalty)?;
        let interactions =
            strength.and_then(|strength| interactions::fit_with(self.encoder, rows, labels, strength, &additive));
        Ok(Base { additive: Some(additive), interactions })
    }

    /// Scores of the closed-form parts fitted to the first 100, 200, … pairs in an order drawn by the seed, fewer than all;
    /// `judge` gives them.
    fn learning_curve(
        &self,
        folds: &[usize],
        settings: &FitSettings,
        judge: impl Fn(Parts) -> (f64, Option<f64>),
    ) -> Result<Vec<CurvePoint>> {
        if !settings.additive || !settings.learning_curve {
            return Ok(Vec::new());
        }
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(settings.seed ^ 0xC0_4E));
        let settings = FitSettings { members: 0, ..settings.clone() };
        let point = |pairs: usize| {
            let rows = &order[..pairs];
            let smaller = Data {
                encoder: self.encoder,
                rows: self.rows.select(rows),
                labels: rows.iter().map(|&row| self.labels[row]).collect(),
            };
            let folds: Vec<usize> = rows.iter().map(|&row| folds[row]).collect();
            let (rmse, kendall) = judge(smaller.fit(&folds, &settings, &mut |_, _| ())?);
            Ok(CurvePoint { pairs, rmse, kendall })
        };
        (CURVE_STEP..self.labels.len()).step_by(CURVE_STEP).map(point).collect()
    }

    fn fit(&self, folds: &[usize], settings: &FitSettings, progress: &mut dyn FnMut(usize, usize)) -> Result<Parts> {
        let std = variance(&self.labels).sqrt();
        let label = LabelScale { mean: mean(&self.labels), std: if std > 0.0 { std } else { 1.0 } };
        let labels: Vec<f64> = self.labels.iter().map(|value| (value - label.mean) / label.std).collect();
        let ridge = settings.additive.then(|| ridge::fit(self.encoder, &self.rows, &labels)).transpose()?;
        let penalty = ridge.map(|ridge| ridge.penalty);
        let strength = match settings.additive && settings.interactions {
            true => interactions::strength(self.encoder, &self.rows, &labels),
            false => None,
        };
        let count = folds.iter().max().map_or(0, |last| last + 1);
        let fits = if settings.members == 0 { 0 } else { count + 1 };
        let mut done = 0;
        let mut epoch = || {
            done += 1;
            progress(done, fits * settings.epochs);
        };
        // Every pair as the other folds predict it: by their closed-form parts, and by their MLPs.
        let (mut based, mut rest) = (vec![0.0; labels.len()], vec![0.0; labels.len()]);
        for fold in 0..count {
            let (held, kept): (Vec<usize>, Vec<usize>) = (0..labels.len()).partition(|&row| folds[row] == fold);
            let (kept_rows, held_rows) = (self.rows.select(&kept), self.rows.select(&held));
            let kept_labels: Vec<f64> = kept.iter().map(|&row| labels[row]).collect();
            let base = self.base(&kept_rows, &kept_labels, penalty, strength)?;
            let members = self.members(&kept_rows, &kept_labels, &base, fold as u64 + 1, settings, &mut epoch);
            let outputs = mean_output(&members, &held_rows);
            for ((&row, active), output) in held.iter().zip(held_rows.iter()).zip(outputs) {
                (based[row], rest[row]) = (base.predict(active), output);
            }
        }
        let share = if settings.additive { share(&labels, &based, &rest) } else { 1.0 };
        let predicted: Vec<f64> = based.iter().zip(&rest).map(|(base, rest)| base + share * rest).collect();
        let base = self.base(&self.rows, &labels, penalty, strength)?;
        let mut members = Vec::new();
        if share > 0.0 {
            members = self.members(&self.rows, &labels, &base, 0, settings, &mut epoch);
            members = members.into_iter().map(|member| scale_output(&member, share as f32)).collect();
        } else {
            progress(fits * settings.epochs, fits * settings.epochs);
        }
        Ok(Parts { label, base, penalty, strength, members, share, cross_validated: predicted })
    }

    /// MLPs for what `base` leaves of `labels`.
    fn members(
        &self,
        rows: &ActiveRows,
        labels: &[f64],
        base: &Base,
        stream: u64,
        settings: &FitSettings,
        epoch: &mut dyn FnMut(),
    ) -> Vec<Mlp> {
        if settings.members == 0 {
            return Vec::new();
        }
        let residual = |(active, label): (&[u32], &f64)| (label - base.predict(active)) as f32;
        let targets: Vec<f32> = rows.iter().zip(labels).map(residual).collect();
        members::fitted(self.encoder, rows, &targets, stream, settings, epoch)
    }
}

/// Least part of the squared error that MLPs must take away to be kept: they are most of a prediction's time.
const LEAST_GAIN: f64 = 0.01;

/// The least-squares share of `rest` in what `based` leaves of `labels`, within 0 and 1; 0 if it takes too little away.
fn share(labels: &[f64], based: &[f64], rest: &[f64]) -> f64 {
    let (mut power, mut along, mut error) = (0.0, 0.0, 0.0);
    for ((label, base), rest) in labels.iter().zip(based).zip(rest) {
        let left = label - base;
        (power, along, error) = (power + rest * rest, along + left * rest, error + left * left);
    }
    let share = if power > 0.0 { (along / power).clamp(0.0, 1.0) } else { 0.0 };
    let gain = share * (2.0 * along - share * power);
    if gain >= LEAST_GAIN * error { share } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Truth, sample, space};

    /// Standard deviation of top-1 measured on 5,000 images.
    const NOISE: f64 = 0.0035;

    fn measured(name: &str, count: usize, seed: u64) -> (SearchSpace, Truth, Vec<ArchSpec>, Vec<AccuracyPair>) {
        let space = space(name);
        let truth = Truth::new(&space, seed);
        let archs = sample(&space, count, seed);
        let pairs = truth.measure(&space, &archs, NOISE, seed);
        (space, truth, archs, pairs)
    }

    fn quiet(_done: usize, _all: usize) {}

    #[test]
    fn the_closed_form_parts_need_no_libtorch() {
        let (space, _, archs, pairs) = measured("mcu-cifar", 800, 1);
        let settings = FitSettings { members: 0, ..FitSettings::default() };
        let fitted = fit(&space, &pairs, &archs, &settings, &mut quiet).unwrap();
        assert!(fitted.predictor.members().is_empty());
        assert_eq!((fitted.report.train_pairs, fitted.report.test_pairs), (600, 200));
        let alone = fit(&space, &pairs, &archs, &FitSettings { interactions: false, ..settings }, &mut quiet).unwrap();
        assert_eq!(Some(alone.report.scores), alone.report.additive_scores);
        assert_eq!(alone.report.additive_scores, fitted.report.additive_scores);
        assert!(alone.report.scores.rmse > fitted.report.scores.rmse);
        assert!(fitted.report.scores.kendall.unwrap() > 0.8, "{:?}", fitted.report);
        assert!(fitted.predictor.provenance().contains_key("report"));
        let (rmse, images) = (fitted.report.scores.rmse, pairs[0].images as f64);
        let error = fitted.predictor.error_of(0.9).unwrap();
        assert!((error * error - rmse * rmse - 0.09 / images).abs() < 1e-12, "{error}");
        assert_eq!(fitted.predictor.with_provenance(Map::new()).error_of(0.9), None);
    }

    #[test]
    fn settings_and_counts_that_make_no_sense_are_errors() {
        let (space, _, archs, pairs) = measured("mcu-cifar", 20, 1);
        let refused = |settings| fit(&space, &pairs, &archs, &settings, &mut quiet).unwrap_err();
        let base = || FitSettings { test_pairs: 4, ..FitSettings::default() };
        let none = refused(FitSettings { members: 0, additive: false, ..base() });
        assert!(matches!(none, PredictorError::Setting { name: "members", .. }));
        let few = refused(FitSettings { test_pairs: 200, members: 0, ..base() });
        assert!(matches!(few, PredictorError::TooFewPairs { what: "training pairs", .. }), "{few}");
        let judge = refused(FitSettings { test_pairs: 0, members: 0, ..base() });
        assert!(matches!(judge, PredictorError::TooFewPairs { got: 0, needed: 3, .. }), "{judge}");
        if cfg!(feature = "torch") {
            let rate = refused(FitSettings { learning_rate: f64::NAN, ..base() });
            assert!(matches!(rate, PredictorError::Setting { name: "learning_rate", .. }));
        } else {
            assert!(refused(base()).to_string().contains("no LibTorch"));
        }
    }

    #[cfg(feature = "torch")]
    mod with_torch {
        use super::*;
        use crate::rank::rmse;

        /// What a user is promised: close to what label noise allows, and within half a point.
        #[test]
        fn unseen_pairs_are_ranked_nearly_as_well_as_noise_allows() {
            let mut gaps = Vec::new();
            for (train, seed) in [(500, 1), (500, 2), (800, 3)] {
                let (space, truth, archs, pairs) = measured("mcu-cifar", train + 800, seed);
                let settings = FitSettings { test_pairs: 800, ..FitSettings::default() };
                let fitted = fit(&space, &pairs, &archs, &settings, &mut quiet).unwrap();
                let report = &fitted.report;
                let (kendall, ceiling) = (report.scores.kendall.unwrap(), report.ceiling.unwrap());
                let test = unseen(&fitted.predictor, &archs).unwrap();
                let labels: Vec<f64> = test.iter().map(|&row| pairs[row].top1).collect();
                let true_top1: Vec<f64> = test.iter().map(|&row| truth.top1(&archs[row])).collect();
                let predicted = fitted.predictor.top1(test.iter().map(|&row| &archs[row])).unwrap();
                let perfect = kendall_tau_b(&true_top1, &labels).unwrap();
                eprintln!(
                    "{train} training pairs, seed {seed}: tau-b {kendall:.4} (ridge alone {:.4}, cross-validated {:.4}), \
                     ceiling {:.4}, the truth itself {perfect:.4}; rmse {:.5} (ridge alone {:.5}), label noise {:.5}, label \
                     std {:.4}; to the truth: tau-b {:.4}, rmse {:.5}; share {:.2}, {:?}; {:.1} s",
                    report.additive_scores.unwrap().kendall.unwrap(),
                    report.cross_validated_kendall.unwrap(),
                    ceiling.kendall,
                    report.scores.rmse,
                    report.additive_scores.unwrap().rmse,
                    ceiling.noise,
                    report.test_labels.1,
                    kendall_tau_b(&predicted, &true_top1).unwrap(),
                    rmse(&predicted, &true_top1),
                    report.mlp_share,
                    report.interactions,
                    report.seconds,
                );
                assert_eq!((report.train_pairs, report.test_pairs), (train, 800));
                assert_eq!(rmse(&predicted, &labels), report.scores.rmse);
                assert!((ceiling.noise - NOISE).abs() < 0.0004);
                assert!((ceiling.kendall - perfect).abs() < 0.02, "the ceiling is that of a perfect predictor");
                assert!(kendall >= perfect - 0.02, "{kendall}, where the truth itself has {perfect}");
                assert!(report.scores.rmse <= 0.005);
                gaps.push(ceiling.kendall - kendall);
            }
            assert!(mean(&gaps) <= 0.02, "{gaps:?}");
        }

        #[test]
        fn a_fit_repeats_itself_whatever_the_threads() {
            let (space, _, archs, pairs) = measured("mcu-cifar", 150, 4);
            let settings =
                FitSettings { test_pairs: 40, epochs: 5, members: 2, hidden: vec![16], ..FitSettings::default() };
            let once = |settings: &FitSettings| {
                let mut calls = Vec::new();
                let fitted = fit(&space, &pairs, &archs, settings, &mut |done, all| calls.push((done, all))).unwrap();
                assert_eq!(calls.last(), Some(&(30, 30)));
                fitted.predictor
            };
            let first = once(&settings);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            assert_eq!(pool.install(|| once(&settings)), first);
            assert_ne!(once(&FitSettings { seed: 1, ..settings }), first);
        }

        /// The published recipe, without the ridge.
        #[test]
        fn mlps_alone_learn_too() {
            let (space, _, archs, pairs) = measured("mcu-cifar", 600, 5);
            let settings = FitSettings { additive: false, members: 2, epochs: 40, folds: 2, ..FitSettings::default() };
            let fitted = fit(&space, &pairs, &archs, &settings, &mut quiet).unwrap();
            assert!(fitted.predictor.additive().is_none());
            assert!(fitted.report.scores.kendall.unwrap() > 0.75, "{:?}", fitted.report);
        }
    }
}
