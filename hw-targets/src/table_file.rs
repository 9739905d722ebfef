//! Operator tables as CSV and Parquet (`ofa.table/1`), checked cell by cell.
//!
//! Columns carry their unit in the name; an empty cell means "not known", and a zero is refused because it is never a
//! measurement. Key columns: `op_type` (conv, dwconv, mbconv, linear, avgpool), `in_h`, `in_w`, `in_c`, `out_h`,
//! `out_w`, `out_c`, `kernel`, `stride`, `groups`, `mid_c` (absolute), `se`, `se_mid_c`, `activation`, `residual`, and
//! optionally `network_resolution` (empty = any) and `expand_conv` (empty = there unless `mid_c` equals `in_c`; FBNet's
//! blocks of ratio 1 have it). Values: `latency_ms`, `energy_mJ` (one of them at least), each with `_std`, `_n`, `_stat`
//! or `_rel_unc`. Rows of type `se` and `identity` are parts of blocks here, left out with a note.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use crate::conditions::{Conditions, check_conditions};
use crate::cost::{Method, Scope, Statistic};
use crate::error::HwError;
use crate::table::{Measurement, OpKey, OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use network::op::Activation;
use storage::atomic::write_atomically;
use storage::file::{FileError, Place, open};
use storage::table::{Cells, Line};

/// What an operator is found by.
pub(crate) const KEY_COLUMNS: [&str; 15] = [
    "op_type",
    "in_h",
    "in_w",
    "in_c",
    "out_h",
    "out_w",
    "out_c",
    "kernel",
    "stride",
    "groups",
    "mid_c",
    "se",
    "se_mid_c",
    "activation",
    "residual",
];
/// What else a row may say.
pub(crate) const OTHER_COLUMNS: [&str; 20] = [
    "network_resolution",
    "expand_conv",
    "expand_ratio",
    "latency_ms",
    "latency_ms_std",
    "latency_n",
    "latency_stat",
    "latency_rel_unc",
    "energy_mJ",
    "energy_mJ_std",
    "energy_n",
    "energy_stat",
    "energy_rel_unc",
    "energy_method",
    "energy_scope",
    "data_quality",
    "macs",
    "params",
    "source_id",
    "source_key",
];

impl OpTable {
    /// Reads a table: Parquet if the name ends so, else CSV.
    ///
    /// # Errors
    /// [`HwError::File`] for the file, its columns and its cells, with line (CSV) or row (Parquet);
    /// [`HwError::Duplicate`], [`HwError::EmptyTable`].
    pub fn read(path: &Path) -> Result<Self, HwError> {
        from_cells(path, &Cells::read(path)?)
    }

    /// Writes all rows as CSV, whole or not at all.
    ///
    /// # Errors
    /// [`FileError::Io`] if the operating system refuses.
    pub fn write_csv(&self, path: &Path) -> Result<(), HwError> {
        write_atomically(path, |file| self.write_rows(file)).map_err(|source| FileError::io(path, source).into())
    }

    /// Writes all rows as CSV.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write_rows(&self, file: impl Write) -> io::Result<()> {
        let columns: Vec<&str> = KEY_COLUMNS.iter().chain(&OTHER_COLUMNS).copied().collect();
        let mut writer = csv::Writer::from_writer(file);
        writer.write_record(&columns).map_err(io::Error::other)?;
        for row in self.rows() {
            writer.write_record(columns.iter().map(|column| cell_of(row, column))).map_err(io::Error::other)?;
        }
        writer.flush()
    }
}

