//! The FBNet part of HW-NAS-Bench (Li et al., ICLR 2021): 225 operators on five devices as one JSON file.
//!
//! Keys such as `ConvBlock_H112_W112_Cin16_Cout16_exp1_kernel3_stride1_group1` name absolute shapes and an expand
//! ratio. A block of ratio 1 keeps its expand convolution; groups apply to both 1×1 convolutions; activations are
//! ReLU. A `Skip` is an identity, or a 1×1 convolution where it must change width or size. The published file has
//! known defects, which are left out with a note: zeros, and energies equal to the latency.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::cost::{Method, Scope};
use crate::error::HwError;
use crate::import::json_entries::Entries;
use crate::import::{Imported, one_file};
use crate::manifest::{Manifest, TABLE_SCHEMA};
use crate::table::{Measurement, OpKey, OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use network::op::Activation;
use storage::file::{FileError, Place, read_text};

/// Devices in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// NVIDIA Jetson TX2, TensorRT: latency, and energy metered on the board's rail.
    JetsonTx2,
    /// Google Pixel 3, TFLite: latency.
    Pixel3,
    /// Raspberry Pi 4, TFLite: latency.
    RaspberryPi4,
    /// Eyeriss, simulated: latency and energy.
    Eyeriss,
    /// Xilinx ZC706: latency; its energy is 7 W × latency.
    Zc706,
}

impl Device {
    /// All of them, with the names used on the command line.
    pub const ALL: [(&'static str, Device); 5] = [
        ("jetson-tx2", Device::JetsonTx2),
        ("pixel3", Device::Pixel3),
        ("raspberry-pi-4", Device::RaspberryPi4),
        ("eyeriss", Device::Eyeriss),
        ("zc706", Device::Zc706),
    ];

    fn metric_prefix(self) -> &'static str {
        match self {
            Device::JetsonTx2 => "edgegpu",
            Device::Pixel3 => "pixel3",
            Device::RaspberryPi4 => "raspi4",
            Device::Eyeriss => "eyeriss",
            Device::Zc706 => "fpga",
        }
    }

    fn energy_provenance(self) -> Option<(Method, Scope)> {
        match self {
            Device::JetsonTx2 => Some((Method::MeasuredRail, Scope::BoardDc)),
            Device::Eyeriss => Some((Method::Simulated, Scope::Chip)),
            Device::Zc706 => Some((Method::DerivedPower, Scope::BoardDc)),
            Device::Pixel3 | Device::RaspberryPi4 => None,
        }
    }
}

/// Reads one device out of the file, or out of the only JSON file of a folder.
///
/// # Errors
/// [`FileError::NotFound`], [`FileError::Io`]; [`FileError::Malformed`] if it is not that file.
pub fn read(path: &Path, device: Device) -> Result<Imported, HwError> {
    let file = one_file(path, "hw-nas-bench", &["json"])?;
    parse(&file, &read_text(&file, "hw-nas-bench")?, device)
}

/// Reads the text of such a file.
pub(crate) fn parse(path: &Path, text: &str, device: Device) -> Result<Imported, HwError> {
    let malformed = |problem: String| HwError::from(FileError::malformed(path, "hw-nas-bench", problem));
    let metrics: Entries<Entries<f64>> = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let metric = |name: &str| metrics.get(&format!("{}_{name}", device.metric_prefix()));
    let latencies = metric("latency").ok_or_else(|| malformed("the device's latencies are not in it".to_string()))?;
    let energies: Option<HashMap<&str, f64>> =
        metric("energy").map(|energies| energies.0.iter().map(|(key, energy)| (key.as_str(), *energy)).collect());
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for (at, (key, latency)) in latencies.0.iter().enumerate() {
        let op = match op_of(key) {
            Ok(op) => op,
            Err(reason) => {
                notes.push(format!("{key} was left out: {reason}"));
                continue;
            }
        };
        if !(latency.is_finite() && *latency > 0.0) {
            notes.push(format!("{key} was left out: its latency is {latency}, which is no measurement"));
            continue;
        }
        let energy = energies.as_ref().and_then(|energies| energies.get(key.as_str())).copied().filter(|energy| {
            let usable = energy.is_finite() && *energy > 0.0 && energy != latency;
            if !usable {
                notes.push(format!("{key}: its energy of {energy} is zero or a copy of the latency and was left out"));
            }
            usable
        });
        rows.push(Row {
            key: OpKey::new(&op, None),
            latency: Some(Measurement::of(latency / 1e3)),
            energy: energy.map(|energy| Measurement::of(energy / 1e3)),
            energy_method: device.energy_provenance().map(|(method, _)| method),
            energy_scope: device.energy_provenance().map(|(_, scope)| scope),
            source_key: Some(key.clone()),
            place: Place::Row(at as u64 + 1),
        });
    }
    let manifest = Manifest {
        schema: TABLE_SCHEMA.to_string(),
        batch: Some(1),
        source: Some("HW-NAS-Bench v1.0 (ICLR 2021), FBNet operators".to_string()),
        licence: Some("MIT".to_string()),
        composition: Some("sum".to_string()),
        ..Manifest::default()
    };
    Ok(Imported { manifest, table: OpTable::from_rows(path, rows)?.with_notes(notes) })
}

fn op_of(key: &str) -> Result<TableOp, String> {
    let mut parts = key.split('_');
    let kind = parts.next().unwrap_or_default();
    let fields: BTreeMap<&str, u32> = parts
        .filter_map(|part| {
            let digits = part.find(|c: char| c.is_ascii_digit())?;
            Some((&part[..digits], part[digits..].parse().ok().filter(|n| *n <= 100_000)?))
        })
        .collect();
    let field = |name: &str| fields.get(name).copied().filter(|n| *n > 0).ok_or(format!("the key has no {name}"));
    let in_size = if kind == "FC" { 1 } else { field("H")? };
    let stride = if fields.contains_key("stride") { field("stride")? } else { 1 };
    let (in_channels, out_channels) = (field("Cin")?, field("Cout")?);
    let out_size = (in_size - 1) / stride + 1;
    let plain =
        TableOp { batch_norm: true, ..TableOp::plain(TableKind::Conv, in_size, in_channels, out_size, out_channels) };
    match kind {
        "ConvBlock" => Ok(TableOp {
            kind: TableKind::MbConv,
            kernel: field("kernel")?,
            stride,
            groups: field("group")?,
            mid_channels: plain.in_channels.checked_mul(field("exp")?).ok_or("its width is beyond any network")?,
            expand_conv: true,
            activation: Activation::Relu,
            residual: stride == 1 && plain.in_channels == plain.out_channels,
            ..plain
        }),
        "ConvNorm" => Ok(TableOp { kernel: field("kernel")?, stride, activation: Activation::Relu, ..plain }),
        "AvgP" => Ok(TableOp { kind: TableKind::AvgPool, out_size: 1, batch_norm: false, ..plain }),
        "FC" => Ok(TableOp { kind: TableKind::Linear, batch_norm: false, ..plain }),
        "Skip" if stride == 1 && plain.in_channels == plain.out_channels => {
            Ok(TableOp { kind: TableKind::AvgPool, batch_norm: false, ..plain })
        }
        "Skip" => Ok(TableOp { stride, activation: Activation::Relu, ..plain }),
        other => Err(format!("there is no operator {other:?} in this format")),
    }
}
