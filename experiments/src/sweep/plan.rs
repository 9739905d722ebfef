//! Which points a sweep has, what each depends on, and which are computed already.

use std::collections::BTreeMap;
use std::path::Path;

use hw_targets::budget::Budget;
use hw_targets::target::Target;
use network::units::Quantity;
use predictors::saved;
use rayon::prelude::*;
use search::dense::CostTables;
use serde_json::Value;
use storage::digest::Digester;
use storage::failure::Failure;

use crate::error::{Error, Result};
use crate::search::inputs::{BundleChoice, SearchInputs};
use crate::search::tables::{common_resolutions, compile};
use crate::sweep::error::{Mistake, SweepError};
use crate::sweep::file::{Place, SweepFile};
use crate::sweep::folder::{Record, Status, SweepFolder};
use crate::sweep::point::{Ceiling, Point, Wanted};
use crate::target::cost::within_memory;
use crate::target::list;

/// A target with what is searched on it: the same for many points.
pub(crate) struct Ground {
    pub(crate) target: Target,
    pub(crate) inputs: SearchInputs,
    pub(crate) tables: CostTables,
    /// What its points depend on.
    digests: [(&'static str, String); 3],
}

/// A point with all that decides its result.
pub struct Planned {
    /// The point.
    pub point: Point,
    /// What must be kept, in SI units, with what a board has.
    pub budget: Budget,
    /// Names the result: equal for equal inputs.
    pub key: String,
    /// What it depends on, each as a short text or a digest.
    pub inputs: BTreeMap<&'static str, String>,
    pub(crate) ground: usize,
}

/// What is known of a point before a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is computed.
    There(Status),
    /// It is to be computed: it never was, or failed.
    Missing,
    /// It was computed with other inputs, which are named.
    Changed(Vec<String>),
}

/// A sweep whose every input was checked.
pub struct SweepPlan {
    /// Its name.
    pub name: String,
    /// Its points in order.
    pub points: Vec<Planned>,
    pub(crate) grounds: Vec<Ground>,
    pub(crate) file: SweepFile,
}

impl SweepPlan {
    /// Reads the sweep at `path` and everything it names, and compiles the cost tables.
    ///
    /// # Errors
    /// [`SweepError::Mistakes`] with all of them; a file that cannot be read.
    pub fn new(path: &Path) -> Result<SweepPlan> {
        let file = SweepFile::read(path)?;
        // Each target with each of its bundles, once.
        let mut pairs: Vec<(&str, Option<&str>)> = Vec::new();
        let mut at = Vec::new();
        for point in file.points() {
            let pair = (point.target.as_str(), point.bundle.as_deref());
            at.push(pairs.iter().position(|other| *other == pair).unwrap_or_else(|| {
                pairs.push(pair);
                pairs.len() - 1
            }));
        }
        let grounds: Vec<std::result::Result<Ground, Refusal>> = pairs
            .par_iter()
            .map(|(target, bundle)| Ground::new(target, bundle.map(|name| beside(path, name))))
            .collect();
        let (mut mistakes, mut points) = (Vec::new(), Vec::new());
        for ((point, places), ground) in file.points.iter().zip(&at) {
            let wrong = |place: Place, error: &Error| mistake(place, error);
            let made = match &grounds[*ground] {
                Err(refusal) => Err(match &**refusal {
                    (Part::Target, error) => wrong(places.target, error),
                    (Part::Bundle, error) => wrong(places.bundle, error),
                }),
                Ok(of) => {
                    of.budget(&point.budget).map_err(|error| wrong(places.budget, &error)).map(|budget| (of, budget))
                }
            };
            match made {
                Ok((of, budget)) => points.push(planned(&file, point.clone(), *ground, of, budget)),
                Err(mistake) if !mistakes.contains(&mistake) => mistakes.push(mistake),
                Err(_) => {}
            }
        }
        if !mistakes.is_empty() {
            mistakes.sort_by_key(|mistake: &Mistake| (mistake.line, mistake.column));
            return Err(SweepError::Mistakes { path: path.to_path_buf(), mistakes }.into());
        }
        let grounds = grounds.into_iter().filter_map(std::result::Result::ok).collect();
        Ok(SweepPlan { name: file.name.clone(), points, grounds, file })
    }

    /// Refuses a folder that has no point of this sweep.
    ///
    /// # Errors
    /// [`SweepError::NoResults`], [`SweepError::OtherSweep`], a folder that cannot be read.
    pub fn check_part(&self, folder: &SweepFolder) -> Result<()> {
        let records = folder.records()?;
        let of = || folder.path().to_path_buf();
        if records.is_empty() {
            return Err(SweepError::NoResults { folder: of() }.into());
        }
        match self.points.iter().any(|planned| records.contains_key(&planned.key)) {
            true => Ok(()),
            false => Err(SweepError::OtherSweep { folder: of(), name: self.name.clone() }.into()),
        }
    }

    /// Evaluations of each search.
    pub fn evaluations(&self) -> u64 {
        self.file.evaluations
    }

