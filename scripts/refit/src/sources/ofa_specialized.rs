//! Networks that once-for-all's authors searched for one device each and timed on it (`ofa/ofa_specialized`): a folder a
//! network with `net.config` (its layers) and `run.config` (its image size), and an `index.csv` with the device, the
//! latency in whole milliseconds and the accuracy. Only the MobileNetV3 layout is read.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use hw_targets::error::HwError;
use hw_targets::table_op::{TableKind, TableOp, workload};
use network::op::{Activation, Workload};
use network::published::make_divisible;
use storage::file::{FileError, read_text};
use storage::table::{Cells, Line};

const FORMAT: &str = "once-for-all network";

#[derive(Deserialize)]
struct RunConfig {
    image_size: u32,
}

#[derive(Deserialize)]
struct NetConfig {
    first_conv: Convolution,
    blocks: Vec<Block>,
    final_expand_layer: Convolution,
    feature_mix_layer: Convolution,
    classifier: Classifier,
}

#[derive(Deserialize)]
struct Convolution {
    kernel_size: u32,
    stride: u32,
    out_channels: u32,
    act_func: Option<String>,
    use_bn: bool,
}

#[derive(Deserialize)]
struct Block {
    mobile_inverted_conv: Inverted,
    shortcut: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Inverted {
    out_channels: u32,
    kernel_size: u32,
    stride: u32,
    expand_ratio: f64,
    mid_channels: Option<u32>,
    act_func: Option<String>,
    use_se: bool,
}

#[derive(Deserialize)]
struct Classifier {
    out_features: u32,
}

/// The networks under `folder` that were timed on `device`, each with its latency in seconds.
///
/// # Errors
/// Those of reading; [`HwError::File`] for a latency that is none and for what is no such network.
pub fn read(folder: &Path, device: &str) -> Result<Vec<(Workload, f64)>, HwError> {
    let path = folder.join("index.csv");
    let table = Cells::from_csv(&path, read_text(&path, "CSV")?.as_bytes())?;
    let columns = table.index(&path)?;
    let mut networks = Vec::new();
    for (place, cells) in &table.rows {
        let line = Line { path: &path, place: *place, columns: &columns, cells };
        if line.text("device") != device || line.text("metric") != "latency_ms" {
            continue;
        }
        let latency = line.number("value")?.filter(|value| *value > 0.0);
        let latency = latency.ok_or_else(|| line.bad("value", "is no measurement"))?;
        networks.push((network(&folder.join(line.text("name")))?, latency * 1e-3));
    }
    Ok(networks)
}

fn network(folder: &Path) -> Result<Workload, HwError> {
    let run: RunConfig = read_json(&folder.join("run.config"))?;
    let path = folder.join("net.config");
    lower(&read_json(&path)?, run.image_size).map_err(|problem| FileError::malformed(&path, FORMAT, problem).into())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, HwError> {
    let malformed = |error: serde_json::Error| FileError::malformed(path, FORMAT, error.to_string());
    Ok(serde_json::from_str(&read_text(path, FORMAT)?).map_err(malformed)?)
}

fn lower(net: &NetConfig, resolution: u32) -> Result<Workload, String> {
    let mut at = (resolution, 3);
    let mut ops = Vec::new();
    let next = |at: (u32, u32), stride: u32, width: u32| match at.0 {
        0 => Err("its maps shrink to nothing".to_string()),
        size if stride > 0 => Ok(((size - 1) / stride + 1, width)),
        _ => Err("a stride is zero".to_string()),
    };
    let conv = |at: (u32, u32), layer: &Convolution| {
        let to = next(at, layer.stride, layer.out_channels)?;
        let plain = TableOp::plain(TableKind::Conv, at.0, at.1, to.0, to.1);
        let activation = activation(layer.act_func.as_deref())?;
        Ok::<TableOp, String>(TableOp {
            kernel: layer.kernel_size,
            stride: layer.stride,
            activation,
            batch_norm: layer.use_bn,
            ..plain
        })
    };
    let mut push = |op: TableOp, at: &mut (u32, u32)| {
        *at = (op.out_size, op.out_channels);
        ops.push(op);
    };
    push(conv(at, &net.first_conv)?, &mut at);
    for block in &net.blocks {
        let inner = &block.mobile_inverted_conv;
        let to = next(at, inner.stride, inner.out_channels)?;
        let mid = inner.mid_channels.unwrap_or((f64::from(at.1) * inner.expand_ratio).round() as u32);
        let op = TableOp {
            kernel: inner.kernel_size,
            stride: inner.stride,
            mid_channels: mid,
            expand_conv: inner.expand_ratio != 1.0,
            se_channels: if inner.use_se { make_divisible(f64::from(mid / 4)) } else { 0 },
            activation: activation(inner.act_func.as_deref())?,
            residual: block.shortcut.is_some(),
            batch_norm: true,
            ..TableOp::plain(TableKind::MbConv, at.0, at.1, to.0, to.1)
        };
        push(op, &mut at);
    }
    push(conv(at, &net.final_expand_layer)?, &mut at);
    push(TableOp::plain(TableKind::AvgPool, at.0, at.1, 1, at.1), &mut at);
    push(conv(at, &net.feature_mix_layer)?, &mut at);
    push(TableOp::plain(TableKind::Linear, 1, at.1, 1, net.classifier.out_features), &mut at);
    Ok(workload(resolution, &ops))
}

fn activation(word: Option<&str>) -> Result<Activation, String> {
    let word = word.unwrap_or("none");
    Activation::parse(word).ok_or_else(|| format!("there is no activation {word:?}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use storage::failure::Failure;

    use super::*;
    use crate::networks::{Genome, Networks};
    use crate::testing::shared;

    const INDEX: &str = "name,device,metric,value\nnet,phone,latency_ms,20\nnet,other,latency_ms,9\nnet,phone,macs,5\n";
    const NET: &str = r#"{"first_conv": {"kernel_size": 3, "stride": 2, "out_channels": 16, "act_func": "h_swish",
        "use_bn": true}, "blocks": [{"mobile_inverted_conv": {"out_channels": 24, "kernel_size": 5, "stride": 2,
        "expand_ratio": 3, "mid_channels": null, "act_func": "relu", "use_se": true}, "shortcut": null}],
        "final_expand_layer": {"kernel_size": 1, "stride": 1, "out_channels": 96, "act_func": "h_swish", "use_bn": true},
        "feature_mix_layer": {"kernel_size": 1, "stride": 1, "out_channels": 128, "act_func": "h_swish",
        "use_bn": false}, "classifier": {"out_features": 10}}"#;

    fn written(index: &str, net: &str, run: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("net")).unwrap();
        for (name, text) in [("index.csv", index), ("net/net.config", net), ("net/run.config", run)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    /// An error about content that contains all of `words`.
    fn refused(result: Result<(), HwError>, words: &[&str]) {
        let error = result.unwrap_err();
        assert_eq!(error.kind().exit_code(), 3, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
        }
    }

    #[test]
    fn one_device_of_several_is_read() {
        let folder = written(INDEX, NET, r#"{"image_size": 33}"#);
        let networks = read(folder.path(), "phone").unwrap();
        let [(network, latency)] = &networks[..] else { panic!("{networks:?}") };
        assert!((latency - 0.02).abs() < 1e-12);
        let rows: Vec<TableOp> = network.ops.iter().map(|op| TableOp::of(op).unwrap()).collect();
        let block = rows[1];
        assert_eq!((block.in_size, block.out_size, block.mid_channels, block.se_channels), (17, 9, 48, 16));
        assert_eq!((rows.len(), rows[3].in_channels, rows[5].in_channels), (6, 96, 128));
        assert_eq!(network.resolution, 33);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        let check = |index: &str, net: &str, run: &str, words: &[&str]| {
            refused(read(written(index, net, run).path(), "phone").map(|_| ()), words);
        };
        let run = r#"{"image_size": 32}"#;
        check(&INDEX.replace("20", "0"), NET, run, &["index.csv", "line 2", "no measurement"]);
        check(INDEX, "{}", run, &["net.config", "first_conv"]);
        check(INDEX, NET, "{}", &["run.config", "image_size"]);
        check(INDEX, &NET.replace("\"relu\"", "\"tanh\""), run, &["net.config", "tanh"]);
        check(INDEX, &NET.replace("\"stride\": 2", "\"stride\": 0"), run, &["net.config", "stride is zero"]);
    }

    /// The same networks by their choices, operator by operator, and by their published MACs.
    #[test]
    fn the_published_networks() {
        let Some(shared) = shared() else { return };
        let text = fs::read_to_string(shared.join("golden/ofa-specialized.json")).unwrap();
        let golden: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let of_phone = |network: &&serde_json::Value| network["id"].as_str().unwrap().starts_with("pixel1_lat@");
        let networks = read(&shared.join("data/hw/ofa-specialized"), "pixel1").unwrap();
        assert_eq!(networks.len(), 7);
        for ((network, latency), golden) in networks.iter().zip(golden.iter().filter(of_phone)) {
            let id = golden["id"].as_str().unwrap();
            assert!(id.contains(&format!("@{:.0}ms", latency * 1e3)), "{id}");
            let list = |key: &str| -> Vec<u32> {
                golden[key].as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as u32).collect()
            };
            let genome = Genome { kernels: list("ks"), expands: list("e"), depths: list("d") };
            let space = if golden["space"] == "mbv3-w1.2" { Networks::mbv3_wide() } else { Networks::mbv3_narrow() };
            let resolution = golden["r"].as_u64().unwrap() as u32;
            assert_eq!(network, &space.network(&genome, resolution), "{id}");
            let macs = network.macs().0 as f64 / 1e6 - golden["macs_m"].as_f64().unwrap();
            assert!(macs.abs() < 0.0051, "{id}: {macs}");
        }
    }
}
