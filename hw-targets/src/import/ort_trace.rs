//! The events of an ONNX Runtime profile as nodes with the seconds of each run.
//!
//! Events are written as they end: a node stands behind the nodes of its branches or of its body, and a run, an event of
//! category `Session` named `model_run`, behind all of its nodes. What a node takes is its duration without that of the
//! nodes within it, so that the sum over the nodes of a run counts nothing twice. A provider that queues work on a
//! device returns before that is done; what such a node takes are the events of category `Kernel` that follow it
//! (onnxruntime PR #8406).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use crate::cost::Statistic;
use crate::error::HwError;
use crate::table::Measurement;
use storage::file::FileError;

/// The name of the format, for messages.
pub(super) const FORMAT: &str = "ort-profile";
/// Providers that hand their work to a device and do not wait for it.
const QUEUEING: [&str; 9] = ["cuda", "rocm", "tensorrt", "nvtensorrtrtx", "migraphx", "dml", "webgpu", "js", "cann"];
/// Operators of such providers that need no kernel.
const WITHOUT_KERNEL: [&str; 8] =
    ["Reshape", "Flatten", "Identity", "Shape", "Squeeze", "Unsqueeze", "MemcpyToHost", "MemcpyFromHost"];
/// How far the sum over the nodes may exceed the run, by rounding.
const SUM_TOLERANCE: f64 = 0.02;
/// Share of the run below which the nodes are said to be only a part of it.
const MOST: f64 = 0.9;
/// Part of a run that nodes are at least, where their sum says anything about it.
const LEAST: f64 = 0.1;

/// Versions add fields, so unknown ones are ignored; metadata has no category.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    ts: Option<f64>,
    dur: Option<f64>,
    #[serde(default)]
    args: Args,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Args {
    op_name: String,
    provider: String,
    input_type_shape: Vec<BTreeMap<String, Vec<u32>>>,
    output_type_shape: Vec<BTreeMap<String, Vec<u32>>>,
}

/// One node with the seconds of each run.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) op_name: String,
    pub(super) provider: String,
    pub(super) inputs: Vec<Vec<u32>>,
    pub(super) outputs: Vec<Vec<u32>>,
    /// Without the nodes within it.
    pub(super) durations: Vec<f64>,
}

/// All nodes in order of execution.
pub(super) struct Profile {
    pub(super) nodes: Vec<Node>,
    /// Runs to leave out: the first of several warms up.
    pub(super) warm_up: usize,
    /// Seconds of each run.
    runs: Vec<f64>,
}

/// One node of one run.
struct Step {
    name: String,
    start: f64,
    duration: f64,
    /// Microseconds without the nodes within it.
    own: f64,
    /// Microseconds on the device.
    kernels: Option<f64>,
    args: Args,
}

impl Step {
    /// The node of an event named `…_kernel_time`.
    fn new(path: &Path, name: &str, event: Event) -> Result<Self, HwError> {
        let number = |value: Option<f64>, field: &str| {
            let sane = value.filter(|value| value.is_finite() && *value >= 0.0);
            sane.ok_or_else(|| malformed(path, format!("node {name}: {field} is missing or negative")))
        };
        let (start, duration) = (number(event.ts, "ts")?, number(event.dur, "dur")?);
        Ok(Self { name: name.to_string(), start, duration, own: duration, kernels: None, args: event.args })
    }

    fn contains(&self, other: &Step) -> bool {
        other.start >= self.start && other.start + other.duration <= self.start + self.duration
    }

    /// What it takes, in seconds.
    fn seconds(&self, path: &Path) -> Result<f64, HwError> {
        let provider = &self.args.provider;
        let queues = QUEUEING.iter().any(|known| {
            let name = provider.to_ascii_lowercase();
            name.strip_suffix("executionprovider").unwrap_or(&name) == *known
        });
        let microseconds = match (queues, self.kernels) {
            (false, _) => self.own,
            (true, Some(kernels)) => kernels,
            (true, None) if WITHOUT_KERNEL.contains(&self.args.op_name.as_str()) => 0.0,
            (true, None) => {
                let problem = format!(
                    "node {}: {provider} queues work on a device, and no Kernel event says how long that took: time \
                     whole networks, or profile with a build that records kernels",
                    self.name
                );
                return Err(malformed(path, problem));
            }
        };
        Ok(microseconds / 1e6)
    }
}

/// The steps of one run in the order in which they ended.
#[derive(Default)]
struct Run {
    steps: Vec<Step>,
    /// Steps that no later one contains.
    outermost: Vec<usize>,
}

