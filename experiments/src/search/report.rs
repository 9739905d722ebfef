//! What a search found: as values, as JSON, and as the files of `ofa search --out`.

use std::io::Write;
use std::path::Path;

use hw_targets::budget::Budget;
use hw_targets::cost::NetworkCost;
use hw_targets::target::Target;
use network::units::Quantity;
use search::arch::ArchSpec;
use search::dense::CostRange;
use search::history::History;
use search::nsga2::Objective;
use search::space::SearchSpace;
use serde_json::{Map, Value, json};
use storage::atomic::write_atomically;

use crate::error::{Error, Result};
use crate::folders::{history_file, names, output, search_journal};
use crate::search::algorithm::Algorithm;
use crate::share::Interval;
use crate::target::cost::cost_json;

/// One subnet found.
#[derive(Clone, Debug)]
pub struct FoundSubnet {
    /// The subnet.
    pub arch: ArchSpec,
    /// Predicted top-1, a fraction.
    pub top1: f64,
    /// Standard deviation of that from what very many images would say, where the predictor knows it.
    pub error: Option<f64>,
    /// Standard deviation between the predictor's members, if it has several.
    pub spread: Option<f64>,
    /// What it costs, as far as the target knows.
    pub cost: NetworkCost,
    /// What the additive part of the predictor says, if it has one.
    pub additive: Option<AdditivePart>,
    /// What it was measured to have, if it was.
    pub verified: Option<Verified>,
}

impl FoundSubnet {
    /// What is known of it, whoever found it; a member of `space`.
    pub(crate) fn json(&self, space: &SearchSpace) -> Value {
        json!({
            "subnet": space.to_subnet_json(&self.arch),
            "genome": space.to_genome_json(&self.arch),
            "top1": self.top1,
            "top1_is": "predicted",
            "top1_std": self.error,
            "top1_spread": self.spread,
            "costs": cost_json(&self.cost),
        })
    }
}

/// A measured top-1, never to be mixed up with a predicted one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verified {
    /// Fraction of the held-out images whose class came first.
    pub top1: f64,
    /// How many there are.
    pub images: u64,
}

impl Verified {
    /// Where the fraction would lie on very many images.
    pub fn interval(self) -> Interval {
        Interval::of_share(self.top1, self.images)
    }
}

/// The additive part of a predicted top-1, and what it can be at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdditivePart {
    /// Of this subnet.
    pub score: f64,
    /// No subnet within the budget has more (certified by [`search::exact`]).
    pub bound: f64,
}

/// Subnets that no other one found dominates.
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// Where they are in the history, by the first objective, best first.
    pub positions: Vec<usize>,
    /// Objectives with the worst value that counts: top-1 0, and the ceiling or the dearest subnet of each cost.
    pub reference: Vec<(Objective, f64)>,
    /// Volume that the front dominates, each cost in units of its reference: at most 1; not told of more than four
    /// objectives.
    pub hypervolume: Option<f64>,
}

/// What became of one ceiling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitReport {
    /// What is limited.
    pub quantity: Quantity,
    /// The ceiling, in SI units or as a count.
    pub limit: f64,
    /// Cheapest and dearest subnet that was looked at.
    pub range: CostRange,
    /// Whether some subnet is above it.
    pub binds: bool,
}

