//! Every reader on damaged files: it reads them or refuses them, and neither panics nor hangs.
//!
//! Inputs are random bytes and mutations of small valid files, from a seed, so that a failure can be repeated. The
//! variable `OFA_MALFORMED_INPUTS` sets how many each reader gets: with 100000, they get 1.5 million together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use storage::failure::Failure;
use storage::table::Cells;

use crate::defects;
use crate::error::HwError;
use crate::import::{
    help, hw_nas_bench, netadapt, ofa_yaml, ort_profile, proxyless_yaml, single_path_nas, tflite_benchmark,
};
use crate::library::SHIPPED;
use crate::manifest::Manifest;
use crate::networks::Networks;
use crate::table::OpTable;
use crate::table_file::from_cells;
use crate::target::Target;
use crate::testing::{Picker, mobilenet_v2};

/// Longest that one small input may take: thousands of times what it needs.
const LIMIT: Duration = Duration::from_secs(5);
/// What readers trip over.
const TOKENS: [&str; 24] = [
    "NaN",
    "inf",
    "-1",
    "0",
    "1e999",
    "1e-999",
    "18446744073709551616",
    "4294967295",
    "4294967296",
    "\"",
    "'",
    "{",
    "}",
    "[[[[[[[[",
    "]",
    ",",
    ":",
    "\n",
    "\t",
    "\u{0}",
    "é",
    "&a *a",
    "null",
    "- ",
];

const TABLE: &str = "op_type,in_h,in_w,in_c,out_h,out_w,out_c,kernel,stride,groups,mid_c,se,se_mid_c,activation,\
    residual,network_resolution,latency_ms,latency_ms_std,latency_n,energy_mJ,energy_method,energy_scope,power_mode\n\
    conv,32,32,3,16,16,8,3,2,1,0,0,0,relu6,0,32,2,0.3,5,4,measured_rail,board_dc,MAXN\n\
    mbconv,16,16,8,16,16,8,5,1,1,48,1,16,hswish,1,,1.25,,,3,measured_rail,board_dc,MAXN\n\
    linear,1,1,8,1,1,10,1,1,1,0,0,0,none,0,,1,0.4,,1,measured_rail,board_dc,MAXN\n";
const NETWORKS: &str =
    "subnet,ops,resolution,latency_ms,energy_mJ,batch\n\"{\"\"ks\"\":[3],\"\"r\"\":32}\",,,2.5,,1\n,1 2 8,32,3,4,1\n";
const HELP: &str = "idx,arch,pixel3,v100_64\n0,7 8 1 8 4 8 8 8 7 4 1 4 7 3 2 7 3 2 4 2 4 5,17.5,3\n";
const OFA: &str = "Conv-input:160x160x3-output:80x80x24: {mean: 1.5, std: 0.1, count: 50}\n\
    expanded_conv-input:80x80x24-output:40x40x32-expand:72-kernel:5-stride:2-idskip:0-se:1-hs:1:\n\
    \x20 mean: 2\n  count: 3\n";
const PROXYLESS: &str = "Logits-input:7x7x320-output:1000: {mean: 1.5, var: 0.1, count: 50}\n\
    expanded_conv-input:80x80x24-output:40x40x32-expand:6-kernel:5-stride:2-idskip:0:\n  mean: 2\n  var: 3\n";
const HW_NAS_BENCH: &str = r#"{"edgegpu_latency": {"ConvBlock_H32_W32_Cin16_Cout24_exp3_kernel5_stride2_group1": 0.7,
    "Skip_H32_W32_Cin16_Cout16_stride1": 0.0, "FC_Cin1504_Cout10": 0.5}, "edgegpu_energy": {"FC_Cin1504_Cout10": 3}}"#;
