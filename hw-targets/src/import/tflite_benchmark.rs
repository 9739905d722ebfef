//! Profiles of TFLite's `benchmark_model --enable_op_profiling=true`, as printed or as CSV
//! (`--profiling_output_csv_file`).
//!
//! A profile lists the nodes of one model in order of execution with their mean times, and sums them up in a line
//! `Timings (microseconds): count=… avg=… std=…`. It names no shapes, so it is read beside a work list (`work_list`):
//! one small model per operator, whose sum is the operator's latency. Times between nodes are not part of that sum.

use std::path::Path;

use crate::cost::Statistic;
use crate::error::HwError;
use crate::import::Imported;
use crate::import::work_list::answered;
use crate::manifest::{Manifest, TABLE_SCHEMA};
use crate::table::Measurement;
use storage::file::{FileError, open};

const FORMAT: &str = "tflite-benchmark";
/// Heads the profile of the runs; that of the initialisation stands before it.
const RUNS: &str = "Operator-wise Profiling Info for Regular Benchmark Runs:";
const RUN_ORDER: &str = "Run Order";
const TIMINGS: &str = "Timings (microseconds):";
/// Nodes and their sum may differ by rounding, and by nodes that not every run executes.
const SUM_TOLERANCE: f64 = 0.1;

/// Reads a folder of profiles (`.txt`, `.log`, `.csv`) with its work list.
///
/// # Errors
/// [`FileError::NotFound`] and [`FileError::Io`]; [`FileError::Malformed`] for what is not a profile (with the line),
/// profiles at different thread counts, or a single file, which says nothing about shapes; [`HwError::EmptyTable`].
pub(crate) fn read(path: &Path) -> Result<Imported, HwError> {
    if !path.is_dir() {
        let problem = "a profile names no shapes: give the folder that holds the work list operators.csv (written \
                       as the template of a space) and a profile per operator, named by its source_key";
        open(path)?;
        return Err(malformed(path, problem.to_string()));
    }
    let (mut notes, mut threads) = (Vec::new(), None);
    let table = answered(
        path,
        FORMAT,
        &["txt", "log", "csv"],
        |file, text| {
            let profile = parse(file, text)?;
            if threads.is_some_and(|threads| profile.threads.is_some_and(|here| here != threads)) {
                return Err(malformed(file, "its number of threads differs from that of other profiles".to_string()));
            }
            threads = threads.or(profile.threads);
            Ok(profile.total)
        },
        &mut notes,
    )?;
    let manifest = Manifest {
        schema: TABLE_SCHEMA.to_string(),
        runtime: Some("TFLite".to_string()),
        threads,
        batch: Some(1),
        composition: Some("sum".to_string()),
        notes: vec!["imported from TFLite profiles, one model per operator: the sum over its nodes".to_string()],
        ..Manifest::default()
    };
    Ok(Imported { manifest, table: table.with_notes(notes) })
}

/// What one profile says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Profile {
    /// Sum over the nodes of one inference.
    pub(crate) total: Measurement,
    /// Threads, where the log says.
    pub(crate) threads: Option<u32>,
}

fn malformed(path: &Path, problem: String) -> HwError {
    FileError::malformed(path, FORMAT, problem).into()
}

