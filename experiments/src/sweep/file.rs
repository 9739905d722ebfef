//! A sweep's file.
//!
//! ```yaml
//! schema: ofa.sweep/1
//! name: phones
//! targets: [pixel3, jetson-tx2]      # names or paths
//! budgets:                           # of each target's own range, or absolute; several ceilings hold together
//!   - {energy: 40%}
//!   - {energy: 50mJ, latency: 30ms}
//! seeds: [0, 1, 2]                   # default 0
//! algorithms: [evolution]            # evolution (default), local, random
//! baselines: [random-1000, uniform, largest]
//! bundles: [default, mcu-cifar]      # default: each target's own
//! evaluations: 50100
//! confidence: 0.95
//! predictors: [default, additive]    # the bundle's own (default); models fitted to its measurements; files
//! exclude:
//!   - {target: pixel3, algorithm: local}
//! include:
//!   - {target: note10, budget: {latency: 20ms}, seed: 7}
//! ```
//!
//! [`super::settings`] says what it may hold for the stages before and after the searches.
//!
//! Points are all combinations, without those that an entry of `exclude` describes, and with those of `include`.

use std::path::Path;

use network::units::Quantity;

use crate::error::{Error, Result};
use crate::folders::spaces::read_text;
use crate::search::algorithm::Algorithm;
use crate::search::confidence::Confidence;
use crate::sweep::baseline::Baseline;
use crate::sweep::error::{Mistake, SweepError};
use crate::sweep::matrix::{Entry, Matrix, Place, Places, all_of, points};
use crate::sweep::point::{Ceiling, Method, Point, Wanted};
use crate::sweep::settings::{self, NetworkSettings, TrainSettings};
use crate::sweep::yaml::{Node, Reader, parse, place};

/// The name of the format.
pub const SCHEMA: &str = "ofa.sweep/1";
/// Fields of a sweep.
pub(super) const FIELDS: [&str; 16] = [
    "schema",
    "name",
    "targets",
    "budgets",
    "seeds",
    "algorithms",
    "baselines",
    "bundles",
    "predictors",
    "evaluations",
    "confidence",
    "data",
    "train",
    "networks",
    "exclude",
    "include",
];
/// Fields that describe points.
pub(super) const ENTRY_FIELDS: [&str; 7] = ["target", "budget", "seed", "algorithm", "baseline", "bundle", "predictor"];
/// Evaluations where the file does not say.
pub(super) const EVALUATIONS: u64 = 50_100;
/// Algorithms that find one best subnet.
pub(super) const TAKEN: [Algorithm; 3] = [Algorithm::Evolution, Algorithm::Local, Algorithm::Random];
/// Points beyond which a sweep is a mistake.
const MOST_POINTS: usize = 1_000_000;

/// A sweep as asked for: its file has no mistakes that can be seen without anything else.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepFile {
    /// What it is called.
    pub name: String,
    /// Its points, each once, with the place of its target, its budget and its bundle.
    pub(crate) points: Vec<(Point, Places)>,
    /// Evaluations of each search.
    pub evaluations: u64,
    /// With what probability budgets are to be kept.
    pub confidence: Option<Confidence>,
    /// Images for what needs some, and where they stand.
    pub(crate) data: Option<(String, Place)>,
    /// Bundles that it trains.
    pub(crate) train: Option<TrainSettings>,
    /// What becomes of what it finds.
    pub(crate) networks: Option<NetworkSettings>,
}

impl SweepFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`SweepError::Mistakes`] with all of them; a file that cannot be read.
    pub fn read(path: &Path) -> Result<SweepFile> {
        let name = path.file_stem().map_or("sweep".into(), |stem| stem.to_string_lossy().into_owned());
        Self::parse(&read_text(path)?, name)
            .map_err(|mistakes| Error::Sweep(SweepError::Mistakes { path: path.to_path_buf(), mistakes }))
    }

    fn parse(text: &str, name: String) -> std::result::Result<SweepFile, Vec<Mistake>> {
        let node = parse(text).map_err(|mistake| vec![mistake])?;
        let mut reader = Reader::default();
        let file = read(&node, name, &mut reader);
        match reader.mistakes {
            mistakes if mistakes.is_empty() => Ok(file),
            mut mistakes => {
                mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
                Err(mistakes)
            }
        }
    }

    /// All points in order.
    pub fn points(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.points.iter().map(|(point, _)| point)
    }
}