fn cell_of(row: &Row, column: &str) -> String {
    let op = row.key.op();
    let flag = |yes: bool| u8::from(yes).to_string();
    let maybe = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let milli = |value: Option<f64>| maybe(value.map(|value| value * 1e3));
    match column {
        "op_type" if op.kind == TableKind::Conv && op.groups > 1 && op.groups == op.in_channels => "dwconv".to_string(),
        "op_type" => op.kind.name().to_string(),
        "in_h" | "in_w" => op.in_size.to_string(),
        "in_c" => op.in_channels.to_string(),
        "out_h" | "out_w" => op.out_size.to_string(),
        "out_c" => op.out_channels.to_string(),
        "kernel" => op.kernel.to_string(),
        "stride" => op.stride.to_string(),
        "groups" => op.groups.to_string(),
        "mid_c" => op.mid_channels.to_string(),
        "se" => flag(op.se_channels > 0),
        "se_mid_c" => op.se_channels.to_string(),
        "activation" => op.activation.name().to_string(),
        "residual" => flag(op.residual),
        "network_resolution" => row.key.network_resolution().map(|size| size.to_string()).unwrap_or_default(),
        "expand_conv" => flag(op.expand_conv),
        "expand_ratio" if op.kind == TableKind::MbConv => {
            (f64::from(op.mid_channels) / f64::from(op.in_channels)).to_string()
        }
        "latency_ms" => milli(row.latency.map(|latency| latency.value)),
        "latency_ms_std" => milli(row.latency.and_then(|latency| latency.std)),
        "latency_n" => row.latency.and_then(|latency| latency.count).map(|n| n.to_string()).unwrap_or_default(),
        "latency_stat" => {
            row.latency.and_then(|latency| latency.statistic).map(|s| s.name().to_string()).unwrap_or_default()
        }
        "latency_rel_unc" => maybe(row.latency.and_then(|latency| latency.rel_unc)),
        "energy_mJ" => milli(row.energy.map(|energy| energy.value)),
        "energy_mJ_std" => milli(row.energy.and_then(|energy| energy.std)),
        "energy_n" => row.energy.and_then(|energy| energy.count).map(|n| n.to_string()).unwrap_or_default(),
        "energy_stat" => {
            row.energy.and_then(|energy| energy.statistic).map(|s| s.name().to_string()).unwrap_or_default()
        }
        "energy_rel_unc" => maybe(row.energy.and_then(|energy| energy.rel_unc)),
        "energy_method" => row.energy_method.map(|method| method.name().to_string()).unwrap_or_default(),
        "energy_scope" => row.energy_scope.map(|scope| scope.name().to_string()).unwrap_or_default(),
        "macs" => op.macs().0.to_string(),
        "source_key" => row.source_key.clone().unwrap_or_default(),
        // Parameters depend on batch norm, which rows do not know.
        _ => String::new(),
    }
}

/// What the row is found by, or `None` for a row type that is only a part of a block.
fn key_of(line: &Line<'_>) -> Result<Option<OpKey>, FileError> {
    let Some(op) = operator(line)? else { return Ok(None) };
    let resolution = Some(line.whole("network_resolution", 1, Some(0))?).filter(|resolution| *resolution > 0);
    Ok(Some(OpKey::new(&op, resolution)))
}

fn source_key(line: &Line<'_>) -> Option<String> {
    Some(line.text("source_key")).filter(|key| !key.is_empty()).map(str::to_string)
}

/// The operator, or `None` for a row type that is only a part of a block.
fn operator(line: &Line<'_>) -> Result<Option<TableOp>, FileError> {
    let word = line.text("op_type");
    let kind = match word {
        "se" | "identity" => return Ok(None),
        "dwconv" => TableKind::Conv,
        _ => TableKind::parse(word)
            .ok_or_else(|| line.bad("op_type", "is none of: conv dwconv mbconv linear avgpool se identity"))?,
    };
    let square = |height: &str, width: &str, empty| {
        let (h, w) = (line.whole(height, 1, empty)?, line.whole(width, 1, empty)?);
        if h == w { Ok(h) } else { Err(line.bad(width, format!("differs from {height} = {h}; maps are square"))) }
    };
    let convolution = matches!(kind, TableKind::Conv | TableKind::MbConv);
    let one = (!convolution).then_some(1);
    let in_channels = line.whole("in_c", 1, None)?;
    let out_channels = line.whole("out_c", 1, (kind == TableKind::AvgPool).then_some(in_channels))?;
    let groups = line.whole("groups", 1, Some(if word == "dwconv" { in_channels } else { 1 }))?;
    let mid_channels = line.whole("mid_c", 0, Some(0))?;
    let se_channels = line.whole("se_mid_c", 0, Some(0))?;
    let activation = match line.text("activation") {
        "" if !convolution => Activation::None,
        word => Activation::parse(word).ok_or_else(|| line.bad("activation", "is none of: none relu relu6 hswish"))?,
    };
    let mut op = TableOp {
        kind,
        in_size: square("in_h", "in_w", (kind == TableKind::Linear).then_some(1))?,
        in_channels,
        out_size: square("out_h", "out_w", one)?,
        out_channels,
        kernel: line.whole("kernel", 1, one)?,
        stride: line.whole("stride", 1, one)?,
        groups,
        mid_channels,
        expand_conv: false,
        se_channels,
        activation,
        residual: line.flag("residual")?.unwrap_or(false),
        batch_norm: true,
    };
    if convolution && (in_channels % groups != 0 || out_channels % groups != 0 || mid_channels % groups != 0) {
        return Err(line.bad("groups", "does not divide the channels"));
    }
    if op.kernel > 255 || op.in_size > 65_535 || op.out_size > 65_535 {
        return Err(line.bad("kernel", "or a map size is beyond any network"));
    }
    if kind == TableKind::MbConv {
        if mid_channels == 0 {
            return Err(line.bad("mid_c", "is empty: it is the absolute width inside the block"));
        }
        if line.flag("se")? == Some(true) && se_channels == 0 {
            return Err(line.bad("se_mid_c", "is empty although se is 1"));
        }
        if line.flag("se")? == Some(false) && se_channels > 0 {
            return Err(line.bad("se_mid_c", "is above zero although se is 0"));
        }
        op.expand_conv = line.flag("expand_conv")?.unwrap_or(mid_channels != in_channels);
    } else {
        (op.mid_channels, op.se_channels, op.residual) = (0, 0, false);
    }
    if !convolution {
        (op.kernel, op.stride, op.groups) = (1, 1, 1);
    }
    if kind == TableKind::Linear && (op.in_size, op.out_size) != (1, 1) {
        return Err(line.bad("in_h", "is above 1: a linear operator takes a vector"));
    }
    Ok(Some(op))
}