/// Reads one profile.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Profile, HwError> {
    let bad = |at: usize, problem: &str| malformed(path, format!("line {}: {problem}", at + 1));
    let plain = |line: &'_ str| -> String { line.trim().trim_start_matches("INFO:").trim().to_string() };
    let lines: Vec<String> = text.lines().map(plain).collect();
    let orders: Vec<usize> = (0..lines.len()).filter(|&at| is_title(&lines[at], RUN_ORDER)).collect();
    let runs = lines.iter().position(|line| line == RUNS);
    let order = match (runs, orders.as_slice()) {
        (Some(runs), orders) => orders.iter().copied().find(|at| *at > runs),
        // Older versions print only the runs, without a heading.
        (None, [only]) => Some(*only),
        (None, _) => None,
    };
    let headings = lines.iter().filter(|line| *line == RUNS).count();
    if headings > 1 {
        return Err(malformed(path, format!("the log holds {headings} benchmarks, one behind the other: keep one")));
    }
    let order = order.ok_or_else(|| {
        malformed(path, format!("there is no {RUN_ORDER:?} of the runs: was it made with enable_op_profiling=true?"))
    })?;
    let raw: Vec<&str> = text.lines().collect();
    let header = Header::parse(raw.get(order + 1).copied().unwrap_or_default())
        .ok_or_else(|| bad(order + 1, "is not the header of a run order"))?;
    let (mut nodes, mut at) = (Vec::new(), order + 2);
    while at < lines.len() && !lines[at].is_empty() && !lines[at].starts_with("====") {
        nodes.push(header.node(raw[at]).map_err(|problem| bad(at, &problem))?);
        at += 1;
    }
    let timings = (at..lines.len()).find(|&at| lines[at].starts_with(TIMINGS));
    let timings = timings.ok_or_else(|| malformed(path, format!("there is no line {TIMINGS:?} after its nodes")))?;
    let total = total(&lines[timings][TIMINGS.len()..]).map_err(|problem| bad(timings, &problem))?;
    let (sum, calls) = sum(&nodes);
    let rounding = 0.5e-6 * calls;
    if nodes.is_empty() || (sum / 1e3 - total.value).abs() > SUM_TOLERANCE * total.value + rounding {
        let problem =
            format!("its {} nodes add up to {sum:.3} ms, and its timings to {:.3} ms", nodes.len(), total.value * 1e3);
        return Err(malformed(path, problem));
    }
    Ok(Profile { total, threads: lines.iter().find_map(|line| threads(line)) })
}

/// Milliseconds of one inference, and the calls of nodes in it: a node's mean is that of one call. A node of the
/// initialisation is called in no inference; versions before TensorFlow 2 call none in any.
fn sum(nodes: &[(f64, f64)]) -> (f64, f64) {
    let counted = nodes.iter().any(|(_, calls)| *calls > 0.0);
    let of = |(average, calls): &(f64, f64)| if counted { (average * calls, *calls) } else { (*average, 1.0) };
    nodes.iter().map(of).fold((0.0, 0.0), |sum, node| (sum.0 + node.0, sum.1 + node.1))
}

fn is_title(line: &str, title: &str) -> bool {
    line.strip_prefix("===").is_some_and(|rest| rest.trim_matches('=').trim() == title)
}

/// Columns of a run order.
struct Header {
    csv: bool,
    columns: usize,
    average: usize,
    calls: Option<usize>,
}

impl Header {
    fn parse(line: &str) -> Option<Self> {
        let csv = !line.contains('[');
        let names: Vec<&str> = if csv {
            line.split(',').map(str::trim).collect()
        } else {
            line.split('\t').map(str::trim).filter(|name| !name.is_empty()).collect()
        };
        let average = names.iter().position(|name| ["avg_ms", "[avg ms]", "avg ms"].contains(name))?;
        let calls = names.iter().position(|name| ["times called", "[times called]"].contains(name));
        let first = names.first()?.trim_matches(['[', ']']);
        (first == "node type").then_some(Self { csv, columns: names.len(), average, calls })
    }

    /// The milliseconds of one call of a node, and its calls in one inference.
    fn node(&self, line: &str) -> Result<(f64, f64), String> {
        let mut cells: Vec<&str> = if self.csv {
            // The first column may hold commas, and the others do not.
            line.rsplitn(self.columns, ',').collect()
        } else {
            let cells: Vec<&str> = line.split('\t').map(str::trim).filter(|cell| !cell.is_empty()).collect();
            cells.into_iter().rev().collect()
        };
        cells.reverse();
        // A node may have no name.
        if cells.len() != self.columns && cells.len() + 1 != self.columns {
            return Err(format!("has {} cells where the header has {}", cells.len(), self.columns));
        }
        let number = |at: usize, what: &str| {
            let cell = cells.get(at).map_or("", |cell| cell.trim());
            let value = cell.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
            value.ok_or_else(|| format!("its {what} {cell:?} is not a number at or above zero"))
        };
        let calls = self.calls.map_or(Ok(0.0), |at| number(at, "times called"))?;
        Ok((number(self.average, "mean time in ms")?, calls))
    }
}

