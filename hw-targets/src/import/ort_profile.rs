//! Profiles of ONNX Runtime (`SessionOptions.enable_profiling`): a JSON list of trace events.
//!
//! Each run of a node is an event with its duration (`ort_trace`) and, in `args`, the operator's name, the execution
//! provider and the shapes of inputs and outputs. A file is read as the operators of one network: convolutions, linear
//! layers and global average pooling. A folder with a work list (`work_list`) holds one profile per operator instead,
//! whose latency is the sum over its nodes; blocks come in that way. The first of several runs warms up and is left out.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::HwError;
use crate::import::Imported;
use crate::import::ort_trace::{FORMAT, Node, Profile, malformed, measurement};
use crate::import::repeats::merged;
use crate::import::work_list::answered;
use crate::manifest::{Manifest, TABLE_SCHEMA};
use crate::table::{OpKey, OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use network::op::Activation;
use storage::file::{Place, read_text};

/// What stands in the name or the operator of a node that the runtime laid out anew.
const LAYOUTS: [&str; 4] = ["_nchwc", "ReorderInput", "ReorderOutput", "Nhwc"];

/// Reads one profile as the operators of a network, or a folder of profiles with its work list.
///
/// # Errors
/// [`HwError::File`] for what cannot be read and for what is not a profile, [`HwError::EmptyTable`].
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
    if let Some(node) = profile.nodes.iter().find(|node| is_laid_out_anew(node)) {
        let problem = format!(
            "node {} ({}) has a layout of the processor's, whose widths are not the network's: profile at \
             ORT_ENABLE_EXTENDED or below",
            node.name, node.op_name
        );
        return Err(malformed(path, problem));
    }
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
    if let Some(share) = profile.share() {
        notes.push(format!("its nodes are {:.0} % of the time of a run: the rest is between them", 100.0 * share));
    }
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

fn is_laid_out_anew(node: &Node) -> bool {
    LAYOUTS.iter().any(|mark| node.name.ends_with(mark) || node.op_name.starts_with(mark))
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
        // Each ends where the next begins.
        let start = match name {
            "stem" => 0,
            "dw" => 1000,
            "act" => 2000,
            _ => 3000,
        };
        let [input, weights, output] = shapes;
        format!(
            r#"{{"cat" : "Node","pid" :1,"tid" :1,"dur" :{dur},"ts" :{start},"ph" : "X","name" :"{name}_kernel_time","args" :
            {{"provider" : "CPUExecutionProvider","op_name" : "{op}","output_size" : "64",
            "input_type_shape" : [{{"float":{input}}},{{"float":{weights}}}],
            "output_type_shape" : [{{"float":{output}}}]}}}}"#
        )
    }

    /// Made up in the format of the runtime: two nodes and three runs.
    pub(crate) fn profile() -> String {
        let session = |took: u32| {
            let session = r#"{"cat" : "Session","pid" :1,"tid" :1,"dur" :3000,"ts" :1,"ph" : "X","name" :"model_run"}"#;
            session.replace("3000", &took.to_string())
        };
        let run = |durations: [u32; 3]| {
            [
                event("stem", "Conv", durations[0], ["[1,3,32,32]", "[8,3,3,3]", "[1,8,16,16]"]),
                event("dw", "FusedConv", durations[1], ["[1,8,16,16]", "[8,1,5,5]", "[1,8,8,8]"]),
                event("act", "HardSwish", 10, ["[1,8,8,8]", "[1]", "[1,8,8,8]"]),
                event("fc", "Gemm", durations[2], ["[1,8]", "[10,8]", "[1,10]"]),
                session(60 + durations.iter().sum::<u32>()),
            ]
            .join(",")
        };
        format!("[{},{},{}]", run([900, 900, 900]), run([100, 50, 20]), run([110, 60, 20]))
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
        for (from, to) in [("stem_kernel", "stem_nchwc_kernel"), ("HardSwish", "ReorderOutput")] {
            refused(parsed(&profile().replace(from, to)).map(|_| ()), &["ORT_ENABLE_EXTENDED"]);
        }
        check("[1,3,32,32]", "[1,3,64,64]", &["different shapes"]);
        check("[1,3,32,32]", "[1,3,-32,32]", &["ort-profile"]);
        check("\"dur\" :230", "\"dur\" :23000", &["% of the time of a run"]);
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