fn read(node: &Node<'_>, name: String, reader: &mut Reader) -> SweepFile {
    let mut file = SweepFile {
        name,
        points: Vec::new(),
        evaluations: EVALUATIONS,
        confidence: None,
        data: None,
        train: None,
        networks: None,
    };
    let (mut matrix, mut algorithms, mut baselines) = (Matrix::default(), None, Vec::new());
    let (mut exclude, mut include) = (Vec::new(), Vec::new());
    let fields = reader.fields(node, "a sweep", &FIELDS);
    if !fields.iter().any(|(field, _)| *field == "schema") && !fields.is_empty() {
        reader.wrong(place(node), format!("`schema` is missing: {SCHEMA}"));
    }
    for (field, value) in &fields {
        let (field, value) = (*field, *value);
        match field {
            "schema" => {
                if let Some(schema) = reader.text(value, field).filter(|schema| schema != SCHEMA) {
                    reader.wrong(place(value), format!("its schema is `{schema}`; this reads {SCHEMA}"));
                }
            }
            "name" => file.name = reader.text(value, field).unwrap_or_default(),
            "targets" => matrix.targets = reader.distinct(value, field, |reader, node| reader.text(node, "targets")),
            "budgets" => matrix.budgets = reader.distinct(value, field, budget),
            "seeds" => matrix.seeds = reader.distinct(value, field, |reader, node| reader.whole(node, "seeds", 0)),
            "algorithms" => algorithms = Some(reader.distinct(value, field, algorithm)),
            "baselines" => baselines = reader.distinct(value, field, baseline),
            "bundles" => matrix.bundles = reader.distinct(value, field, or_default),
            "evaluations" => file.evaluations = reader.whole(value, field, 1).unwrap_or(EVALUATIONS),
            "confidence" => file.confidence = confidence(reader, value),
            "predictors" => matrix.predictors = reader.distinct(value, field, or_default),
            "data" => file.data = reader.text(value, field).map(|data| (data, place(value))),
            "train" => file.train = Some(settings::train(reader, value)),
            "networks" => file.networks = Some(settings::networks(reader, value)),
            "exclude" => {
                exclude = reader.list(value, field).into_iter().map(|node| entry(reader, node, false)).collect()
            }
            "include" => {
                include = reader.list(value, field).into_iter().map(|node| entry(reader, node, true)).collect()
            }
            _ => {}
        }
    }
    let has = |field: &str| fields.iter().any(|(name, _)| *name == field);
    let is_listed = has("include") && !has("targets") && !has("budgets");
    for field in ["targets", "budgets"] {
        if !has(field) && !is_listed {
            reader.wrong(place(node), format!("`{field}` is missing"));
        }
    }
    let at = place(node);
    if !has("seeds") {
        matrix.seeds = vec![(0, at)];
    }
    if !has("bundles") && file.train.is_none() {
        matrix.bundles = vec![(None, at)];
    }
    for trained in file.train.iter().flat_map(|train| &train.bundles) {
        if matrix.bundles.iter().any(|(bundle, _)| bundle.as_ref() == Some(&trained.name)) {
            reader.wrong(
                trained.at,
                format!("bundle `{}` is among `bundles`, too; name the recipe otherwise", trained.name),
            );
        }
        matrix.bundles.push((Some(trained.name.clone()), trained.at));
    }
    if !has("predictors") {
        matrix.predictors = vec![(None, at)];
    }
    if let (Some(NetworkSettings { refine: Some(_), at, .. }), Some(_)) = (&file.networks, file.confidence) {
        reader.wrong(
            *at,
            "`refine` spends what a budget leaves in expectation and knows no `confidence`; leave out one of the two",
        );
    }
    let algorithms = algorithms.unwrap_or_else(|| vec![(Method::Search(Algorithm::Evolution), at)]);
    matrix.methods = algorithms.into_iter().chain(baselines).collect();
    if file.confidence.is_some() {
        // Held against a search that keeps the budget with a probability, one that expects to is no baseline.
        let included = include.iter().filter_map(|entry: &Entry| Some((entry.method?, entry.at?)));
        let all = matrix.methods.iter().copied().chain(included);
        for (method, at) in all.filter(|(method, _)| !method.is_random()) {
            reader.wrong(at, format!("baseline `{}` knows no `confidence`; leave out one of the two", method.name()));
        }
    }
    let Matrix { targets, budgets, seeds, methods, bundles, predictors } = &matrix;
    let size = [targets.len(), bundles.len(), predictors.len(), budgets.len(), methods.len(), seeds.len()];
    if size.iter().try_fold(1_usize, |all, axis| all.checked_mul(*axis)).is_none_or(|all| all > MOST_POINTS) {
        reader.wrong(at, format!("that makes more than {MOST_POINTS} points"));
        return file;
    }
    file.points = points(&matrix, &exclude, &include);
    for (excluded, at) in exclude.iter().filter_map(|entry| Some((entry, entry.at?))) {
        if reader.mistakes.is_empty() && !all_of(&matrix).iter().any(|(point, _)| excluded.describes(point)) {
            reader.wrong(at, "this excludes no point");
        }
    }
    if file.points.is_empty() && reader.mistakes.is_empty() {
        reader.wrong(at, "it has no point");
    }
    file
}

