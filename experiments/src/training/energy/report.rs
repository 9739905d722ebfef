//! The sums of a run's energy, what they mean, and the file that keeps them.

use std::fs;
use std::io;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::training::energy::course::Course;
use crate::training::energy::settings::EnergySettings;

const SCHEMA: &str = "ofa.training-energy/1";
const NOT_INCLUDED: &str = "not included: main memory, disks, losses of the power supply, cooling";
const JOULES_PER_KWH: f64 = 3.6e6;

/// Whence a number of joules comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnergySource {
    /// The counter, or what was multiplied.
    pub by: String,
    /// Whether it was counted, not estimated.
    pub is_measured: bool,
    /// What is included.
    pub scope: String,
}

/// What all starts of a run spent. This is what a resumed run goes on from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnergySums {
    /// Whether it covers the run from its beginning.
    pub is_whole: bool,
    /// How often the run was started.
    pub starts: u64,
    /// Seconds that it ran, over all starts.
    pub seconds: f64,
    /// Where the joules come from.
    pub sources: Vec<SourceSum>,
    /// What they were spent on.
    pub activities: Vec<ActivitySum>,
}

/// Joules that became known in one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceSum {
    /// What counted or estimated them.
    #[serde(flatten)]
    pub source: EnergySource,
    /// Joules.
    pub energy_j: f64,
}

/// Joules that were spent on one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActivitySum {
    /// `preparation`, `evaluation`, `report`, or the phase's name.
    pub name: String,
    /// The phase, counted from 0.
    pub phase: Option<usize>,
    /// Training steps, those done again after a kill included.
    pub steps: u64,
    /// Seconds.
    pub seconds: f64,
    /// Joules.
    pub energy_j: f64,
}

impl EnergySums {
    pub(super) fn new(is_whole: bool) -> EnergySums {
        EnergySums { is_whole, starts: 0, seconds: 0.0, sources: Vec::new(), activities: Vec::new() }
    }

    /// The sums in the file, if there is one.
    pub(super) fn read(path: &Path) -> Result<Option<EnergySums>, Error> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path: path.to_path_buf(), source }),
        };
        let refused = |reason: String| Error::FileInFolder { path: path.to_path_buf(), reason };
        let file: FileRead = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
        if file.schema != SCHEMA {
            return Err(refused(format!("schema `{}` instead of `{SCHEMA}`", file.schema)));
        }
        let numbers = file.sums.sources.iter().map(|source| source.energy_j);
        let numbers = numbers.chain(file.sums.activities.iter().flat_map(|sum| [sum.seconds, sum.energy_j]));
        match numbers.chain([file.sums.seconds]).find(|number| !(*number >= 0.0 && number.is_finite())) {
            Some(number) => Err(refused(format!("{number} is no energy and no time"))),
            None => Ok(Some(file.sums)),
        }
    }

    /// The place of an activity among all, made if it is new.
    pub(super) fn activity(&mut self, name: &str, phase: Option<usize>) -> usize {
        let found = self.activities.iter().position(|sum| sum.name == name && sum.phase == phase);
        found.unwrap_or_else(|| {
            self.activities.push(ActivitySum { name: name.to_owned(), phase, steps: 0, seconds: 0.0, energy_j: 0.0 });
            self.activities.len() - 1
        })
    }

    pub(super) fn add(&mut self, activity: usize, source: &EnergySource, joules: f64) {
        self.activities[activity].energy_j += joules;
        match self.sources.iter_mut().find(|sum| sum.source == *source) {
            Some(sum) => sum.energy_j += joules,
            None => self.sources.push(SourceSum { source: source.clone(), energy_j: joules }),
        }
    }

    /// All joules.
    pub fn joules(&self) -> f64 {
        self.sources.iter().fold(0.0, |joules, sum| joules + sum.energy_j)
    }

    /// `measured: NVML + RAPL package`, `estimated: busy cores × 10 W`, or both, joined by a semicolon. In the first
    /// moments of a run, before a counter has moved, there is nothing yet.
    pub fn method(&self) -> String {
        let of = |is_measured: bool, word: &str| {
            let sources = self.sources.iter().filter(|sum| sum.source.is_measured == is_measured);
            let names: Vec<&str> = sources.map(|sum| sum.source.by.as_str()).collect();
            (!names.is_empty()).then(|| format!("{word}: {}", names.join(" + ")))
        };
        let methods: Vec<String> = of(true, "measured").into_iter().chain(of(false, "estimated")).collect();
        if methods.is_empty() { "nothing yet".into() } else { methods.join("; ") }
    }

    fn scope(&self) -> String {
        let mut scopes: Vec<&str> = self.sources.iter().map(|sum| sum.source.scope.as_str()).collect();
        scopes.push(NOT_INCLUDED);
        // The same part at two stated powers is said once.
        scopes.dedup();
        scopes.join("; ")
    }
}