/// `count=50 first=… curr=… min=… max=… avg=5432.1 std=33`, or `count=1 curr=5432`, or `count=9 curr=5432(all same)`.
fn total(text: &str) -> Result<Measurement, String> {
    let text = text.replace("(all same)", " ");
    let field = |name: &str| -> Result<Option<f64>, String> {
        let word = text.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let Some(word) = word else { return Ok(None) };
        let value = word.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
        value.map(Some).ok_or_else(|| format!("{name} is {word:?}"))
    };
    let count = field("count")?.filter(|count| count.fract() == 0.0 && *count >= 1.0).ok_or("there is no count")?;
    let microseconds = match field("avg")? {
        Some(average) => average,
        None => field("curr")?.ok_or("there is neither avg nor curr")?,
    };
    if microseconds == 0.0 {
        return Err("a time of 0 is no measurement".to_string());
    }
    Ok(Measurement {
        value: microseconds / 1e6,
        std: field("std")?.map(|std| std / 1e6),
        count: Some(count as u64),
        rel_unc: None,
        statistic: Some(Statistic::Mean),
    })
}

fn threads(line: &str) -> Option<u32> {
    let number =
        ["#threads used for CPU inference: [", "Num threads: ["].iter().find_map(|words| line.strip_prefix(words));
    number?.split(']').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::import::testing::{read_back, refused};

    /// Made up in the format of the tool.
    pub(crate) const LOG: &str = "INFO: #threads used for CPU inference: [4]\n\
        INFO: Profiling Info for Benchmark Initialization:\n\
        ============================== Run Order ==============================\n\
        \t   [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]\n\
        \tAllocateTensors\t    0.102\t    0.102\t100.000%\t100.000%\t     0.000\t        1\tAllocateTensors/0\n\n\
        Timings (microseconds): count=1 curr=102\n\n\
        INFO: Operator-wise Profiling Info for Regular Benchmark Runs:\n\
        ============================== Run Order ==============================\n\
        \t   [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]\n\
        \tConvolution (NHWC, F32) IGEMM\t 0.3\t 0.250\t 50.0%\t 50.0%\t 0.0\t 1\t\
        Delegate/Convolution (NHWC, F32) IGEMM:0\n\
        \tADD\t 0.2\t 0.250\t 50.0%\t100.0%\t 0.0\t 1\t[block/add]:1\n\n\
        ============================== Top by Computation Time ==============================\n\
        Number of nodes executed: 2\n\
        Timings (microseconds): count=50 first=600 curr=490 min=480 max=600 avg=500.5 std=12\n\
        Memory (bytes): count=0\n2 nodes observed\n";

    fn parsed(text: &str) -> Result<Profile, HwError> {
        parse(Path::new("op.txt"), text)
    }

    #[test]
    fn a_log_gives_the_sum_of_its_nodes() {
        let profile = parsed(LOG).unwrap();
        assert_eq!(profile.threads, Some(4));
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-12);
        close(profile.total.value, 500.5e-6);
        close(profile.total.std.unwrap(), 12e-6);
        assert_eq!(profile.total.count, Some(50));
    }

    #[test]
    fn csv_and_older_logs_are_read_too() {
        let csv = "Operator-wise Profiling Info for Regular Benchmark Runs:\n\
            ============================== Run Order ==============================\n\
            node type, first, avg_ms, %, cdf%, mem KB, times called, name\n\
            Convolution (NHWC, F32) IGEMM, 0.3, 0.5, 100%, 100%, 0, 1, a\tb:0\n\n\
            Timings (microseconds): count=3 curr=500(all same)\n";
        assert!((parsed(csv).unwrap().total.value - 5e-4).abs() < 1e-15);
        let old = "============================== Run Order ==============================\n\
            \t[node type]\t[start]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]\n\
            \tCONV_2D\t0.0\t4.3\t4.2\t100%\t100%\t0.0\t1\t[conv]\n\n\
            Timings (microseconds): count=1 curr=4200\n";
        assert!((parsed(old).unwrap().total.value - 4.2e-3).abs() < 1e-15);
    }

    #[test]
    fn a_mean_is_that_of_one_call() {
        let called = |times: &str| {
            LOG.replace("0.250\t 50.0%\t 50.0%\t 0.0\t 1\t", &format!("0.125\t 50.0%\t 50.0%\t 0.0\t {times}\t"))
        };
        assert!((parsed(&called("2")).unwrap().total.value - 500.5e-6).abs() < 1e-12);
        refused(parsed(&called("1")).map(|_| ()), &["add up to 0.375 ms"]);
        let start = "\tADD\t 0.2\t 0.250";
        let initial = LOG.replace(start, &format!("\tAllocateTensors\t 9\t 9\t 0.1%\t 50.1%\t 0.0\t 0\tA/0\n{start}"));
        assert!(parsed(&initial).is_ok(), "called in no inference");
        assert!(parsed(&LOG.replace("0.0\t 1\t", "0.0\t 0\t")).is_ok(), "no version before 2 counts calls");
        refused(parsed(&format!("{LOG}{LOG}")).map(|_| ()), &["2 benchmarks"]);
    }

    #[test]
    fn what_is_wrong_in_a_profile_is_said() {
        let check = |from: &str, to: &str, words: &[&str]| refused(parsed(&LOG.replace(from, to)).map(|_| ()), words);
        check("avg=500.5", "avg=fast", &["line 17", "avg", "fast"]);
        check("avg=500.5", "avg=5005", &["add up"]);
        check("avg=500.5", "avg=0", &["no measurement"]);
        check("0.250\t 50.0%\t 50.0%", "-1\t 50.0%\t 50.0%", &["line 12", "mean time"]);
        check("\t 50.0%\t 50.0%", "", &["line 12", "cells"]);
        check("count=50", "runs=50", &["no count"]);
        check("Run Order", "Order", &["enable_op_profiling"]);
        check("Timings", "Times", &["Timings"]);
        refused(parsed("").map(|_| ()), &["Run Order"]);
    }

    #[test]
    fn a_folder_answers_its_work_list() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        refused(read(folder.path()).map(|_| ()), &["operators.csv"]);
        file(
            "operators.csv",
            "op_type,in_h,in_w,in_c,out_h,out_w,out_c,kernel,stride,groups,mid_c,se,se_mid_c,activation,residual,\
             latency_ms,source_key\nconv,32,32,3,16,16,8,3,2,1,0,0,0,relu6,0,,stem\n\
             conv,16,16,8,16,16,8,1,1,1,0,0,0,relu,0,,other\n",
        );
        file("stem.txt", LOG);
        file("stray.log", LOG);
        let imported = read(folder.path()).unwrap();
        assert_eq!(imported.manifest.threads, Some(4));
        assert_eq!(imported.table.rows().len(), 1);
        assert_eq!(imported.table.rows()[0].key.op().out_channels, 8);
        let notes = imported.table.notes().join("\n");
        assert!(notes.contains("1 operators") && notes.contains("stray.log"), "{notes}");
        read_back(&imported);
        file("other.txt", &LOG.replace("[4]", "[1]"));
        refused(read(folder.path()).map(|_| ()), &["other.txt", "threads"]);
        refused(read(&folder.path().join("stem.txt")).map(|_| ()), &["no shapes"]);
    }
}
