//! `sweep.parquet`: one row for every point that was computed.
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `point` | int64 | its number in the sweep, from 0 |
//! | `target`, `bundle`, `space` | text | where; the bundle as it is called, whether or not the file says so |
//! | `method` | text | algorithm or baseline |
//! | `is_baseline` | boolean | which of the two |
//! | `seed` | int64 | 0 where nothing is random |
//! | `budget` | text | as the file says it |
//! | `energy_mJ_limit`, `latency_ms_limit`, `macs_limit`, `params_limit`, `flash_bytes_limit`, `peak_memory_bytes_limit` | double, optional | the ceilings here |
//! | `status` | text | `found`, `infeasible` or `failed` |
//! | `message` | text | why nothing was found |
//! | `top1` | double, optional | predicted, a fraction |
//! | `top1_std` | double, optional | its standard deviation from what very many images would say |
//! | `top1_spread` | double, optional | between the predictor's members |
//! | `energy_mJ`, `energy_mJ_std`, `latency_ms`, `latency_ms_std` | double, optional | expected, and their standard deviation |
//! | `macs`, `params`, `flash_bytes`, `peak_memory_bytes` | double, optional | of the subnet |
//! | `resolution` | double, optional | in pixels |
//! | `subnet` | text | as JSON (`ofa.subnet/1`); empty where nothing was found |
//! | `evaluations` | double, optional | of the search |
//! | `network` | text | folder of the network that was made of it, in that of the sweep; empty where none was |
//! | `measured_top1`, `measured_top1_std` | double, optional | of that network, a fraction, and its standard error |
//! | `measured_part` | text | on which images: `test`, or what they may be called instead |
//! | `refined_energy_mJ`, `refined_latency_ms`, … | double, optional | what it costs after refinement, of what the budget limits |
//! | `seconds` | double | that it took, on one thread |
//! | `key` | text | digest of all that the result depends on |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;

use network::units::Quantity;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;
use storage::parquet_file::{self, column, optional_column};

use crate::error::{Error, Result};
use crate::stages::network::NetworkResult;
use crate::sweep::folder::{Record, SweepFolder, TABLE};
use crate::sweep::plan::{Planned, SweepPlan};

/// One row: a point and its record.
pub struct Row<'p> {
    /// Its number in the sweep.
    pub number: usize,
    /// The point.
    pub planned: &'p Planned,
    /// What came out.
    pub record: Record,
    /// The bundle and its space.
    of: (String, String),
}

impl Row<'_> {
    /// A number that a search printed: `top1`, `costs.energy_mj.value`.
    pub fn number_at(&self, path: &str) -> Option<f64> {
        path.split('.').fold(&self.record.result, |value, key| &value[key]).as_f64()
    }

    /// The bundle that was searched.
    pub fn bundle(&self) -> &str {
        &self.of.0
    }

    /// The search space of that bundle.
    pub fn space(&self) -> &str {
        &self.of.1
    }
}

/// All points of `plan` that were computed, in order.
///
/// # Errors
/// A folder that cannot be read.
pub fn rows<'p>(plan: &'p SweepPlan, folder: &SweepFolder) -> Result<Vec<Row<'p>>> {
    let records = folder.records()?;
    let row = |(number, planned): (usize, &'p Planned)| {
        // Points that depend on the same things share a result.
        let record = records.get(&planned.key)?.clone();
        let ground = &plan.grounds[planned.ground];
        Some(Row { number, planned, record, of: (ground.bundle.clone(), ground.inputs.space.id().to_string()) })
    };
    Ok(plan.points.iter().enumerate().filter_map(row).collect())
}