const NETADAPT: &str = r#"{"a":{"is_depthwise":false,"num_in_channels":3,"num_out_channels":16,"kernel_size":[3,3],
    "stride":[2,2],"padding":[1,1],"groups":1,"layer_type_str":"Conv2d","input_feature_map_size":[1,3,32,32],
    "latency":[[3,16,0.004],[3,8,0.003]]}}"#;
const TFLITE: &str = "INFO: #threads used for CPU inference: [4]\n\
    INFO: Operator-wise Profiling Info for Regular Benchmark Runs:\n\
    ============================== Run Order ==============================\n\
    \t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]\n\
    \tCONV_2D\t0.3\t0.250\t50.0%\t50.0%\t0.0\t1\t[a]:0\n\tADD\t0.2\t0.250\t50.0%\t100.0%\t0.0\t1\t[b]:1\n\n\
    Timings (microseconds): count=50 first=600 curr=490 min=480 max=600 avg=500.5 std=12\n";
const ORT: &str = r#"[{"cat":"Node","ts":1,"dur":90,"name":"a_kernel_time","args":{"op_name":"Conv","provider":"CPU",
    "input_type_shape":[{"float":[1,3,32,32]},{"float":[8,3,3,3]}],"output_type_shape":[{"float":[1,8,16,16]}]}},
    {"cat":"Node","ts":91,"dur":5,"name":"b_kernel_time","args":{"op_name":"Gemm","input_type_shape":[{"float":[1,8]},
    {"float":[10,8]}],"output_type_shape":[{"float":[1,10]}]}},
    {"cat":"Session","ts":0,"dur":99,"name":"model_run","args":{}}]"#;
const MANIFEST: &str = "schema: ofa.table/1\ndevice: x\nbatch: 1\nenergy: {power_W: 2, scope: wall_ac}\n\
    latency:\n  correction: {scale: 1, offset: -2, networks: 4, mape: 0.1}\n";

/// An accelerator described in place follows.
const COUNTED: &str = "schema: ofa.target/1\nenergy:\n  accelerator:\n    ";

fn single_path_nas_file() -> String {
    let layer = |layer: usize| format!("\"{layer}\": {{\"0\": 1.5, \"1\": 3, \"2\": 2, \"3\": 4.25}}");
    format!("{{{}}}", (0..22).map(layer).collect::<Vec<_>>().join(", "))
}