/// The file as it is read: what follows from the sums is computed anew.
#[derive(Deserialize)]
struct FileRead {
    schema: String,
    #[serde(flatten)]
    sums: EnergySums,
}

/// What a run cost, and what others would have cost: the file as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct EnergyReport {
    schema: &'static str,
    /// All joules.
    pub energy_j: f64,
    /// All joules in kilowatt-hours.
    pub energy_kwh: f64,
    /// How they are known.
    pub energy_method: String,
    /// The share that was counted, 0 to 1.
    pub measured_share: f64,
    /// What is included and what is not.
    pub scope: String,
    /// Grams of CO₂ equivalents.
    pub co2_g: f64,
    /// Grams per kilowatt-hour that they were computed with.
    pub grid_intensity_g_per_kwh: f64,
    /// Whence that is.
    pub grid_intensity_source: &'static str,
    /// What it would cost to train networks one by one; none where no phase trains the largest network alone, or none
    /// of its steps was metered.
    pub separate_trainings: Option<SeparateTrainings>,
    /// What it was computed from.
    #[serde(flatten)]
    pub sums: EnergySums,
}

/// What the same number of epochs costs a network that is trained by itself.
///
/// One such training is taken to cost what a step of the phases that train the largest network alone did cost in this
/// very run, times the steps of all its phases (those that were done, where a phase ended early). Evaluations, on which this run spent energy, are left out of it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SeparateTrainings {
    /// How many networks.
    pub networks: u64,
    /// Joules for all of them.
    pub energy_j: f64,
    /// Grams of CO₂ equivalents for all of them.
    pub co2_g: f64,
    /// Joules for one.
    pub one_j: f64,
    /// Epochs of one.
    pub epochs: u64,
    /// As many of them cost what this run cost.
    pub as_much_as: f64,
}

/// The schema of the file.
pub(crate) fn schema() -> serde_json::Value {
    schemars::schema_for!(EnergyReport).to_value()
}

impl EnergyReport {
    pub(super) fn new(sums: &EnergySums, course: &Course, settings: &EnergySettings) -> EnergyReport {
        let energy_j = sums.joules();
        let grid = settings.grid_intensity.unwrap_or(EnergySettings::WORLD_GRID);
        let grams = |joules: f64| joules / JOULES_PER_KWH * grid;
        let measured = sums.sources.iter().filter(|sum| sum.source.is_measured);
        let measured = measured.fold(0.0, |joules, sum| joules + sum.energy_j);
        let separate_trainings = one_training(sums, course).map(|one_j| SeparateTrainings {
            networks: settings.networks,
            energy_j: settings.networks as f64 * one_j,
            co2_g: grams(settings.networks as f64 * one_j),
            one_j,
            epochs: course.epochs(),
            as_much_as: energy_j / one_j,
        });
        EnergyReport {
            schema: SCHEMA,
            energy_j,
            energy_kwh: energy_j / JOULES_PER_KWH,
            energy_method: sums.method(),
            measured_share: if energy_j > 0.0 { measured / energy_j } else { 0.0 },
            scope: sums.scope(),
            co2_g: grams(energy_j),
            grid_intensity_g_per_kwh: grid,
            grid_intensity_source: match settings.grid_intensity {
                Some(_) => "given",
                None => EnergySettings::WORLD_GRID_SOURCE,
            },
            separate_trainings,
            sums: sums.clone(),
        }
    }

