//! Profiles of ONNX Runtime (`SessionOptions.enable_profiling`): a JSON list of trace events.
//!
//! Each run of a node is an event of category `Node` named `…_kernel_time` with its duration in whole microseconds
//! and, in `args`, the operator's name, the execution provider and the shapes of inputs and outputs. A file is read as
//! the operators of one network: convolutions, linear layers and global average pooling. A folder with a work list
//! (`work_list`) holds one profile per operator instead, whose latency is the sum over its nodes; blocks come in that
//! way. The first of several runs warms up and is left out.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use crate::cost::Statistic;
use crate::error::HwError;
use crate::import::Imported;
use crate::import::repeats::merged;
use crate::import::work_list::answered;
use crate::manifest::{Manifest, TABLE_SCHEMA};
use crate::table::{Measurement, OpKey, OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use network::op::Activation;
use storage::file::{FileError, Place, read_text};

const FORMAT: &str = "ort-profile";

/// Versions add fields, so unknown ones are ignored.
#[derive(Deserialize)]
struct Event {
    cat: String,
    name: String,
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

/// Reads one profile as the operators of a network, or a folder of profiles with its work list.
///
/// # Errors
/// [`FileError::NotFound`] and [`FileError::Io`]; [`FileError::Malformed`] for what is not a profile,
/// [`HwError::EmptyTable`].
pub(crate) fn read(path: &Path) -> Result<Imported, HwError> {
    if !path.is_dir() {
        return parse(path, &read_text(path, FORMAT)?);
    }
    let (mut notes, mut providers) = (Vec::new(), Vec::new());
    let table = answered(
        path,
        FORMAT,
        &["json"],
        |file, text| {
            let profile = Profile::parse(file, text)?;
            providers.extend(profile.providers());
            profile.total(file)
        },
        &mut notes,
    )?;
    let what = "imported from ONNX Runtime profiles, one model per operator: the sum over its nodes";
    Ok(Imported { manifest: manifest(&providers, Some(1), what), table: table.with_notes(notes) })
}

/// One profile's text as the operators of a network.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Imported, HwError> {
    let profile = Profile::parse(path, text)?;
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    let (mut batches, mut left_out): (Vec<u32>, BTreeMap<String, (usize, f64)>) = Default::default();
    let mut fused = 0;
    for (at, node) in profile.nodes.iter().enumerate() {
        let measured = measurement(&node.durations[profile.warm_up..]);
        let mapped = match measured {
            Some(_) => op_of(node),
            None => Err("its duration is below one microsecond".to_string()),
        };
        let (op, batch) = match mapped {
            Ok(mapped) => mapped,
            Err(reason) => {
                let entry = left_out.entry(format!("{}: {reason}", node.op_name)).or_default();
                *entry = (entry.0 + 1, entry.1 + measured.map_or(0.0, |measured| measured.value));
                continue;
            }
        };
        fused += u32::from(node.op_name == "FusedConv");
        batches.push(batch);
        rows.push(Row {
            key: OpKey::new(&op, None),
            latency: measured,
            energy: None,
            energy_method: None,
            energy_scope: None,
            source_key: Some(node.name.clone()),
            place: Place::Row(at as u64 + 1),
        });
    }
    if batches.iter().any(|batch| *batch != batches[0]) {
        return Err(malformed(path, "its operators have different batch sizes".to_string()));
    }
    let total = profile.total(path)?.value;
    notes.extend(left_out.into_iter().map(|(what, (nodes, seconds))| {
        format!("{nodes} nodes of {what} were left out: {:.1} % of the time", 100.0 * seconds / total)
    }));
    if fused > 0 {
        notes.push(format!(
            "{fused} convolutions have a fused activation that the profile does not name: taken for relu"
        ));
    }
    let rows = merged(rows, &mut notes);
    let manifest = manifest(&profile.providers(), batches.first().copied(), "imported from an ONNX Runtime profile");
    Ok(Imported { manifest, table: OpTable::from_rows(path, rows)?.with_notes(notes) })
}

fn manifest(providers: &[String], batch: Option<u32>, what: &str) -> Manifest {
    let mut providers = providers.to_vec();
    providers.sort();
    providers.dedup();
    Manifest {
        schema: TABLE_SCHEMA.to_string(),
        runtime: Some("ONNX Runtime".to_string()),
        processing_unit: Some(providers.join(", ")).filter(|providers| !providers.is_empty()),
        batch,
        composition: Some("sum".to_string()),
        notes: vec![what.to_string()],
        ..Manifest::default()
    }
}

fn malformed(path: &Path, problem: String) -> HwError {
    FileError::malformed(path, FORMAT, problem).into()
}

/// One node with the seconds of each run.
struct Node {
    name: String,
    op_name: String,
    provider: String,
    inputs: Vec<Vec<u32>>,
    outputs: Vec<Vec<u32>>,
    durations: Vec<f64>,
}

/// All nodes in order of execution.
struct Profile {
    nodes: Vec<Node>,
    /// Runs to leave out.
    warm_up: usize,
}

impl Profile {
    fn parse(path: &Path, text: &str) -> Result<Self, HwError> {
        let events: Vec<Event> = serde_json::from_str(text).map_err(|error| malformed(path, error.to_string()))?;
        let mut nodes: Vec<Node> = Vec::new();
        let mut index: HashMap<String, usize> = HashMap::new();
        for event in events {
            let Some(name) = event.name.strip_suffix("_kernel_time").filter(|_| event.cat == "Node") else { continue };
            let seconds = event.dur.filter(|dur| dur.is_finite() && *dur >= 0.0).map(|dur| dur / 1e6);
            let seconds = seconds.ok_or_else(|| malformed(path, format!("node {name}: dur is missing or negative")))?;
            // A tensor is one type with its shape; an optional input that is absent is an empty object.
            let shapes = |tensors: Vec<BTreeMap<String, Vec<u32>>>| -> Vec<Vec<u32>> {
                tensors.into_iter().map(|tensor| tensor.into_values().next().unwrap_or_default()).collect()
            };
            let at = *index.entry(name.to_string()).or_insert(nodes.len());
            if at == nodes.len() {
                nodes.push(Node {
                    name: name.to_string(),
                    op_name: event.args.op_name,
                    provider: event.args.provider,
                    inputs: shapes(event.args.input_type_shape),
                    outputs: shapes(event.args.output_type_shape),
                    durations: vec![seconds],
                });
            } else {
                let node = &mut nodes[at];
                if shapes(event.args.input_type_shape) != node.inputs {
                    return Err(malformed(path, format!("node {name} ran with different shapes")));
                }
                node.durations.push(seconds);
            }
        }
        let runs = nodes.first().map_or(0, |node| node.durations.len());
        if runs == 0 {
            return Err(malformed(path, "there is no event of category Node named …_kernel_time".to_string()));
        }
        if let Some(odd) = nodes.iter().find(|node| node.durations.len() != runs) {
            let problem = format!("node {} ran {} times, and the first node {runs}", odd.name, odd.durations.len());
            return Err(malformed(path, problem));
        }
        Ok(Self { nodes, warm_up: usize::from(runs > 1) })
    }

    fn providers(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.provider.clone()).filter(|provider| !provider.is_empty()).collect()
    }

    /// The sum over the nodes of one run.
    fn total(&self, path: &Path) -> Result<Measurement, HwError> {
        let runs = self.nodes[0].durations.len();
        let sum = |run: usize| -> f64 { self.nodes.iter().map(|node| node.durations[run]).sum() };
        let sums: Vec<f64> = (self.warm_up..runs).map(sum).collect();
        measurement(&sums).ok_or_else(|| malformed(path, "all its durations are 0".to_string()))
    }
}

