//! `ofa predictor fit | eval | predict | import`: accuracy predictors from measured pairs and from published files.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use predictors::ensemble::{AccuracyPredictor, Prediction};
use predictors::error::PredictorError;
use predictors::fit::{Fitted, fit as fit_pairs};
use predictors::pairs::{self, AccuracyPair, Halves};
use predictors::published::{self, NamedArray};
use predictors::report::{Ceiling, FitReport, Scores, noise_of_halves};
use predictors::resnet50::{self, ResNet50Genome};
use predictors::saved;
use predictors::settings::FitSettings;
use search::arch::ArchSpec;
use search::space::SearchSpace;
use storage::atomic::write_atomically;
use supernet::import::read_pth;

use crate::bundle::Bundle;
use crate::error::AppError;
use crate::near_front::NearFront;
use crate::spaces;

/// What to fit, and where it goes.
#[derive(Clone, Debug)]
pub struct FitJob {
    /// The space of the pairs.
    pub space: SearchSpace,
    /// Files of pairs, read one after the other.
    pub pairs: Vec<PathBuf>,
    /// Where the predictor goes; its report goes beside it as `NAME.report.json`.
    pub out: PathBuf,
    /// Ways to fit, by name; that of the highest cross-validated Kendall τ-b is kept.
    pub models: Vec<(&'static str, FitSettings)>,
}

/// The predictor that was kept.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Name of its model.
    pub model: &'static str,
    /// What its fit says about itself.
    pub report: FitReport,
    /// Cross-validated τ-b of every model that was fitted.
    pub candidates: Vec<(&'static str, Option<f64>)>,
}

impl Chosen {
    /// The report as a JSON object, with the choice.
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = self.report.to_json();
        let candidates = self.candidates.iter().map(|(name, kendall)| ((*name).to_owned(), (*kendall).into()));
        value["model"] = self.model.into();
        value["cross_validated"] = serde_json::Value::Object(candidates.collect());
        value
    }
}