fn budget(reader: &mut Reader, node: &Node<'_>) -> Option<Wanted> {
    const NAMES: [&str; 6] = ["energy", "latency", "macs", "params", "flash", "peak-memory"];
    let before = reader.mistakes.len();
    let mut ceilings = Vec::new();
    for (name, value) in reader.fields(node, "a budget", &NAMES) {
        let Some(quantity) = Quantity::ALL.into_iter().find(|quantity| quantity.name() == name) else { continue };
        let Some(text) = reader.text(value, name) else { continue };
        match ceiling(quantity, &text) {
            Ok(ceiling) => ceilings.push((quantity, ceiling)),
            Err(problem) => reader.wrong(place(value), problem),
        }
    }
    if ceilings.is_empty() && reader.mistakes.len() == before {
        reader.wrong(place(node), "a budget has ceilings, for example {energy: 40%}");
    }
    ceilings.sort_by_key(|(quantity, _)| *quantity as usize);
    (reader.mistakes.len() == before).then_some(Wanted { ceilings })
}

fn ceiling(quantity: Quantity, text: &str) -> std::result::Result<Ceiling, String> {
    if let Some(number) = text.trim().strip_suffix('%') {
        return match number.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Ceiling::Share(percent / 100.0)),
            _ => Err(format!("`{text}` is not between 0% (the cheapest subnet) and 100% (the most expensive one)")),
        };
    }
    let value = quantity.read(text).map_err(|error| error.to_string())?;
    match value > 0.0 && value.is_finite() {
        true => Ok(Ceiling::Absolute(value)),
        false => Err(format!("{quantity} `{text}` is not above 0")),
    }
}

fn algorithm(reader: &mut Reader, node: &Node<'_>) -> Option<Method> {
    let name = reader.text(node, "algorithms")?;
    let found = TAKEN.into_iter().find(|algorithm| algorithm.name() == name);
    if found.is_none() {
        let names: Vec<&str> = TAKEN.iter().map(|algorithm| algorithm.name()).collect();
        let why = match Algorithm::ALL.iter().any(|algorithm| algorithm.name() == name) {
            true => format!("`{name}` finds fronts, not the best subnet within a budget"),
            false => format!("there is no algorithm `{name}`"),
        };
        reader.wrong(place(node), format!("{why}; there are {}", names.join(", ")));
    }
    found.map(Method::Search)
}

fn baseline(reader: &mut Reader, node: &Node<'_>) -> Option<Method> {
    let name = reader.text(node, "baselines")?;
    let found = Baseline::ALL.into_iter().find(|baseline| baseline.name() == name);
    if found.is_none() {
        let names: Vec<&str> = Baseline::ALL.iter().map(|baseline| baseline.name()).collect();
        reader.wrong(place(node), format!("there is no baseline `{name}`; there are {}", names.join(", ")));
    }
    found.map(Method::Baseline)
}

fn or_default(reader: &mut Reader, node: &Node<'_>) -> Option<Option<String>> {
    reader.text(node, "this").map(|name| (name != "default").then_some(name))
}

fn confidence(reader: &mut Reader, node: &Node<'_>) -> Option<Confidence> {
    let text = reader.text(node, "confidence")?;
    text.parse().map_err(|problem: String| reader.wrong(place(node), problem)).ok()
}