/// Mean and sample deviation; `None` if every run is 0, which is no measurement.
fn measurement(seconds: &[f64]) -> Option<Measurement> {
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

/// The operator of a node and its batch size, or why it is none.
fn op_of(node: &Node) -> Result<(TableOp, u32), String> {
    let shape = |shapes: &[Vec<u32>], at: usize| shapes.get(at).cloned().unwrap_or_default();
    let (input, weights, output) = (shape(&node.inputs, 0), shape(&node.inputs, 1), shape(&node.outputs, 0));
    let sane = [&input, &weights, &output].into_iter().flatten().all(|size| (1..=1_000_000).contains(size));
    if !sane {
        return Err("a shape is empty or beyond any network".to_string());
    }
    let op = |kind, in_size: u32, in_channels, out_size: u32, out_channels| TableOp {
        batch_norm: true,
        ..TableOp::plain(kind, in_size, in_channels, out_size, out_channels)
    };
    match (node.op_name.as_str(), input.as_slice(), weights.as_slice(), output.as_slice()) {
        ("Conv" | "FusedConv", &[batch, c, h, w], &[o, i, kh, kw], &[_, oc, oh, ow]) => {
            let stride = h.div_ceil(oh);
            if h != w || oh != ow || kh != kw || h > 65_535 || kh > 255 || oh != (h - 1) / stride + 1 {
                return Err("its maps or kernel are not square, or it is not padded to the same size".to_string());
            }
            if o != oc || !c.is_multiple_of(i) || !o.is_multiple_of(c / i) {
                return Err("its weights do not fit its channels".to_string());
            }
            let activation = if node.op_name == "FusedConv" { Activation::Relu } else { Activation::None };
            Ok((TableOp { kernel: kh, stride, groups: c / i, activation, ..op(TableKind::Conv, h, c, oh, o) }, batch))
        }
        ("Gemm" | "FusedGemm" | "MatMul", &[batch, c], &[a, b], &[_, o]) if [(c, o), (o, c)].contains(&(a, b)) => {
            Ok((op(TableKind::Linear, 1, c, 1, o), batch))
        }
        ("GlobalAveragePool", &[batch, c, h, w], _, &[_, oc, 1, 1]) if h == w && c == oc && h <= 65_535 => {
            Ok((op(TableKind::AvgPool, h, c, 1, c), batch))
        }
        ("Conv" | "FusedConv" | "Gemm" | "FusedGemm" | "MatMul" | "GlobalAveragePool", ..) => {
            Err("its shapes are not those of an image network".to_string())
        }
        _ => Err("no operator of a table".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::testing::{read_back, refused};

    fn event(name: &str, op: &str, dur: u32, shapes: [&str; 3]) -> String {
        let [input, weights, output] = shapes;
        format!(
            r#"{{"cat" : "Node","pid" :1,"tid" :1,"dur" :{dur},"ts" :5,"ph" : "X","name" :"{name}_kernel_time","args" :
            {{"provider" : "CPUExecutionProvider","op_name" : "{op}","output_size" : "64",
            "input_type_shape" : [{{"float":{input}}},{{"float":{weights}}}],
            "output_type_shape" : [{{"float":{output}}}]}}}}"#
        )
    }

    /// Made up in the format of the runtime: two nodes and three runs.
    pub(crate) fn profile() -> String {
        let run = |durations: [u32; 3]| {
            [
                event("stem", "Conv", durations[0], ["[1,3,32,32]", "[8,3,3,3]", "[1,8,16,16]"]),
                event("dw", "FusedConv", durations[1], ["[1,8,16,16]", "[8,1,5,5]", "[1,8,8,8]"]),
                event("act", "HardSwish", 10, ["[1,8,8,8]", "[1]", "[1,8,8,8]"]),
                event("fc", "Gemm", durations[2], ["[1,8]", "[10,8]", "[1,10]"]),
            ]
            .join(",")
        };
        let session =
            r#"{"cat" : "Session","pid" :1,"tid" :1,"dur" :9,"ts" :1,"ph" : "X","name" :"model_run","args" : {}}"#;
        format!("[{session},{},{},{}]", run([900, 900, 900]), run([100, 50, 20]), run([110, 60, 20]))
    }

    fn parsed(text: &str) -> Result<Imported, HwError> {
        parse(Path::new("p.json"), text)
    }

    #[test]
    fn nodes_with_shapes_become_operators() {
        let imported = parsed(&profile()).unwrap();
        let rows = imported.table.rows();
        assert_eq!(rows.len(), 3);
        let latency = rows[0].latency.unwrap();
        assert!((latency.value - 105e-6).abs() < 1e-12 && latency.count == Some(2), "the first run warms up");
        let op = rows[1].key.op();
        assert_eq!((op.groups, op.kernel, op.stride, op.activation), (8, 5, 2, Activation::Relu));
        assert_eq!((rows[2].key.op().kind, rows[2].key.op().out_channels), (TableKind::Linear, 10));
        let notes = imported.table.notes().join("\n");
        assert!(notes.contains("HardSwish") && notes.contains("taken for relu"), "{notes}");
        assert_eq!(imported.manifest.processing_unit.as_deref(), Some("CPUExecutionProvider"));
        read_back(&imported);
    }

    #[test]
    fn what_is_wrong_in_a_profile_is_said() {
        let check = |from: &str, to: &str, words: &[&str]| {
            refused(parsed(&profile().replacen(from, to, 1)).map(|_| ()), words);
        };
        check("\"dur\" :100", "\"dur\" :-100", &["stem", "dur"]);
        check("\"dur\" :100", "\"time\" :100", &["stem", "dur"]);
        check("\"name\" :\"dw", "\"name\" :\"wd", &["ran"]);
        check("[1,3,32,32]", "[1,3,64,64]", &["different shapes"]);
        check("[1,3,32,32]", "[1,3,-32,32]", &["ort-profile"]);
        refused(parsed("[]").map(|_| ()), &["kernel_time"]);
        refused(parsed("{}").map(|_| ()), &["ort-profile"]);
    }

    #[test]
    fn a_folder_answers_its_work_list() {
        let folder = tempfile::tempdir().unwrap();
        let header =
            "op_type,in_h,in_w,in_c,out_h,out_w,out_c,kernel,stride,groups,mid_c,se,se_mid_c,activation,residual";
        let list = format!("{header},latency_ms,source_key\nmbconv,16,16,8,8,8,8,5,2,1,24,0,0,hswish,0,,block\n");
        std::fs::write(folder.path().join("operators.csv"), list).unwrap();
        std::fs::write(folder.path().join("block.json"), profile()).unwrap();
        let imported = read(folder.path()).unwrap();
        let latency = imported.table.rows()[0].latency.unwrap();
        assert!((latency.value - (180e-6 + 200e-6) / 2.0).abs() < 1e-12);
        assert!(latency.std.is_some());
        read_back(&imported);
    }
}