fn measurement(line: &Line<'_>, unit: &str, name: &str) -> Result<Option<Measurement>, FileError> {
    let Some(value) = line.number(unit)? else { return Ok(None) };
    if value == 0.0 {
        return Err(line.bad(unit, "is no measurement"));
    }
    let count = match line.number(&format!("{name}_n"))? {
        Some(n) if n.fract() != 0.0 => return Err(line.bad(&format!("{name}_n"), "is not a whole number")),
        count => count.map(|n| n as u64),
    };
    Ok(Some(Measurement {
        value: value / 1e3,
        std: line.number(&format!("{unit}_std"))?.map(|std| std / 1e3),
        count,
        rel_unc: line.number(&format!("{name}_rel_unc"))?,
        statistic: line.word(&format!("{name}_stat"), Statistic::parse, Statistic::WORDS)?,
    }))
}

/// Operators of a table with the name each has in its source, and their places: a work list, values or not.
pub(crate) fn read_operators(path: &Path) -> Result<Vec<(OpKey, Option<String>, Place)>, HwError> {
    let cells = Cells::from_csv(path, open(path)?)?;
    let columns = key_columns(path, &cells)?;
    let mut operators = Vec::with_capacity(cells.rows.len());
    for (place, cells) in &cells.rows {
        let line = Line { path, place: *place, columns: &columns, cells };
        if let Some(key) = key_of(&line)? {
            operators.push((key, source_key(&line), *place));
        }
    }
    Ok(operators)
}

/// Where each column is; every key column must be there.
fn key_columns<'a>(path: &Path, table: &'a Cells) -> Result<HashMap<&'a str, usize>, FileError> {
    let columns = table.index(path)?;
    match KEY_COLUMNS.iter().find(|column| !columns.contains_key(*column)) {
        None => Ok(columns),
        Some(column) => Err(table.missing(path, column)),
    }
}

pub(crate) fn from_cells(path: &Path, table: &Cells) -> Result<OpTable, HwError> {
    let columns = key_columns(path, table)?;
    if !columns.contains_key("latency_ms") && !columns.contains_key("energy_mJ") {
        return Err(table.missing(path, "latency_ms or energy_mJ").into());
    }
    let known: Vec<&str> = KEY_COLUMNS.iter().chain(&OTHER_COLUMNS).copied().collect();
    let Conditions { mut notes, warnings, batch } = check_conditions(path, table, &columns, &known)?;
    let (mut rows, mut parts, mut blank) = (Vec::new(), 0, 0);
    for (place, cells) in &table.rows {
        let line = Line { path, place: *place, columns: &columns, cells };
        let Some(key) = key_of(&line)? else {
            parts += 1;
            continue;
        };
        match line.text("data_quality") {
            "" | "A" | "B" | "C" => {}
            "X" => return Err(line.bad("data_quality", "marks a row not to be used: take it out").into()),
            _ => return Err(line.bad("data_quality", "is none of: A B C X").into()),
        }
        let latency = measurement(&line, "latency_ms", "latency")?;
        let energy = measurement(&line, "energy_mJ", "energy")?;
        if latency.is_none() && energy.is_none() {
            blank += 1;
            continue;
        }
        rows.push(Row {
            key,
            latency,
            energy,
            energy_method: line.word("energy_method", Method::parse, Method::WORDS)?,
            energy_scope: line.word("energy_scope", Scope::parse, Scope::WORDS)?,
            source_key: source_key(&line),
            place: *place,
        });
    }
    if parts > 0 {
        notes.push(format!("{parts} rows of type se or identity were left out: they are parts of blocks here"));
    }
    if blank > 0 {
        notes.push(format!("{blank} rows have neither a latency nor an energy and were left out"));
    }
    Ok(OpTable::from_rows(path, rows)?.with_notes(notes).with_conditions(warnings, batch))
}