/// Writes `rows`, and the `networks` of their points, into the folder's table; returns its path.
///
/// # Errors
/// [`Error::Write`].
pub fn write(
    name: &str,
    rows: &[Row<'_>],
    networks: &BTreeMap<usize, NetworkResult>,
    folder: &SweepFolder,
) -> Result<PathBuf> {
    let path = folder.path().join(TABLE);
    parquet_file::write(&path, |file| write_rows(file, name, rows, networks))
        .map_err(|source| Error::Write { source })?;
    Ok(path)
}

/// What a budget limits, and what its columns are called.
pub(crate) const LIMITS: [(Quantity, &str); 6] = [
    (Quantity::Energy, "energy_mJ"),
    (Quantity::Latency, "latency_ms"),
    (Quantity::Macs, "macs"),
    (Quantity::Params, "params"),
    (Quantity::Flash, "flash_bytes"),
    (Quantity::PeakMemory, "peak_memory_bytes"),
];

/// Numbers of the result: column, and path in what a search prints.
pub(crate) const NUMBERS: [(&str, &str); 13] = [
    ("top1", "top1"),
    ("top1_std", "top1_std"),
    ("top1_spread", "top1_spread"),
    ("energy_mJ", "costs.energy_mj.value"),
    ("energy_mJ_std", "costs.energy_mj.std"),
    ("latency_ms", "costs.latency_ms.value"),
    ("latency_ms_std", "costs.latency_ms.std"),
    ("macs", "costs.macs"),
    ("params", "costs.params"),
    ("flash_bytes", "costs.flash_bytes"),
    ("peak_memory_bytes", "costs.peak_memory_bytes"),
    ("resolution", "subnet.resolution"),
    ("evaluations", "evaluations"),
];

fn write_rows(
    file: &mut BufWriter<File>,
    name: &str,
    rows: &[Row<'_>],
    networks: &BTreeMap<usize, NetworkResult>,
) -> std::result::Result<(), ParquetError> {
    let text = |name: &str| format!("REQUIRED BYTE_ARRAY {name} (UTF8); ");
    let optional = |name: &str| format!("OPTIONAL DOUBLE {name}; ");
    let limits: String = LIMITS.iter().map(|(_, name)| optional(&format!("{name}_limit"))).collect();
    let numbers: String = NUMBERS.iter().map(|(name, _)| optional(name)).collect();
    let refined: String = LIMITS.iter().map(|(_, name)| optional(&format!("refined_{name}"))).collect();
    let schema = format!(
        "message sweep {{ REQUIRED INT64 point; {}{}{}{}REQUIRED BOOLEAN is_baseline; REQUIRED INT64 seed; {}{limits}{}{}{numbers}{}\
         REQUIRED DOUBLE seconds; {}{}{}{}{}{refined}}}",
        text("target"),
        text("bundle"),
        text("space"),
        text("method"),
        text("budget"),
        text("status"),
        text("message"),
        text("subnet"),
        text("key"),
        text("network"),
        optional("measured_top1"),
        optional("measured_top1_std"),
        text("measured_part"),
    );
    let of_file = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let metadata = vec![of_file("schema", "ofa.sweep-results/1"), of_file("sweep", name)];
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_key_value_metadata(Some(metadata))
        .build();
    let mut writer = SerializedFileWriter::new(file, Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
    let mut out = writer.next_row_group()?;
    let texts = |of: &dyn Fn(&Row<'_>) -> String| -> Vec<ByteArray> {
        rows.iter().map(|row| ByteArray::from(of(row).as_str())).collect()
    };
    let subnet = |row: &Row<'_>| match &row.record.result["subnet"] {
        Value::Null => String::new(),
        subnet => subnet.to_string(),
    };
    column::<Int64Type, _>(&mut out, rows.iter().map(|row| row.number as i64))?;
    column::<ByteArrayType, _>(&mut out, texts(&|row| row.planned.point.target.clone()))?;
    column::<ByteArrayType, _>(&mut out, texts(&|row| row.of.0.clone()))?;
    column::<ByteArrayType, _>(&mut out, texts(&|row| row.of.1.clone()))?;
    column::<ByteArrayType, _>(&mut out, texts(&|row| row.planned.point.method.name().to_owned()))?;
    let is_baseline = |row: &Row<'_>| matches!(row.planned.point.method, crate::sweep::point::Method::Baseline(_));
    column::<BoolType, _>(&mut out, rows.iter().map(is_baseline))?;
    column::<Int64Type, _>(&mut out, rows.iter().map(|row| row.planned.point.seed.cast_signed()))?;
    column::<ByteArrayType, _>(&mut out, texts(&|row| row.planned.point.budget.to_string()))?;
    for (quantity, _) in LIMITS {
        let limit = |row: &Row<'_>| Some(row.planned.budget.limit(quantity)? * quantity.json_scale());
        optional_column(&mut out, rows.iter().map(limit))?;
    }
    column::<ByteArrayType, _>(&mut out, texts(&|row| row.record.status.name().to_owned()))?;
    column::<ByteArrayType, _>(&mut out, texts(&|row| row.record.message.clone()))?;
    for (_, path) in NUMBERS {
        optional_column(&mut out, rows.iter().map(|row| row.number_at(path)))?;
    }
    column::<ByteArrayType, _>(&mut out, texts(&subnet))?;
    column::<DoubleType, _>(&mut out, rows.iter().map(|row| row.record.seconds))?;
    column::<ByteArrayType, _>(&mut out, texts(&|row| row.planned.key.clone()))?;
    let of = |row: &Row<'_>| networks.get(&row.number);
    column::<ByteArrayType, _>(&mut out, texts(&|row| of(row).map(|made| made.folder.clone()).unwrap_or_default()))?;
    optional_column(&mut out, rows.iter().map(|row| Some(of(row)?.measured.top1)))?;
    optional_column(&mut out, rows.iter().map(|row| Some(of(row)?.measured.std_error)))?;
    column::<ByteArrayType, _>(
        &mut out,
        texts(&|row| of(row).map(|made| made.measured.part.clone()).unwrap_or_default()),
    )?;
    for (quantity, _) in LIMITS {
        let refined = |row: &Row<'_>| of(row)?.refined["costs"][quantity.json_key()]["after"].as_f64();
        optional_column(&mut out, rows.iter().map(refined))?;
    }
    out.close()?;
    writer.close()?;
    Ok(())
}
