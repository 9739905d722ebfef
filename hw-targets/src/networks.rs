//! Whole networks with what was measured of them: the file that a target is compared with.
//!
//! CSV, one row per network. Which network: `subnet` (JSON in any form that subnets are read in), or `ops` (operator
//! numbers of an FBNet, with spaces between) and `resolution`; `space` optionally names its search space. Values:
//! `latency_ms`, `energy_mJ` (one of them at least), each with an optional `_std`; an empty cell is not known. `batch`
//! (empty = 1) and columns about the conditions (`device`, `clock`, `power_mode`, …) must say the same in every row,
//! because measurements under different conditions are not one device's.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::conditions::{Conditions, check_conditions};
use crate::error::HwError;
use crate::table::Measurement;
use crate::table_file::OTHER_COLUMNS;
use network::units::Measured;
use storage::atomic::write_atomically;
use storage::file::{FileError, Place, read_text};
use storage::table::{Cells, Line};

const COLUMNS: [&str; 10] = [
    "subnet",
    "ops",
    "resolution",
    "space",
    "batch",
    "latency_ms",
    "latency_ms_std",
    "energy_mJ",
    "energy_mJ_std",
    "name",
];

/// One network.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredNetwork {
    /// Where it stands in its file.
    pub place: Place,
    /// The subnet as JSON.
    pub subnet: String,
    /// Its search space, if the file says.
    pub space: Option<String>,
    /// In seconds.
    pub latency: Option<Measurement>,
    /// In joules.
    pub energy: Option<Measurement>,
}

impl MeasuredNetwork {
    /// The measured number of `quantity`, in SI units.
    pub fn measurement(&self, quantity: Measured) -> Option<&Measurement> {
        match quantity {
            Measured::Latency => self.latency.as_ref(),
            Measured::Energy => self.energy.as_ref(),
        }
    }
}

/// Measured networks of one device under one set of conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct Networks {
    path: PathBuf,
    rows: Vec<MeasuredNetwork>,
    batch: u32,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Networks {
    pub(crate) fn new(
        path: &Path,
        rows: Vec<MeasuredNetwork>,
        batch: u32,
        notes: Vec<String>,
    ) -> Result<Self, HwError> {
        if rows.is_empty() {
            return Err(HwError::NoNetworks { path: path.to_path_buf() });
        }
        Ok(Self { path: path.to_path_buf(), rows, batch, notes, warnings: Vec::new() })
    }

    /// Networks measured here, one by one; they are kept in `path`.
    ///
    /// # Errors
    /// [`HwError::NoNetworks`] without any.
    pub fn measured(path: &Path, rows: Vec<MeasuredNetwork>) -> Result<Self, HwError> {
        Self::new(path, rows, 1, Vec::new())
    }

    /// Reads a CSV file (gzip too).
    ///
    /// # Errors
    /// [`HwError::File`] for the file and for its content, with the line; [`HwError::NoNetworks`].
    pub fn read(path: &Path) -> Result<Self, HwError> {
        Self::parse(path, &read_text(path, "CSV")?)
    }

    /// Reads the text of such a file.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, HwError> {
        let cells = Cells::from_csv(path, text.as_bytes())?;
        let columns = cells.index(path)?;
        let has = |column: &str| columns.contains_key(column);
        let named = has("subnet") || has("ops") && has("resolution");
        if !named {
            return Err(cells.missing(path, "subnet, or ops and resolution").into());
        }
        if !has("latency_ms") && !has("energy_mJ") {
            return Err(cells.missing(path, "latency_ms or energy_mJ").into());
        }
        let known: Vec<&str> = COLUMNS.iter().chain(&OTHER_COLUMNS).copied().collect();
        let Conditions { mut notes, warnings, .. } = check_conditions(path, &cells, &columns, &known)?;
        let is_unread = |name: &&String| OTHER_COLUMNS.contains(&name.as_str()) && !COLUMNS.contains(&name.as_str());
        notes.extend(cells.columns.iter().filter(is_unread).map(|name| format!("column {name:?} was not read")));
        let (rows, batch) = read_rows(path, &cells, &columns, &mut notes)?;
        Ok(Self { warnings, ..Self::new(path, rows, batch, notes)? })
    }

    /// The file they were read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Networks in the order of the file.
    pub fn rows(&self) -> &[MeasuredNetwork] {
        &self.rows
    }

    /// Images per inference; times and energies are per batch.
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// What the reader left out or found odd, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What may be wrong with the file as a whole, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Writes all rows as CSV, whole or not at all.
    ///
    /// # Errors
    /// [`FileError::Io`] if the operating system refuses.
    pub fn write_csv(&self, path: &Path) -> Result<(), HwError> {
        let milli = |measured: &Option<Measurement>| {
            let cell = |value: Option<f64>| value.map(|value| (value * 1e3).to_string()).unwrap_or_default();
            [cell(measured.map(|measured| measured.value)), cell(measured.and_then(|measured| measured.std))]
        };
        write_atomically(path, |file| {
            let mut writer = csv::Writer::from_writer(file.by_ref());
            let header = ["subnet", "space", "batch", "latency_ms", "latency_ms_std", "energy_mJ", "energy_mJ_std"];
            writer.write_record(header).map_err(io::Error::other)?;
            for row in &self.rows {
                let [latency, latency_std] = milli(&row.latency);
                let [energy, energy_std] = milli(&row.energy);
                let space = row.space.clone().unwrap_or_default();
                let batch = self.batch.to_string();
                let cells = [&row.subnet, &space, &batch, &latency, &latency_std, &energy, &energy_std];
                writer.write_record(cells).map_err(io::Error::other)?;
            }
            writer.flush()
        })
        .map_err(|source| FileError::io(path, source).into())
    }
}

