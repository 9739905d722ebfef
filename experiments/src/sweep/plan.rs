//! Which points a sweep has, what each depends on, and which are computed already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hw_targets::budget::Budget;
use hw_targets::target::Target;
use network::units::Quantity;
use predictors::saved;
use rayon::prelude::*;
use search::dense::CostTables;
use serde_json::Value;
use storage::digest::Digester;

use crate::error::{Error, Result};
use crate::search::inputs::{BundleChoice, SearchInputs};
use crate::search::tables::{common_resolutions, compile};
use crate::sweep::error::{Mistake, SweepError};
use crate::sweep::file::SweepFile;
use crate::sweep::folder::{Record, Status, SweepFolder};
use crate::sweep::matrix::Place;
use crate::sweep::point::{Ceiling, Point, Wanted};
use crate::sweep::prepare::{Preparation, model};
use crate::sweep::yaml::mistake;
use crate::target::cost::within_memory;
use crate::target::list;

/// A target with what is searched on it: the same for many points.
pub(crate) struct Ground {
    pub(crate) target: Target,
    pub(crate) inputs: SearchInputs,
    pub(crate) tables: CostTables,
    /// What the bundle is called.
    pub(crate) bundle: String,
    /// Whether its predictor is yet to be made: nothing can be searched then.
    is_pending: bool,
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
    pub(crate) preparation: Preparation,
}