    /// What was spent, as labels and texts; an empty label continues.
    pub fn spent_rows(&self) -> Vec<(String, String)> {
        let row = |label: &str, text: String| (label.to_owned(), text);
        let grid = format!("{} g/kWh, {}", self.grid_intensity_g_per_kwh, self.grid_intensity_source);
        let mut rows = vec![
            row("energy", format!("{}, {} of CO2 ({grid})", watt_hours(self.energy_j), grams(self.co2_g))),
            row("", self.energy_method.clone()),
            row("", self.scope.clone()),
        ];
        if !self.sums.is_whole {
            rows.push(row("", "the run was begun before its energy was counted: this is the rest of it".into()));
        }
        rows
    }

    /// What to tell at the end of a supernet's training: what was spent, and what networks trained one by one would have.
    pub fn rows(&self) -> Vec<(String, String)> {
        let row = |label: &str, text: String| (label.to_owned(), text);
        let mut rows = self.spent_rows();
        rows.push(row(
            "one by one",
            match &self.separate_trainings {
                Some(separate) => format!(
                    "{} networks trained one by one: {}, {} of CO2",
                    separate.networks,
                    watt_hours(separate.energy_j),
                    grams(separate.co2_g)
                ),
                None => "unknown: no phase was seen to train the largest network alone".into(),
            },
        ));
        if let Some(separate) = &self.separate_trainings {
            rows.push(row(
                "",
                format!(
                    "each {}: an epoch of the full network in this run × its {} epochs; this run cost as much as {} of \
                     them",
                    watt_hours(separate.one_j),
                    separate.epochs,
                    digits(separate.as_much_as)
                ),
            ));
        }
        rows
    }
}

/// Joules of one network trained by itself.
fn one_training(sums: &EnergySums, course: &Course) -> Option<f64> {
    let phases = course.phases();
    let full = sums
        .activities
        .iter()
        .filter(|sum| sum.phase.and_then(|index| phases.get(index)).is_some_and(|phase| phase.is_full_network));
    let (joules, steps) = full.fold((0.0, 0), |(joules, steps), sum| (joules + sum.energy_j, steps + sum.steps));
    (steps > 0 && joules > 0.0).then(|| joules / steps as f64 * course.steps() as f64)
}

fn watt_hours(joules: f64) -> String {
    scaled(joules / 3600.0, &[(1e-3, "mWh"), (1.0, "Wh"), (1e3, "kWh"), (1e6, "MWh")])
}

fn grams(grams: f64) -> String {
    scaled(grams, &[(1e-3, "mg"), (1.0, "g"), (1e3, "kg"), (1e6, "t")])
}

/// In the largest unit that leaves a 1 before the point.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let (unit, name) = units.iter().rev().find(|(unit, _)| value >= *unit).unwrap_or(&units[0]);
    format!("{} {name}", digits(value / unit))
}

