//! `history.parquet`: every evaluation of a search, in order.
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `order` | int64 | from 0 |
//! | `subnet` | text | the subnet as JSON (`ofa.subnet/1`) |
//! | `resolution` | int64 | its resolution again, for filtering |
//! | `top1` | double | predicted, a fraction |
//! | `energy_mJ`, `latency_ms` | double, optional | there if the target knows them |
//! | `macs`, `params` | int64 | exact |

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use network::units::Quantity;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use search::history::{History, Scored};
use search::space::SearchSpace;
use storage::parquet_file::{self, column};

use crate::error::Error;

/// Evaluations per row group: they are unpacked and written one group at a time.
const GROUP: usize = 10_000;

/// Writes every evaluation of `history`, whole or not at all.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn write(path: &Path, space: &SearchSpace, history: &History) -> Result<(), Error> {
    parquet_file::write(path, |file| write_groups(file, space, history)).map_err(|source| Error::Write { source })
}

fn write_groups(file: &mut BufWriter<File>, space: &SearchSpace, history: &History) -> Result<(), ParquetError> {
    let first = history.iter().next();
    let known = |quantity| first.as_ref().is_some_and(|scored| scored.costs.get(quantity).is_some());
    let costs: Vec<(Quantity, &str)> = [(Quantity::Energy, "energy_mJ"), (Quantity::Latency, "latency_ms")]
        .into_iter()
        .filter(|(q, _)| known(*q))
        .collect();
    let columns: String = costs.iter().map(|(_, name)| format!("REQUIRED DOUBLE {name}; ")).collect();
    let schema = format!(
        "message history {{ REQUIRED INT64 order; REQUIRED BYTE_ARRAY subnet (UTF8); REQUIRED INT64 resolution; \
         REQUIRED DOUBLE top1; {columns}REQUIRED INT64 macs; REQUIRED INT64 params; }}"
    );
    let level = ZstdLevel::try_new(1)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        // Subnets are all different.
        .set_column_dictionary_enabled("subnet".into(), false)
        .build();
    let mut writer = SerializedFileWriter::new(file, Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
    let mut entries = history.iter();
    let mut order = 0;
    loop {
        let group: Vec<Scored> = entries.by_ref().take(GROUP).collect();
        if group.is_empty() {
            break;
        }
        let mut out = writer.next_row_group()?;
        let count =
            |quantity| group.iter().map(move |scored: &Scored| scored.costs.get(quantity).unwrap_or(0.0) as i64);
        column::<Int64Type, _>(&mut out, (order..).take(group.len()))?;
        let subnet = |scored: &Scored| ByteArray::from(space.to_subnet_json(&scored.arch).to_string().as_str());
        column::<ByteArrayType, _>(&mut out, group.iter().map(subnet))?;
        column::<Int64Type, _>(&mut out, group.iter().map(|scored| scored.arch.resolution().into()))?;
        column::<DoubleType, _>(&mut out, group.iter().map(|scored| scored.score))?;
        for (quantity, _) in &costs {
            let value = |scored: &Scored| scored.costs.get(*quantity).unwrap_or(f64::NAN) * quantity.json_scale();
            column::<DoubleType, _>(&mut out, group.iter().map(value))?;
        }
        column::<Int64Type, _>(&mut out, count(Quantity::Macs))?;
        column::<Int64Type, _>(&mut out, count(Quantity::Params))?;
        out.close()?;
        order += group.len() as i64;
    }
    writer.close()?;
    Ok(())
}
