//! What `ofa search` is asked, checked before anything is computed, run, and delivered.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hw_targets::budget::Budget;
use hw_targets::target::Target;
use network::units::Quantity;
use search::nsga2::Objective;

use crate::error::{Error, Result};
use crate::folders::output::{self, Begun};
use crate::folders::{names, spaces};
use crate::search::algorithm::{Algorithm, Plan};
use crate::search::confidence::Confidence;
use crate::search::inputs::{BundleChoice, SearchInputs};
use crate::search::report::SearchReport;
use crate::search::run::Search;
use crate::target::cost::within_memory;
use crate::target::list;
use crate::torch::{self, DataSource, DeviceChoice, OpenBundle, WeightsForm};

/// Evaluations where neither their number nor a time is given.
const EVALUATIONS: u64 = 50_100;
/// Evaluations that a time cuts short.
const MOST_EVALUATIONS: u64 = 100_000_000;

/// What a search is asked, as values.
#[derive(Clone, Debug)]
pub struct SearchRequest<'a> {
    /// A target's name or path.
    pub target: Option<&'a str>,
    /// Whether fitted models answer however far outside of what they were fitted to.
    pub extrapolate: bool,
    /// What is searched.
    pub choice: BundleChoice<'a>,
    /// Ceilings.
    pub budget: Budget,
    /// The algorithm; without one, evolution, and NSGA-II for several objectives.
    pub algorithm: Option<Algorithm>,
    /// Objectives to optimise; [`Algorithm::Nsga2`] takes several, [`Algorithm::Exact`] accuracy and one cost, the others
    /// accuracy alone.
    pub objectives: &'a [Objective],
    /// A file of subnets to begin with.
    pub start: Option<&'a Path>,
    /// Evaluations in all; without them 50,100, or as many as the time allows.
    pub evaluations: Option<u64>,
    /// How long to search.
    pub time: Option<Duration>,
    /// With what probability the budget is to be kept.
    pub confidence: Option<Confidence>,
    /// Everything random follows from it.
    pub seed: u64,
    /// How many subnets to report.
    pub top: usize,
    /// How many to measure on held-out images.
    pub verify: Option<usize>,
    /// Real images: to verify with, and to calibrate weights with.
    pub data: Option<&'a DataSource>,
    /// Where weights are run.
    pub device: DeviceChoice,
    /// The folder for all that is written.
    pub out: Option<PathBuf>,
    /// What is written of the weights.
    pub form: WeightsForm,
}

/// A search whose every input was checked.
pub struct SearchPlan {
    search: Search,
    weights: Option<OpenBundle>,
    verify: bool,
    top: usize,
    out: Option<PathBuf>,
    begun: Option<Begun>,
    form: WeightsForm,
    notes: Vec<String>,
}

/// What became of the weights of the best subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// They are written.
    Written,
    /// A space and a predictor have none.
    None,
    /// There is no LibTorch to take them out with.
    NoTorch,
}

impl SearchPlan {
    /// Reads what is needed before the search, and checks all that can be wrong with the request.
    ///
    /// # Errors
    /// A ceiling or objective on what the target does not know, unknown names, files with wrong content, objectives that
    /// the algorithm does not take, weights or images that will be missed afterwards.
    pub fn new(request: &SearchRequest<'_>) -> Result<SearchPlan> {
        let (mut budget, mut notes) = (request.budget, Vec::new());
        let target = request.target.map(|name| list::find_reaching(name, request.extrapolate)).transpose()?;
        // Before files are read: a budget on what the target does not know is wrong whatever they hold.
        if let Some(target) = &target {
            budget.check_known(target)?;
            (budget, notes) = within_memory(budget, target)?;
        }
        if let Some(out) = request.out.as_deref() {
            output::check_search(out)?;
            if out.join(names::RESULT).exists() {
                notes.push(format!("what an earlier search found in {} is replaced", out.display()));
            }
        }
        let inputs = SearchInputs::choose(&request.choice, target.as_ref())?;
        let start = match request.start {
            Some(path) => spaces::read_subnets(path, &inputs.space)?,
            None => Vec::new(),
        };
        let weights = open_weights(request, &inputs)?;
        if let Some(bundle) = &inputs.bundle {
            // Weights that will be needed are read now, once; the others' header will do.
            let digest = match &weights {
                Some(open) => torch::weights_digest(open).map(Some)?,
                None => bundle.stated_weights()?,
            };
            bundle.check_predictor(&inputs.predictor, digest)?;
        }
        check_device_costs(target.as_ref(), &budget, request.objectives)?;
        let several = request.objectives.len() > 1;
        let algorithm = request.algorithm.unwrap_or(if several { Algorithm::Nsga2 } else { Algorithm::Evolution });
        let plan = Plan::new(algorithm, request.objectives, start, &inputs.predictor, &budget)?;
        let default = if request.time.is_some() { MOST_EVALUATIONS } else { EVALUATIONS };
        let search = Search {
            target,
            inputs,
            budget,
            algorithm,
            objectives: request.objectives.to_vec(),
            plan,
            evaluations: usize::try_from(request.evaluations.unwrap_or(default)).unwrap_or(usize::MAX),
            time: request.time,
            confidence: request.confidence,
            seed: request.seed,
            top: request.top.max(request.verify.unwrap_or(0)),
        };
        let (out, form) = (request.out.clone(), request.form);
        let (verify, top) = (request.verify.is_some(), request.top);
        Ok(SearchPlan { search, weights, verify, top, out, begun: None, form, notes })
    }