/// Fits a predictor and writes it with its report; `progress` hears of epochs done and their number, model by model.
///
/// # Errors
/// Files of pairs that are missing or wrong, too few pairs, a place that cannot be written.
///
/// # Panics
/// If no model is named.
pub fn fit(job: &FitJob, progress: &mut dyn FnMut(usize, usize)) -> Result<Chosen> {
    let (measured, archs) = read_all_pairs(&job.pairs, &job.space)?;
    let mut candidates = Vec::new();
    let mut best: Option<(&'static str, Fitted)> = None;
    for (name, settings) in &job.models {
        let fitted = fit_pairs(&job.space, &measured, &archs, settings, progress)?;
        let kendall = |fitted: &Fitted| fitted.report.cross_validated_kendall;
        candidates.push((*name, kendall(&fitted)));
        // Undefined is worst; of equals the first stays.
        if best.as_ref().is_none_or(|(_, best)| kendall(&fitted) > kendall(best)) {
            best = Some((name, fitted));
        }
    }
    let (model, fitted) = best.expect("at least one model");
    saved::save(&fitted.predictor, &job.out)?;
    let chosen = Chosen { model, report: fitted.report, candidates };
    let report = serde_json::to_string_pretty(&chosen.to_json())?;
    write_atomically(&job.out.with_extension("report.json"), |file| writeln!(file, "{report}"))
        .map_err(|source| AppError::Write { source })?;
    Ok(chosen)
}

/// Subnets of `space` to measure next, given the pairs of some files.
///
/// # Errors
/// Files of pairs that are missing or wrong; as [`NearFront::propose`].
pub fn propose(space: &SearchSpace, paths: &[PathBuf], near_front: &NearFront) -> Result<Vec<ArchSpec>> {
    let (measured, archs) = read_all_pairs(paths, space)?;
    near_front.propose(space, &measured, &archs)
}

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
pub fn eval(space: &SearchSpace, predictor: &AccuracyPredictor, path: &Path) -> Result<EvalReport> {
    let (measured, archs) = read_pairs(path, space)?;
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

/// Predicts top-1 of every subnet of a file; `name_or_path` and `space` as in [`load`], and here also a predictor of the
/// space [`resnet50::SPACE`], for genomes of that space.
///
/// # Errors
/// As [`load`]; the file's content; a resolution that the predictor does not know.
pub fn predict(name_or_path: &str, space: Option<&str>, subnets: &Path) -> Result<Vec<Prediction>> {
    let path = Path::new(name_or_path);
    if path.is_file() && saved::space_of(path)? == resnet50::SPACE && space.is_none_or(|space| space == resnet50::SPACE)
    {
        let predictor = saved::load_resnet50(path)?;
        let text = spaces::read_text(subnets)?;
        let genomes = ResNet50Genome::read_lines(&text, &subnets.display().to_string())?;
        return Ok(predictor.predict(&genomes)?);
    }
    let (space, predictor) = load(name_or_path, space)?;
    let archs = spaces::read_subnets(subnets, &space)?;
    Ok(predictor.predict(&archs)?)
}

/// Makes the published predictor at `path` (a `.pth` file; tensors are read, nothing in it is executed) a predictor for
/// `space` at `out`. Gives the resolutions it knows. `resolutions` as in [`published::predictor`].
///
/// # Errors
/// A file that is missing, damaged or of another layout; an unknown space; a place that cannot be written.
pub fn import(path: &Path, space: &str, resolutions: Option<&[u32]>, out: &Path) -> Result<Vec<u32>> {
    if !path.exists() {
        return Err(AppError::NotFound { path: path.to_path_buf() }.into());
    }
    let space = if space == resnet50::SPACE { None } else { Some(spaces::find(space)?) };
    let origin = path.file_name().unwrap_or_default().to_string_lossy();
    let arrays = read_pth(path)?
        .into_iter()
        .filter_map(|(name, array)| Some(NamedArray { name, shape: array.shape().to_vec(), values: array.to_f32()? }));
    let arrays: Vec<NamedArray> = arrays.collect();
    if let Some(space) = space {
        let predictor = published::predictor(&arrays, &origin, &space, resolutions)?;
        saved::save(&predictor, out)?;
        Ok(predictor.resolutions().to_vec())
    } else {
        let predictor = published::resnet50(&arrays, &origin, resolutions.unwrap_or_default())?;
        saved::save_resnet50(&predictor, out)?;
        Ok(predictor.encoder().resolutions().to_vec())
    }
}

/// A predictor and its space: the file at that path, or the predictor of the bundle of that name or path. `space`, if
/// given, must be the one that it was made for.
///
/// # Errors
/// Neither file nor bundle, an unknown space, wrong content.
pub fn load(name_or_path: &str, space: Option<&str>) -> Result<(SearchSpace, AccuracyPredictor)> {
    let path = Path::new(name_or_path);
    if path.is_file() {
        let space = match space {
            Some(space) => spaces::find(space)?,
            None => spaces::find(&saved::space_of(path)?)?,
        };
        let predictor = saved::load(path, &space)?;
        return Ok((space, predictor));
    }
    if path.components().count() > 1 && !path.is_dir() {
        return Err(AppError::NotFound { path: path.to_path_buf() }.into());
    }
    let bundle = Bundle::find(name_or_path)?;
    match space {
        None => Ok((bundle.space()?, bundle.predictor()?)),
        Some(space) => {
            let space = spaces::find(space)?;
            let predictor = saved::load(&bundle.require(Bundle::PREDICTOR)?, &space)?;
            Ok((space, predictor))
        }
    }
}

fn read_all_pairs(paths: &[PathBuf], space: &SearchSpace) -> Result<(Vec<AccuracyPair>, Vec<ArchSpec>)> {
    let (mut measured, mut archs) = (Vec::new(), Vec::new());
    for path in paths {
        let (more, more_archs) = read_pairs(path, space)?;
        measured.extend(more);
        archs.extend(more_archs);
    }
    Ok((measured, archs))
}

fn read_pairs(path: &Path, space: &SearchSpace) -> Result<(Vec<AccuracyPair>, Vec<ArchSpec>)> {
    if !path.exists() {
        return Err(AppError::NotFound { path: path.to_path_buf() }.into());
    }
    let measured = pairs::read(path)?;
    let archs = pairs::architectures(&measured, space, path)?;
    Ok((measured, archs))
}