impl SweepPlan {
    /// Reads the sweep at `path` and everything it names, and compiles the cost tables. What it makes itself before it
    /// searches is looked for in `out`, the folder of its results.
    ///
    /// # Errors
    /// [`SweepError::Mistakes`] with all of them; a file that cannot be read.
    pub fn new(path: &Path, out: Option<&Path>) -> Result<SweepPlan> {
        let file = SweepFile::read(path)?;
        let (preparation, mut mistakes) = Preparation::of(&file, path, out);
        // Each target with each of its bundles and predictors, once.
        let mut kinds: Vec<(&str, Option<&str>, Option<&str>)> = Vec::new();
        let mut at = Vec::new();
        for point in file.points() {
            let kind = (point.target.as_str(), point.bundle.as_deref(), point.predictor.as_deref());
            at.push(kinds.iter().position(|other| *other == kind).unwrap_or_else(|| {
                kinds.push(kind);
                kinds.len() - 1
            }));
        }
        let grounds: Vec<std::result::Result<Ground, Refusal>> = kinds
            .par_iter()
            .map(|(target, bundle, predictor)| Ground::new(&preparation, target, *bundle, *predictor))
            .collect();
        if let Some(settings) = &file.networks {
            let all = grounds.iter().flatten();
            let lacks = all.filter(|ground| !ground.is_pending && !ground.has_weights()).map(|ground| &ground.bundle);
            let lacks: BTreeSet<&String> = lacks.collect();
            mistakes.extend(lacks.into_iter().map(|name| Mistake {
                line: settings.at.0,
                column: settings.at.1,
                problem: format!("bundle `{name}` has no weights, so no networks can be taken out of it"),
            }));
        }
        let mut points = Vec::new();
        for ((point, places), ground) in file.points.iter().zip(&at) {
            let wrong = |place: Place, error: &Error| mistake(place, error);
            let made = match &grounds[*ground] {
                Err(refusal) => Err(match &**refusal {
                    (Part::Target, error) => wrong(places.target, error),
                    (Part::Bundle, error) => wrong(places.bundle, error),
                    (Part::Predictor, error) => wrong(places.predictor, error),
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
        Ok(SweepPlan { name: file.name.clone(), points, grounds, file, preparation })
    }

    /// Whether bundles or predictors are yet to be made before it can be searched.
    pub fn is_pending(&self) -> bool {
        self.grounds.iter().any(|ground| ground.is_pending)
    }

    /// Refuses a folder with the results of another sweep: one of another name, none of whose points it has.
    ///
    /// # Errors
    /// [`SweepError::Occupied`], a folder that cannot be read.
    pub fn check_folder(&self, folder: &SweepFolder) -> Result<()> {
        let Ok(before) = SweepFile::read(&folder.file()) else { return Ok(()) };
        let points: BTreeSet<String> = self.points.iter().map(|planned| planned.point.json().to_string()).collect();
        let records = folder.records()?;
        let has_mine = records.values().any(|record| points.contains(&record.point.to_string()));
        if before.name == self.name || records.is_empty() || has_mine {
            return Ok(());
        }
        Err(SweepError::Occupied { folder: folder.path().to_path_buf(), name: before.name }.into())
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

/// Which part of a ground is wrong.
enum Part {
    Target,
    Bundle,
    Predictor,
}

/// Why there is no ground, and whose fault it is.
type Refusal = Box<(Part, Error)>;

impl Ground {
    fn new(
        preparation: &Preparation,
        target: &str,
        bundle: Option<&str>,
        predictor: Option<&str>,
    ) -> std::result::Result<Ground, Refusal> {
        let of_target = |error: Error| Box::new((Part::Target, error));
        let of_bundle = |error: Error| Box::new((if bundle.is_some() { Part::Bundle } else { Part::Target }, error));
        let of_predictor = |error: Error| Box::new((Part::Predictor, error));
        let target = list::find(target).map_err(of_target)?;
        let (mut inputs, mut is_pending) = match bundle.and_then(|name| preparation.trained(name)) {
            Some(trained) => preparation.inputs(trained).map_err(of_bundle)?,
            None => {
                let name = bundle.map(|name| preparation.beside(name));
                let choice = BundleChoice { supernet: name.as_deref(), ..BundleChoice::default() };
                (SearchInputs::choose(&choice, Some(&target)).map_err(of_bundle)?, false)
            }
        };
        let of_name = |inputs: &SearchInputs| inputs.bundle.as_ref().map(|bundle| bundle.name()).unwrap_or_default();
        let name = match bundle.filter(|name| preparation.trained(name).is_some()) {
            Some(name) => name.to_owned(),
            None => of_name(&inputs),
        };
        match predictor.map(|words| (words, model(words))) {
            Some((_, Some(model))) => {
                let trained = bundle.and_then(|name| preparation.trained(name));
                let path = match &inputs.bundle {
                    Some(bundle) => preparation.fitted(trained, bundle, model).map_err(of_predictor)?,
                    None => None,
                };
                let made = path.map(|[root, file]| root.join(file)).filter(|path| path.is_file());
                is_pending = made.is_none() || is_pending;
                if let Some(path) = made {
                    inputs.predictor = saved::load(&path, &inputs.space).map_err(Error::from).map_err(of_predictor)?;
                }
            }
            Some((words, None)) => {
                let path = PathBuf::from(preparation.beside(words));
                if !path.is_file() {
                    return Err(of_predictor(Error::NotFound { path }));
                }
                inputs.predictor = saved::load(&path, &inputs.space).map_err(Error::from).map_err(of_predictor)?;
            }
            None => {}
        }
        if let Some(of) = inputs.bundle.as_ref().filter(|_| !is_pending) {
            let stated = of.stated_weights().map_err(of_bundle)?;
            let checked = of.check_predictor(&inputs.predictor, stated);
            checked.map_err(|error| if predictor.is_some() { of_predictor(error) } else { of_bundle(error) })?;
        }
        let mut notes = Vec::new();
        let resolutions =
            common_resolutions(&inputs.space, &inputs.predictor, Some(&target), &mut notes).map_err(of_bundle)?;
        // What a budget needs and the tables lack is told with the budget.
        let tables = compile(&inputs.space, Some(&target), &resolutions, |_| false, &mut notes).map_err(of_bundle)?;
        let predictor =
            if is_pending { "yet to be fitted".into() } else { saved::digest(&inputs.predictor).to_string() };
        let digests = [
            ("space", Digester::new("space").text(&inputs.space.to_yaml()).finish().to_string()),
            ("predictor", predictor),
            ("target", tables.digest().to_string()),
        ];
        Ok(Ground { target, inputs, tables, bundle: name, is_pending, digests })
    }

    fn has_weights(&self) -> bool {
        self.inputs.bundle.as_ref().is_some_and(|bundle| bundle.supernet().is_ok())
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
                Ceiling::Share(share) => {
                    // A search stays below a ceiling by a rounding error, and 0 % is the cheapest subnet all the same.
                    let least = if quantity.is_exact() { range.min } else { range.min * (1.0 + 1e-9) };
                    (range.min + share * (range.max - range.min)).max(least)
                }
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