    /// What to know before the search, which may end with nothing that fits.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Most evaluations.
    pub fn evaluations(&self) -> usize {
        self.search.evaluations
    }

    /// Searches. `stop` ends it early, `progress` hears of the evaluations done. What is evaluated is recorded in the
    /// folder of the request until it is delivered, so that a killed search goes on there. No other process may write
    /// there as long as this plan lives.
    ///
    /// # Errors
    /// A folder that another process is at work in, an operator that the target does not cover, nothing that fits, a stop
    /// on request.
    pub fn run(&mut self, stop: &AtomicBool, progress: &mut (dyn FnMut(usize) + Send)) -> Result<SearchReport> {
        self.begun = self.out.as_deref().map(Begun::new).transpose()?;
        self.search.run(stop, self.out.as_deref(), progress)
    }

    /// Where that was asked for, measures what was found, and keeps of it what prediction and measurement together say is
    /// best.
    ///
    /// # Errors
    /// A damaged bundle or images that cannot be read.
    pub fn verify(&self, report: &mut SearchReport) -> Result<()> {
        if !self.verify {
            return Ok(());
        }
        let bundle = self.weights.as_ref().ok_or(Error::NothingToVerify)?;
        torch::verify(bundle, self.search.inputs.predictor.repeatable(), report)?;
        report.found.truncate(self.top);
        Ok(())
    }

    /// Writes the report, and the weights of the best subnet beside it, into the folder of the request, if it names one.
    ///
    /// # Errors
    /// Calibration images that cannot be read, files that cannot be written.
    pub fn deliver(&self, report: &SearchReport) -> Result<Option<(&Path, Weights)>> {
        let Some(folder) = self.out.as_deref() else { return Ok(None) };
        let Some(best) = report.found.first() else { return Ok(None) };
        // What can go wrong with images does so before an earlier result goes.
        let (weights, network) = match &self.weights {
            _ if !torch::IS_THERE => (Weights::NoTorch, None),
            Some(bundle) => (Weights::Written, Some(torch::extract(bundle, &best.arch, self.form)?)),
            None => (Weights::None, None),
        };
        report.save(folder, || network.map_or(Ok(()), |network| network.write(folder).map(drop)))?;
        Ok(Some((folder, weights)))
    }
}

/// The bundle that will be verified or delivered with: better missed before a search than after it.
fn open_weights(request: &SearchRequest<'_>, inputs: &SearchInputs) -> Result<Option<OpenBundle>> {
    let place = torch::place(request.device, request.data)?;
    let Some(bundle) = &inputs.bundle else {
        return if request.verify.is_some() { Err(Error::NothingToVerify) } else { Ok(None) };
    };
    let Some(place) = place.filter(|_| request.verify.is_some() || request.out.is_some()) else {
        return Ok(None);
    };
    bundle.supernet()?;
    if request.out.is_some() && request.data.is_none() {
        bundle.calibration()?;
    }
    Ok(Some(OpenBundle::new(bundle.clone(), inputs.space.clone(), request.data.cloned(), place)))
}

/// Energy and latency need a device to be of.
fn check_device_costs(target: Option<&Target>, budget: &Budget, objectives: &[Objective]) -> Result<()> {
    if target.is_some() {
        return Ok(());
    }
    if budget.is_empty() && objectives.len() < 2 {
        return Err(Error::NothingToSearchFor);
    }
    let optimised = objectives.iter().filter_map(|objective| match objective {
        Objective::Cost(quantity) => Some(*quantity),
        Objective::Score => None,
    });
    let mut asked = budget.limits().map(|(quantity, _)| quantity).chain(optimised);
    match asked.find(|quantity: &Quantity| !quantity.is_exact()) {
        Some(quantity) => Err(Error::NeedsTarget { quantity }),
        None => Ok(()),
    }
}