impl Run {
    fn push(&mut self, mut step: Step) {
        while let Some(inner) = self.outermost.pop_if(|at| step.contains(&self.steps[*at])) {
            step.own = (step.own - self.steps[inner].duration).max(0.0);
        }
        self.outermost.push(self.steps.len());
        self.steps.push(step);
    }

    fn add_kernel(&mut self, microseconds: f64) {
        if let Some(step) = self.steps.last_mut() {
            *step.kernels.get_or_insert(0.0) += microseconds;
        }
    }
}

/// A tensor is one type with its shape; an optional input that is absent is an empty object.
fn shapes(tensors: Vec<BTreeMap<String, Vec<u32>>>) -> Vec<Vec<u32>> {
    tensors.into_iter().map(|tensor| tensor.into_values().next().unwrap_or_default()).collect()
}

impl Profile {
    /// Reads a profile's text.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, HwError> {
        let events: Vec<Event> = serde_json::from_str(text).map_err(|error| malformed(path, error.to_string()))?;
        let (mut runs, mut seconds, mut run) = (Vec::new(), Vec::new(), Run::default());
        for event in events {
            match (event.cat.as_str(), event.name.strip_suffix("_kernel_time")) {
                ("Node", Some(name)) => {
                    let name = name.to_string();
                    run.push(Step::new(path, &name, event)?);
                }
                ("Kernel", _) => run.add_kernel(event.dur.filter(|dur| *dur >= 0.0).unwrap_or(0.0)),
                ("Session", _) if event.name == "model_run" => {
                    let took = event.dur.filter(|dur| dur.is_finite() && *dur >= 0.0);
                    seconds.push(took.ok_or_else(|| malformed(path, "model_run: dur is missing or negative".into()))?);
                    runs.push(std::mem::take(&mut run));
                }
                _ => {}
            }
        }
        if runs.is_empty() || runs.iter().all(|run| run.steps.is_empty()) {
            let problem = "there is no model_run behind events of category Node named …_kernel_time";
            return Err(malformed(path, problem.to_string()));
        }
        let warm_up = usize::from(runs.len() > 1);
        let profile = Self {
            nodes: nodes(path, runs)?,
            warm_up,
            runs: seconds.into_iter().map(|microseconds| microseconds / 1e6).collect(),
        };
        profile.check_sums(path)?;
        Ok(profile)
    }

    pub(super) fn providers(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.provider.clone()).filter(|provider| !provider.is_empty()).collect()
    }

    fn sum(&self, run: usize) -> f64 {
        self.nodes.iter().map(|node| node.durations[run]).sum()
    }

    /// A run takes as long as its nodes at least, unless they overlap, and then their sum is no latency.
    fn check_sums(&self, path: &Path) -> Result<(), HwError> {
        for (at, took) in self.runs.iter().enumerate() {
            let sum = self.sum(at);
            if sum > took * (1.0 + SUM_TOLERANCE) + 1e-6 {
                let (sum, took) = (sum * 1e3, took * 1e3);
                let problem = format!("run {}: its nodes add up to {sum:.3} ms, and model_run to {took:.3} ms", at + 1);
                return Err(malformed(path, problem));
            }
        }
        if let Some(share) = self.share().filter(|share| *share < LEAST) {
            let problem = format!(
                "its nodes are {:.1} % of the time of a run: what takes the time is not in the profile",
                100.0 * share
            );
            return Err(malformed(path, problem));
        }
        Ok(())
    }

    /// The sum over the nodes of one run.
    pub(super) fn total(&self, path: &Path) -> Result<Measurement, HwError> {
        let sums: Vec<f64> = (self.warm_up..self.runs.len()).map(|run| self.sum(run)).collect();
        measurement(&sums).ok_or_else(|| malformed(path, "all its durations are 0".to_string()))
    }

    /// What part of the runs its nodes are, where they are much less.
    pub(super) fn share(&self) -> Option<f64> {
        let kept = self.warm_up..self.runs.len();
        let share = kept.clone().map(|run| self.sum(run)).sum::<f64>() / self.runs[kept].iter().sum::<f64>();
        (share < MOST).then_some(share)
    }
}