/// Three significant digits.
fn digits(value: f64) -> String {
    let places = match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use supernet::train::Position;

    use super::*;
    use crate::training::energy::course::Phase;

    fn source(by: &str, is_measured: bool) -> EnergySource {
        EnergySource { by: by.into(), is_measured, scope: format!("scope of {by}") }
    }

    /// Of ten epochs, ten steps each, about to begin with this step.
    fn course(position: Position) -> Course {
        let phase = |name: &str, epochs, is_full_network| Phase { name: name.into(), epochs, is_full_network };
        Course::of(vec![phase("full", 4, true), phase("depth", 6, false)], 10, position)
    }

    fn sums() -> EnergySums {
        let mut sums = EnergySums::new(true);
        for (name, phase, steps, joules) in
            [("preparation", None, 0, 1e5), ("full", Some(0), 50, 2e6), ("depth", Some(1), 60, 5e6)]
        {
            let at = sums.activity(name, phase);
            sums.activities[at].steps = steps;
            sums.add(at, &source("NVML", true), 0.75 * joules);
            sums.add(at, &source("busy cores × 10 W", false), 0.25 * joules);
        }
        sums
    }

    #[test]
    fn a_report_says_how_much_how_known_and_what_others_cost() {
        let settings = EnergySettings { grid_intensity: Some(500.0), ..EnergySettings::default() };
        let report = EnergyReport::new(&sums(), &course(Position::default()), &settings);
        assert_eq!(report.energy_j, 7.1e6);
        assert_eq!(report.energy_method, "measured: NVML; estimated: busy cores × 10 W");
        assert_eq!(report.measured_share, 0.75);
        assert!((report.co2_g - 7.1 / 3.6 * 500.0).abs() < 1e-9);
        assert!(report.scope.contains("scope of NVML") && report.scope.contains("not included"), "{}", report.scope);
        // 50 steps of the full network took 2 MJ (ten of them were done twice), and a run has 100 steps.
        let separate = report.separate_trainings.as_ref().unwrap();
        assert_eq!((separate.one_j, separate.epochs, separate.energy_j), (4e6, 10, 8e7));
        assert!((separate.as_much_as - 7.1 / 4.0).abs() < 1e-12);
        let rows: Vec<String> = report.rows().into_iter().map(|(label, text)| format!("{label}|{text}")).collect();
        assert_eq!(rows[0], "energy|1.97 kWh, 986 g of CO2 (500 g/kWh, given)");
        assert_eq!(rows[3], "one by one|20 networks trained one by one: 22.2 kWh, 11.1 kg of CO2");
        assert!(rows[4].ends_with("× its 10 epochs; this run cost as much as 1.77 of them"), "{}", rows[4]);
    }

    #[test]
    fn what_others_cost_counts_the_epochs_that_were_needed() {
        // The first phase was over after one of its four epochs.
        let ended = course(Position { phase: 2, step: 0, global_step: 70 });
        let separate = EnergyReport::new(&sums(), &ended, &EnergySettings::default()).separate_trainings.unwrap();
        assert_eq!((separate.one_j, separate.epochs), (2.8e6, 7));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let report =
            EnergyReport::new(&EnergySums::new(false), &course(Position::default()), &EnergySettings::default());
        let rows = report.rows();
        assert!(rows[0].1.contains("481 g/kWh, world average of 2023"), "{}", rows[0].1);
        assert!(rows.iter().any(|(_, text)| text.contains("this is the rest of it")));
        assert!(report.separate_trainings.is_none() && rows.last().unwrap().1.contains("unknown"));
    }

    #[test]
    fn a_file_gives_back_its_sums_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("energy.json");
        assert!(EnergySums::read(&path).unwrap().is_none());
        let report = EnergyReport::new(&sums(), &course(Position::default()), &EnergySettings::default());
        let text = serde_json::to_string(&report).unwrap();
        fs::write(&path, &text).unwrap();
        assert_eq!(EnergySums::read(&path).unwrap().unwrap(), sums());
        for damaged in [text.replace("energy/1", "energy/9"), text.replace("1775000.0", "-1.0"), text[..40].to_owned()]
        {
            assert_ne!(damaged, text);
            fs::write(&path, damaged).unwrap();
            assert!(EnergySums::read(&path).unwrap_err().to_string().contains("energy.json"));
        }
    }

    #[test]
    fn amounts_are_written_with_three_digits() {
        assert_eq!(watt_hours(3.6e6), "1.00 kWh");
        assert_eq!(watt_hours(1.8e6), "500 Wh");
        assert_eq!(watt_hours(1.8), "0.500 mWh");
        assert_eq!(grams(12_345.0), "12.3 kg");
    }
}
