//! `ofa predictor fit`: one or several models fitted to measured pairs; the best is kept, with its report beside it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use predictors::fit::{Fitted, fit as fit_pairs};
use predictors::report::FitReport;
use predictors::saved;
use predictors::settings::FitSettings;
use search::space::SearchSpace;
use storage::atomic::write_atomically;
use storage::digest::Digest;

use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::folders::names;
use crate::folders::pairs_file::Pairs;

/// What to fit, and where it goes.
#[derive(Clone, Debug)]
pub struct FitJob {
    /// The space of the pairs, by name or path; without one, that which the files name.
    pub space: Option<String>,
    /// Files of pairs, read one after the other.
    pub pairs: Vec<PathBuf>,
    /// Where the predictor goes; its report goes beside it as `NAME.report.json`.
    pub out: PathBuf,
    /// Subnets set aside to judge the fit; without a number a fifth, and at most [`MOST_TEST_PAIRS`].
    pub test_pairs: Option<usize>,
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
    /// What the user should know of the pairs.
    pub notes: Vec<String>,
    /// The bundle that it completes, where its file lies in one.
    pub bundle: Option<PathBuf>,
}

/// Pairs that judge a fit where nobody says how many: more tell little more.
pub const MOST_TEST_PAIRS: usize = 200;

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
    let Pairs { space, measured, archs, mut notes, weights, are_all_known } =
        Pairs::read(&job.pairs, job.space.as_deref())?;
    let test_pairs = job.test_pairs.unwrap_or((measured.len() / 5).min(MOST_TEST_PAIRS));
    let mut candidates = Vec::new();
    let mut best: Option<(&'static str, Fitted)> = None;
    for (name, settings) in &job.models {
        let settings = FitSettings { test_pairs, ..settings.clone() };
        let fitted = fit_pairs(&space, &measured, &archs, &settings, progress)?;
        let kendall = |fitted: &Fitted| fitted.report.cross_validated_kendall;
        candidates.push((*name, kendall(&fitted)));
        // Undefined is worst; of equals the first stays.
        if best.as_ref().is_none_or(|(_, best)| kendall(&fitted) > kendall(best)) {
            best = Some((name, fitted));
        }
    }
    let (model, fitted) = best.expect("at least one model");
    let only = weights.first().filter(|_| are_all_known && weights.len() == 1);
    let predictor = match only {
        Some(weights) => fitted.predictor.measured_with(*weights),
        None => fitted.predictor,
    };
    let bundle = job.out.parent().filter(|folder| folder.join(names::SUPERNET).is_file()).map(Path::to_path_buf);
    if let Some(folder) = &bundle {
        belongs_to(&weights, &space, &job.out, folder)?;
    }
    saved::save(&predictor, &space, &job.out)?;
    notes.extend(says_little(&fitted.report));
    let chosen = Chosen { model, report: fitted.report, candidates, notes, bundle };
    let report = chosen.to_json();
    write_atomically(&job.out.with_extension("report.json"), |file| writeln!(file, "{report:#}"))
        .map_err(|source| Error::Write { source })?;
    Ok(chosen)
}

/// Rank correlation below which an order is next to chance.
const CHANCE: f64 = 0.2;

/// Why a fit with this report tells subnets apart hardly or not at all, if so.
fn says_little(report: &FitReport) -> Option<String> {
    let kendall = report.scores.kendall.unwrap_or(0.0);
    if let Some(ceiling) = report.ceiling.filter(|ceiling| ceiling.noise >= report.test_labels.1) {
        return Some(format!(
            "the pairs differ by {:.2} points, and by as much from one half of the images to the other ({:.2}): what is \
             fitted to them is chance; measure on more images, or subnets that differ more",
            100.0 * report.test_labels.1,
            100.0 * ceiling.noise
        ));
    }
    (kendall < CHANCE).then(|| {
        format!("unseen subnets are ranked hardly better than by chance (Kendall {kendall:.2}): measure more pairs")
    })
}

/// Refuses to complete the bundle in `folder` with a predictor for another space, or of other weights.
fn belongs_to(weights: &BTreeSet<Digest>, space: &SearchSpace, out: &Path, folder: &Path) -> Result<()> {
    let bundle = Bundle::find(&folder.to_string_lossy())?;
    let own = bundle.space()?;
    if own.id() != space.id() {
        let (made_for, asked) = (space.id().to_string(), own.id().to_string());
        return Err(Error::OtherSpace { path: out.to_path_buf(), made_for, asked });
    }
    if let Some(what) = own.difference(space) {
        return Err(Error::OtherDefinition { path: out.to_path_buf(), name: space.id().to_string(), what });
    }
    let stated = bundle.stated_weights()?;
    match weights.iter().find(|measured| stated.is_some_and(|own| own != **measured)) {
        Some(_) => Err(Error::OtherWeights { path: out.to_path_buf(), bundle: folder.to_path_buf() }),
        None => Ok(()),
    }
}