fn read_rows(
    path: &Path,
    cells: &Cells,
    columns: &HashMap<&str, usize>,
    notes: &mut Vec<String>,
) -> Result<(Vec<MeasuredNetwork>, u32), FileError> {
    let (mut rows, mut blank) = (Vec::new(), 0);
    let mut batch: Option<u32> = None;
    for (place, texts) in &cells.rows {
        let line = Line { path, place: *place, columns, cells: texts };
        let here = line.whole("batch", 1, Some(1))?;
        if batch.is_some_and(|batch| batch != here) {
            return Err(line.bad("batch", "differs from the rows above: one file is one batch size"));
        }
        batch = Some(here);
        let subnet = match line.text("subnet") {
            "" => operators(&line)?,
            text => {
                let value = storage::json::parse(text.as_bytes())
                    .map_err(|error| line.bad("subnet", format!("is not JSON: {error}")))?;
                if !value.is_object() {
                    return Err(line.bad("subnet", "is not an object"));
                }
                text.to_string()
            }
        };
        let value = |unit: &str| -> Result<Option<Measurement>, FileError> {
            let Some(value) = line.number(unit)? else { return Ok(None) };
            if value == 0.0 {
                return Err(line.bad(unit, "is no measurement"));
            }
            let std = line.number(&format!("{unit}_std"))?.map(|std| std / 1e3);
            Ok(Some(Measurement { std, ..Measurement::of(value / 1e3) }))
        };
        let (latency, energy) = (value("latency_ms")?, value("energy_mJ")?);
        if latency.is_none() && energy.is_none() {
            blank += 1;
            continue;
        }
        let space = Some(line.text("space")).filter(|space| !space.is_empty()).map(str::to_string);
        rows.push(MeasuredNetwork { place: *place, subnet, space, latency, energy });
    }
    if blank > 0 {
        notes.push(format!("{blank} rows have neither a latency nor an energy and were left out"));
    }
    Ok((rows, batch.unwrap_or(1)))
}

/// An FBNet given by its operator numbers, as JSON.
fn operators(line: &Line) -> Result<String, FileError> {
    let text = line.text("ops");
    if text.is_empty() {
        return Err(line.bad(if line.columns.contains_key("subnet") { "subnet" } else { "ops" }, "is empty"));
    }
    let numbers: Result<Vec<u32>, _> = text.split_whitespace().map(str::parse).collect();
    let numbers = numbers.map_err(|_| line.bad("ops", "is not a list of whole numbers with spaces between"))?;
    let resolution = line.whole("resolution", 1, None)?;
    Ok(serde_json::json!({"ops": numbers, "r": resolution}).to_string())
}