fn entry(reader: &mut Reader, node: &Node<'_>, is_point: bool) -> Entry {
    let before = reader.mistakes.len();
    let mut entry = Entry::default();
    for (field, value) in reader.fields(node, "an entry", &ENTRY_FIELDS) {
        match field {
            "target" => entry.target = reader.text(value, field).map(|target| (target, place(value))),
            "budget" => entry.budget = budget(reader, value).map(|budget| (budget, place(value))),
            "seed" => entry.seed = reader.whole(value, field, 0),
            "algorithm" => entry.method = algorithm(reader, value),
            "baseline" => entry.method = baseline(reader, value),
            "bundle" => entry.bundle = or_default(reader, value).map(|bundle| (bundle, place(value))),
            _ => entry.predictor = or_default(reader, value).map(|predictor| (predictor, place(value))),
        }
    }
    let is_whole = reader.mistakes.len() == before;
    if is_point && is_whole && (entry.target.is_none() || entry.budget.is_none()) {
        reader.wrong(place(node), "a point to include has a target and a budget");
    }
    entry.at = is_whole.then_some(place(node));
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> SweepFile {
        SweepFile::parse(text, "it".into()).unwrap()
    }

    fn wrong(text: &str) -> Vec<String> {
        let mistakes = SweepFile::parse(text, "it".into()).unwrap_err();
        mistakes.iter().map(ToString::to_string).collect()
    }

    const WHOLE: &str = "schema: ofa.sweep/1
targets: [pixel3, note10]
budgets:
  - {energy: 40%}
  - {latency: 30ms, energy: 50mJ}
seeds: [0, 1, 2]
baselines: [uniform]
exclude:
  - {target: note10, budget: {energy: 50mJ, latency: 30ms}, algorithm: evolution}
include:
  - {target: pixel1, budget: {latency: 20ms}, seed: 7}
";

    #[test]
    fn points_are_all_combinations_but_for_exceptions() {
        let file = read(WHOLE);
        let words: Vec<String> = file.points().map(ToString::to_string).collect();
        assert_eq!(file.points().len(), 2 * 2 * (3 + 1) - 3 + 1, "{words:?}");
        assert_eq!(words[0], "pixel3, energy 40%, evolution, seed 0");
        assert_eq!(words[3], "pixel3, energy 40%, uniform");
        assert_eq!(words[4], "pixel3, energy 50 mJ, latency 30 ms, evolution, seed 0");
        assert_eq!(words.last().unwrap(), "pixel1, latency 20 ms, evolution, seed 7");
        assert!(!words.iter().any(|word| word.starts_with("note10, energy 50 mJ") && word.contains("evolution")));
        assert_eq!(file.evaluations, 50_100);
        let told = wrong(&WHOLE.replace("seeds:", "confidence: 0.95\nseeds:"));
        assert_eq!(told, ["line 8, column 13: baseline `uniform` knows no `confidence`; leave out one of the two"]);
        // Only what is included.
        let alone = read("schema: ofa.sweep/1\ninclude: [{target: pixel3, budget: {macs: 10M}}]\n");
        assert_eq!(alone.points().len(), 1);
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_place() {
        let text = "schema: ofa.sweep/2
targets: [pixel3, pixel3]
budgts: [{energy: 40%}]
budgets:
  - {energy: 40}
  - {energy: 140%}
  - {enrgy: 4mJ}
  - {latency: 30mJ}
seeds: [one, -1]
algorithms: [nsga2, evolve]
baselines: [largst]
evaluations: 0
confidence: 2
exclude: [{targt: pixel3}]
include: [{target: pixel3}]
";
        let told = wrong(text);
        let expected = [
            "line 1, column 9: its schema is `ofa.sweep/2`",
            "line 2, column 19: this stands in `targets` twice, first in line 2",
            "line 3, column 1: a sweep has no field `budgts`; did you mean `budgets`?",
            "line 5, column 14:",
            "line 6, column 14: `140%` is not between",
            "line 7, column 6: a budget has no field `enrgy`; did you mean `energy`?",
            "line 8, column 15:",
            "line 9, column 9: `seeds` takes a whole number from 0 up",
            "line 9, column 14: `seeds` takes a whole number from 0 up",
            "line 10, column 14: `nsga2` finds fronts",
            "line 10, column 21: there is no algorithm `evolve`",
            "line 11, column 13: there is no baseline `largst`",
            "line 12, column 14: `evaluations` takes a whole number from 1 up",
            "line 13, column 13: `2` is not a probability",
            "line 14, column 12: an entry has no field `targt`; did you mean `target`?",
            "line 15, column 11: a point to include has a target and a budget",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told} | {expected}");
        }
    }

    #[test]
    fn what_is_no_sweep_is_refused() {
        assert!(wrong("")[0].contains("empty"));
        assert!(wrong("[1, 2]")[0].contains("fields"));
        assert!(wrong("schema: ofa.sweep/1\ntargets: [a")[0].starts_with("line "));
        let told = wrong("schema: ofa.sweep/1\n");
        assert!(told[0].contains("`targets` is missing") && told[1].contains("`budgets` is missing"), "{told:?}");
        assert!(wrong("schema: ofa.sweep/1\ntargets: []\nbudgets: [{energy: 1mJ}]\n")[0].contains("empty"));
        let nobody = WHOLE.replace("{target: note10, budget", "{target: pixel9, budget");
        assert_eq!(wrong(&nobody), ["line 9, column 5: this excludes no point"]);
    }
}