/// What was searched for, where and how.
#[derive(Clone, Debug)]
pub struct SearchHeader {
    /// The space.
    pub space: SearchSpace,
    /// The device, if there is one.
    pub target: Option<Target>,
    /// Name of the bundle that space and predictor are from, if they are.
    pub bundle: Option<String>,
    /// What the images are called that the bundle was trained on, where it says.
    pub images: Option<String>,
    /// Whether the bundle brings images to calibrate with.
    pub has_calibration: bool,
    /// What had to be kept.
    pub budget: Budget,
    /// What was optimised.
    pub objectives: Vec<Objective>,
    /// By which algorithm.
    pub algorithm: Algorithm,
    /// With what probability the budget was to be kept.
    pub confidence: Option<f64>,
    /// Everything random follows from it.
    pub seed: u64,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct SearchReport {
    /// What was searched for.
    pub header: SearchHeader,
    /// The best subnets, best first; of a search with several objectives, the front.
    pub found: Vec<FoundSubnet>,
    /// The front, if it is one.
    pub front: Option<Front>,
    /// What an exact search counted, and in steps of how much.
    pub grid_step: Option<(Quantity, f64)>,
    /// Evaluations done, all of distinct subnets.
    pub evaluations: usize,
    /// Whether every subnet that fits was evaluated.
    pub exhaustive: bool,
    /// Seconds it took.
    pub seconds: f64,
    /// Resolutions that were looked at.
    pub resolutions: Vec<u32>,
    /// Ceilings, in order of [`Quantity::ALL`].
    pub limits: Vec<LimitReport>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Every evaluation in order.
    pub history: History,
}

impl SearchReport {
    /// One subnet found, as `ofa search --format json` prints it.
    pub fn json(&self, found: &FoundSubnet) -> Value {
        let SearchHeader { space, target, bundle, seed, algorithm, confidence, .. } = &self.header;
        let limits = self.limits.iter().map(|report| {
            let scale = report.quantity.json_scale();
            let limit = json!({
                "limit": report.limit * scale,
                "binds": report.binds,
                "cheapest": report.range.min * scale,
                "dearest": report.range.max * scale,
            });
            (report.quantity.json_key().to_owned(), limit)
        });
        let additive = found
            .additive
            .map(|AdditivePart { score, bound }| json!({"top1": score, "bound": bound, "gap": bound - score}));
        let verified = found.verified.map(|verified| {
            let interval = verified.interval();
            json!({
                "top1": verified.top1,
                "std_error": interval.std_error(),
                "interval": [interval.low, interval.high],
                "images": verified.images,
                "on": "held-out",
            })
        });
        let grid_step = self
            .grid_step
            .map(|(quantity, step)| json!({"quantity": quantity.json_key(), "step": step * quantity.json_scale()}));
        let mut value = found.json(space);
        let search = json!({
            "target": target.as_ref().map(Target::name),
            "bundle": bundle,
            "budgets": limits.collect::<Map<String, Value>>(),
            "resolutions": self.resolutions,
            "exhaustive": self.exhaustive,
            "evaluations": self.evaluations,
            "distinct": self.evaluations,
            "seconds": self.seconds,
            "seed": seed,
            "algorithm": algorithm.name(),
            "confidence": confidence,
            "additive": additive,
            "verified": verified,
            "grid": grid_step,
        });
        if let (Some(object), Value::Object(search)) = (value.as_object_mut(), search) {
            object.extend(search);
            if let Some(front) = &self.front {
                if let Some(volume) = front.hypervolume {
                    object.insert("hypervolume".to_owned(), volume.into());
                }
                object.insert("front".to_owned(), front.positions.len().into());
            }
        }
        value
    }

    /// Writes `subnet.json` and `history.parquet` into `folder`, `top.jsonl` if several subnets were asked for, what `deploy`
    /// makes of the best one, and last `result.json`. What an earlier search left there goes first.
    ///
    /// # Errors
    /// [`Error::Write`]; those of `deploy`.
    pub(crate) fn save(&self, folder: &Path, deploy: impl FnOnce() -> Result<()>) -> Result<()> {
        let space = &self.header.space;
        let write = |name: &str, text: String| {
            write_atomically(&folder.join(name), |file| file.write_all(text.as_bytes()))
                .map_err(|source| Error::Write { source })
        };
        let Some(best) = self.found.first() else { return Ok(()) };
        output::clear(folder, &output::SEARCH)?;
        output::clear(folder, &output::DEPLOYMENT)?;
        history_file::write(&folder.join(names::HISTORY), space, &self.history)?;
        if self.found.len() > 1 {
            write(names::TOP, self.found.iter().map(|found| format!("{}\n", self.json(found))).collect())?;
        }
        write(names::SUBNET, format!("{:#}\n", space.to_subnet_json(&best.arch)))?;
        deploy()?;
        write(names::RESULT, format!("{:#}\n", self.json(best)))?;
        search_journal::remove(folder)
    }
}