type Reader = (&'static str, String, fn(&Path, &str) -> Result<(), HwError>);

/// Each text reader with a valid file of its own.
fn readers() -> Vec<Reader> {
    fn table(path: &Path, text: &str) -> Result<(), HwError> {
        checked(path, &from_cells(path, &Cells::from_csv(path, text.as_bytes())?)?)
    }
    fn checked(path: &Path, table: &OpTable) -> Result<(), HwError> {
        defects::check(table, path).map(|_| ())
    }
    /// A target without a table, asked for the cost of a network.
    fn target(path: &Path, text: &str) -> Result<(), HwError> {
        let target = Target::new("damaged", Manifest::parse(path, text)?, None, path)?;
        let _ = target.cost_of(&mobilenet_v2(35, 96));
        Ok(())
    }
    let shipped = |name: &str| SHIPPED.iter().find(|(shipped, _)| *shipped == name).unwrap().1.to_string();
    let all: [Reader; 15] = [
        ("fitted target", shipped("pixel3"), target),
        ("target fitted to networks", shipped("v100"), target),
        ("target per MAC", shipped("stm32l4r5"), target),
        (
            "counted target",
            format!("{COUNTED}{}", include_str!("../accelerators/eyeriss.yaml").replace('\n', "\n    ")),
            target,
        ),
        ("table", TABLE.to_string(), table),
        ("networks", NETWORKS.to_string(), |path, text| Networks::parse(path, text).map(|_| ())),
        ("manifest", MANIFEST.to_string(), |path, text| Manifest::parse(path, text).map(|_| ())),
        ("help", HELP.to_string(), |path, text| help::parse(path, text, Some("pixel3"), "x").map(|_| ())),
        ("ofa-yaml", OFA.to_string(), |path, text| {
            checked(path, &OpTable::from_rows(path, ofa_yaml::rows_of(path, text, &mut Vec::new())?)?)
        }),
        ("proxyless-yaml", PROXYLESS.to_string(), |path, text| {
            checked(path, &OpTable::from_rows(path, proxyless_yaml::rows_of(path, text, &mut Vec::new())?)?)
        }),
        ("hw-nas-bench", HW_NAS_BENCH.to_string(), |path, text| {
            checked(path, &hw_nas_bench::parse(path, text, hw_nas_bench::Device::JetsonTx2)?.table)
        }),
        ("single-path-nas", single_path_nas_file(), |path, text| {
            checked(path, &single_path_nas::parse(path, text)?.table)
        }),
        ("netadapt", NETADAPT.to_string(), |path, text| {
            checked(path, &OpTable::from_rows(path, netadapt::rows_of(path, text, &mut Vec::new())?)?)
        }),
        ("tflite-benchmark", TFLITE.to_string(), |path, text| tflite_benchmark::parse(path, text).map(|_| ())),
        ("ort-profile", ORT.to_string(), |path, text| checked(path, &ort_profile::parse(path, text)?.table)),
    ];
    all.into()
}

fn inputs() -> usize {
    std::env::var("OFA_MALFORMED_INPUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(2000)
}

fn below(picker: &mut Picker, end: usize) -> usize {
    (picker.next() % end.max(1) as u64) as usize
}

/// A tenth random bytes, the rest mutations of `valid`.
fn damaged(picker: &mut Picker, valid: &[u8]) -> Vec<u8> {
    if below(picker, 10) == 0 {
        return (0..below(picker, 200)).map(|_| below(picker, 256) as u8).collect();
    }
    let mut bytes = valid.to_vec();
    for _ in 0..=below(picker, 4) {
        let at = below(picker, bytes.len());
        let end = (at + 1 + below(picker, 30)).min(bytes.len());
        match below(picker, 6) {
            0 if !bytes.is_empty() => bytes[at] = below(picker, 256) as u8,
            1 => drop(bytes.drain(at.min(end)..end)),
            2 => {
                let copy = bytes[at.min(end)..end].to_vec();
                bytes.splice(at.min(end)..at.min(end), copy);
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at.min(end)..end, TOKENS[below(picker, TOKENS.len())].bytes())),
            _ => drop(bytes.splice(at..at, TOKENS[below(picker, TOKENS.len())].bytes())),
        }
    }
    bytes
}

/// Runs `read` on one input; a panic or a long wait fails the test and shows the input.
fn survives(what: &str, input: &[u8], read: impl FnOnce() -> Result<(), HwError>) -> bool {
    let start = Instant::now();
    let shown = || format!("{what}: {:?}", String::from_utf8_lossy(input));
    let result = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| panic!("panic on {}", shown()));
    assert!(start.elapsed() < LIMIT, "{:?} on {}", start.elapsed(), shown());
    if let Err(error) = &result {
        let content = error.kind().exit_code() == 3 || matches!(error, HwError::UnknownDevice { .. });
        assert!(content, "{error} on {}", shown());
    }
    result.is_ok()
}

#[test]
fn damaged_text_files_are_read_or_refused() {
    let path = Path::new("damaged");
    for (name, valid, read) in readers() {
        assert!(survives(name, valid.as_bytes(), || read(path, &valid)), "{name}: the valid file is refused");
        let mut picker = Picker(7);
        let (mut accepted, inputs) = (0, inputs());
        for _ in 0..inputs {
            let bytes = damaged(&mut picker, valid.as_bytes());
            let text = String::from_utf8_lossy(&bytes);
            accepted += usize::from(survives(name, &bytes, || read(path, &text)));
        }
        println!("{name}: {inputs} inputs, {accepted} readable");
    }
}