/// The nodes of all runs, which are the same in each; one that runs again within a run is another node.
fn nodes(path: &Path, runs: Vec<Run>) -> Result<Vec<Node>, HwError> {
    let count = runs.len();
    let mut nodes: Vec<Node> = Vec::new();
    let mut index: HashMap<(String, usize), usize> = HashMap::new();
    for run in runs {
        let mut times: HashMap<String, usize> = HashMap::new();
        for step in run.steps {
            let seconds = step.seconds(path)?;
            let time = times.entry(step.name.clone()).or_default();
            *time += 1;
            let at = *index.entry((step.name.clone(), *time)).or_insert(nodes.len());
            let inputs = shapes(step.args.input_type_shape);
            if at == nodes.len() {
                nodes.push(Node {
                    name: step.name,
                    op_name: step.args.op_name,
                    provider: step.args.provider,
                    inputs,
                    outputs: shapes(step.args.output_type_shape),
                    durations: vec![seconds],
                });
                continue;
            }
            let node = &mut nodes[at];
            if inputs != node.inputs {
                return Err(malformed(path, format!("node {} ran with different shapes", step.name)));
            }
            node.durations.push(seconds);
        }
    }
    if let Some(odd) = nodes.iter().find(|node| node.durations.len() != count) {
        let problem = format!("node {} ran in {} of {count} runs", odd.name, odd.durations.len());
        return Err(malformed(path, problem));
    }
    Ok(nodes)
}

/// `path` is no profile.
pub(super) fn malformed(path: &Path, problem: String) -> HwError {
    FileError::malformed(path, FORMAT, problem).into()
}

/// Mean and sample deviation; `None` if every run is 0, which is no measurement.
pub(super) fn measurement(seconds: &[f64]) -> Option<Measurement> {
    let n = seconds.len() as f64;
    let value = seconds.iter().sum::<f64>() / n;
    let squares: f64 = seconds.iter().map(|second| (second - value).powi(2)).sum();
    (value > 0.0).then(|| Measurement {
        value,
        std: (seconds.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
        count: Some(seconds.len() as u64),
        rel_unc: None,
        statistic: Some(Statistic::Mean),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::testing::refused;

    /// An event of a node; all times in microseconds.
    fn node(name: &str, op: &str, provider: &str, start: u32, dur: u32) -> String {
        format!(
            r#"{{"cat":"Node","name":"{name}_kernel_time","ts":{start},"dur":{dur},
            "args":{{"op_name":"{op}","provider":"{provider}ExecutionProvider"}}}}"#
        )
    }

    fn other(cat: &str, name: &str, dur: u32) -> String {
        format!(r#"{{"cat":"{cat}","name":"{name}","ts":0,"dur":{dur}}}"#)
    }

    /// Three equal runs of these events.
    fn total(run: &[String]) -> Result<Measurement, HwError> {
        let path = Path::new("p.json");
        let runs = [run, run, run].concat().join(",");
        Profile::parse(path, &format!("[{runs}]"))?.total(path)
    }

    fn close(total: Measurement, microseconds: f64) {
        assert!((total.value - microseconds / 1e6).abs() < 1e-12 && total.count == Some(2), "{total:?}");
    }

    #[test]
    fn a_node_that_contains_others_is_not_added_twice() {
        let branch = node("conv", "Conv", "CPU", 12, 80);
        let run = [branch, node("choice", "If", "CPU", 10, 90), node("fc", "Gemm", "CPU", 100, 5), run_of(120)];
        close(total(&run).unwrap(), 95.0);
    }

    fn run_of(dur: u32) -> String {
        other("Session", "model_run", dur)
    }

    #[test]
    fn a_node_that_runs_twice_or_has_no_name_counts_each_time() {
        let body = |at| node("body", "Conv", "CPU", at, 50);
        close(total(&[body(0), body(50), run_of(110)]).unwrap(), 100.0);
        let unnamed = |at, dur| node("", "Conv", "CPU", at, dur);
        close(total(&[unnamed(0, 42), unnamed(42, 6), unnamed(50, 15), run_of(70)]).unwrap(), 63.0);
    }

    #[test]
    fn queued_work_is_timed_by_its_kernels_or_refused() {
        let launch = node("stem", "Conv", "CUDA", 10, 12);
        let run = [launch.clone(), other("Kernel", "convolve", 200), other("Kernel", "bias", 40), run_of(300)];
        close(total(&run).unwrap(), 240.0);
        refused(total(&[launch, run_of(300)]).map(|_| ()), &["CUDAExecutionProvider", "Kernel"]);
        refused(total(&[node("a", "Conv", "Dml", 1, 9), run_of(300)]).map(|_| ()), &["queues"]);
    }

    #[test]
    fn nodes_and_runs_have_to_agree() {
        let conv = |at, dur| node("conv", "Conv", "CPU", at, dur);
        refused(total(&[conv(0, 90), conv(40, 90), run_of(100)]).map(|_| ()), &["run 1", "add up", "model_run"]);
        refused(total(&[conv(0, 90)]).map(|_| ()), &["model_run"]);
        let text = format!("[{},{},{}]", conv(0, 9), run_of(10), run_of(10));
        refused(Profile::parse(Path::new("p.json"), &text).map(|_| ()), &["ran in 1 of 2 runs"]);
    }
}