    /// What is known of every point, in order, from the records in `folder`.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn states(&self, folder: &SweepFolder) -> Result<Vec<State>> {
        let records = folder.records()?;
        let mut earlier: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
        for record in records.values() {
            earlier.entry(record.point.to_string()).or_default().push(record);
        }
        let least = |planned: &Planned, records: &Vec<&Record>| {
            records.iter().map(|record| planned.changes(&record.inputs)).min_by_key(Vec::len)
        };
        let state = |planned: &Planned| match records.get(&planned.key) {
            Some(record) if record.status != Status::Failed => State::There(record.status),
            Some(_) => State::Missing,
            // Of several earlier results, the one that is nearest.
            None => match earlier.get(&planned.point.json().to_string()).and_then(|records| least(planned, records)) {
                Some(changes) => State::Changed(changes),
                None => State::Missing,
            },
        };
        Ok(self.points.iter().map(state).collect())
    }
}

impl Planned {
    /// What is not as it was.
    fn changes(&self, before: &Value) -> Vec<String> {
        let differs = |(name, value): &(&&str, &String)| before[**name].as_str() != Some(value.as_str());
        let now = self.inputs.iter().filter(differs).map(|(name, _)| (*name).to_owned());
        now.collect()
    }
}

/// A bundle that is named by its place beside the sweep's file, or as it stands.
fn beside(sweep: &Path, name: &str) -> String {
    let near = sweep.parent().map(|folder| folder.join(name)).filter(|near| near.is_dir());
    near.map_or_else(|| name.to_owned(), |near| near.to_string_lossy().into_owned())
}

/// Which part of a pair is wrong.
enum Part {
    Target,
    Bundle,
}

/// Why there is no ground, and whose fault it is.
type Refusal = Box<(Part, Error)>;

impl Ground {
    fn new(target: &str, bundle: Option<String>) -> std::result::Result<Ground, Refusal> {
        let of_target = |error: Error| Box::new((Part::Target, error));
        let of_bundle = |error: Error| Box::new((if bundle.is_some() { Part::Bundle } else { Part::Target }, error));
        let target = list::find(target).map_err(of_target)?;
        let choice = BundleChoice { supernet: bundle.as_deref(), ..BundleChoice::default() };
        let inputs = SearchInputs::choose(&choice, Some(&target)).map_err(of_bundle)?;
        if let Some(bundle) = &inputs.bundle {
            let stated = bundle.stated_weights().map_err(of_bundle)?;
            bundle.check_predictor(&inputs.predictor, stated).map_err(of_bundle)?;
        }
        let mut notes = Vec::new();
        let resolutions =
            common_resolutions(&inputs.space, &inputs.predictor, Some(&target), &mut notes).map_err(of_bundle)?;
        // What a budget needs and the tables lack is told with the budget.
        let tables = compile(&inputs.space, Some(&target), &resolutions, |_| false, &mut notes).map_err(of_bundle)?;
        let digests = [
            ("space", Digester::new("space").text(&inputs.space.to_yaml()).finish().to_string()),
            ("predictor", saved::digest(&inputs.predictor).to_string()),
            ("target", tables.digest().to_string()),
        ];
        Ok(Ground { target, inputs, tables, digests })
    }

    /// The ceilings of `wanted` here.
    fn budget(&self, wanted: &Wanted) -> Result<Budget> {
        let mut budget = Budget::default();
        for (quantity, ceiling) in &wanted.ceilings {
            self.target.require(*quantity)?;
            let Some(range) = self.tables.range(*quantity) else {
                // Asked again by itself, the table says which operator it lacks.
                let needed = |of: Quantity| of == *quantity;
                let resolutions = self.tables.resolutions();
                compile(&self.inputs.space, Some(&self.target), resolutions, needed, &mut Vec::new())?;
                return Err(Error::NeedsTarget { quantity: *quantity });
            };
            let value = match ceiling {
                Ceiling::Absolute(value) => *value,
                Ceiling::Share(share) => range.min + share * (range.max - range.min),
            };
            budget = budget.with(*quantity, value)?;
        }
        Ok(within_memory(budget, &self.target)?.0)
    }
}

fn planned(file: &SweepFile, point: Point, at: usize, ground: &Ground, budget: Budget) -> Planned {
    let limits: Vec<String> = budget.limits().map(|(quantity, limit)| format!("{quantity} {limit:?}")).collect();
    let mut inputs: BTreeMap<&'static str, String> = ground.digests.iter().cloned().collect();
    inputs.insert("budget", limits.join(", "));
    inputs.insert("method", point.method.name().to_owned());
    inputs.insert("seed", point.seed.to_string());
    inputs.insert("evaluations", file.evaluations.to_string());
    inputs.insert("confidence", file.confidence.map_or("none".into(), |of| of.probability().to_string()));
    inputs.insert("version", env!("CARGO_PKG_VERSION").to_owned());
    let key =
        inputs.iter().fold(Digester::new("sweep.point"), |digester, (name, value)| digester.text(name).text(value));
    Planned { point, budget, key: key.finish().to_string(), inputs, ground: at }
}

fn mistake((line, column): Place, error: &Error) -> Mistake {
    let mut problem = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !problem.contains(&more) {
            problem = format!("{problem}: {more}");
        }
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        problem = format!("{problem}; {hint}");
    }
    Mistake { line, column, problem }
}
