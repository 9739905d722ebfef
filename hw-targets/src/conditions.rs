//! Columns beyond those of a format: conditions of the measurement, which have to be the same in every row because a
//! table is one device under one set of them, and columns that nobody reads, which must not be a value in disguise.

use std::collections::HashMap;
use std::path::Path;

use storage::file::{FileError, Place};
use storage::names::edits;
use storage::table::{Cells, Line};

/// Columns that say under which conditions a row was measured.
const CONDITIONS: [&str; 11] = [
    "device",
    "soc",
    "platform",
    "processing_unit",
    "runtime",
    "runtime_version",
    "precision",
    "threads",
    "batch",
    "clock",
    "power_mode",
];
/// What a column begins with that holds a measurement.
const MEASURES: [&str; 4] = ["latency", "energy", "time", "power"];
/// What a column has among its words that holds a measurement, with what it is of.
const UNITS: [(&str, &[&str]); 3] = [
    ("latency_ms", &["ms", "us", "ns", "msec", "usec", "sec", "secs", "millis", "seconds", "milliseconds", "runtime"]),
    ("energy_mJ", &["mj", "uj", "nj", "joule", "joules", "millijoules", "mwh", "wh"]),
    ("power", &["w", "mw", "watt", "watts", "milliwatts"]),
];
/// Other names of the batch size, which no distance finds.
const BATCHES: [&str; 12] = [
    "bs",
    "bsz",
    "batchsize",
    "minibatch",
    "nbatch",
    "batches",
    "images",
    "imgs",
    "imagesperrun",
    "imagesperbatch",
    "n",
    "b",
];
/// What to do with a column of powers.
const NO_POWER: &str = "no column holds a power: write energy_mJ (millijoules), or state it in the manifest";
/// Names of a statistic without a word on what it is of: a measurement all the same.
const STATISTICS: [&str; 7] = ["mean", "avg", "average", "median", "p50", "p90", "p99"];
/// Different cells up to which a column looks like a condition.
const FEW: usize = 8;
/// Letters from which on a name that is one letter off is a slip.
const LONG: usize = 6;

/// What the columns beyond a format's say.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    /// What was not read, one sentence each.
    pub(crate) notes: Vec<String>,
    /// What may be a condition that differs between rows.
    pub(crate) warnings: Vec<String>,
    /// Images per inference, where a column says the same number throughout.
    pub(crate) batch: Option<u32>,
}

/// Reads the columns of `table` beyond `known`.
///
/// # Errors
/// Rows measured under different conditions; a column whose name is almost that of a known one.
pub(crate) fn check_conditions(
    path: &Path,
    table: &Cells,
    columns: &HashMap<&str, usize>,
    known: &[&str],
) -> Result<Conditions, FileError> {
    let mut found = Conditions::default();
    for column in table.columns.iter().filter(|column| !known.contains(&column.as_str())) {
        let lines = || table.rows.iter().map(|(place, cells)| Line { path, place: *place, columns, cells });
        if CONDITIONS.contains(&column.as_str()) {
            same_throughout(lines(), column, &mut found)?;
            continue;
        }
        if let Some(problem) = slip(column, known) {
            return Err(FileError::malformed(path, "table", problem));
        }
        found.notes.push(format!("column {column:?} is not part of the format and was not read"));
        found.warnings.extend(few_values(lines(), column));
    }
    Ok(found)
}

fn same_throughout<'a>(
    mut lines: impl Iterator<Item = Line<'a>>,
    column: &str,
    found: &mut Conditions,
) -> Result<(), FileError> {
    let Some(first) = lines.next() else { return Ok(()) };
    let word = first.text(column);
    if let Some(odd) = lines.find(|line| line.text(column) != word) {
        let other = first.place;
        let problem = format!("differs from {word:?} in {other}: a table is one device under one set of conditions");
        return Err(odd.bad(column, problem));
    }
    if column == "batch" {
        found.batch = Some(first.whole(column, 1, Some(1))?);
    } else {
        found.notes.push(format!("column {column:?} says {word:?} in every row: state it in the manifest"));
    }
    Ok(())
}

/// Why `column` cannot be left unread, if it cannot: it is almost one that is read, or looks like a measurement.
fn slip(column: &str, known: &[&str]) -> Option<String> {
    let bare = |name: &str| name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let mine = bare(column);
    let is_slip = |name: &&&str| {
        let theirs = bare(name);
        // `energy` is no slip for `energy_n`.
        let is_measure = MEASURES.contains(&mine.as_str());
        mine == theirs || theirs.len() >= LONG && !is_measure && edits(&mine, &theirs) <= 1
    };
    let words: Vec<String> = column.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase).collect();
    let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    let is_measure = MEASURES.iter().any(|start| mine.starts_with(start)) && !mine.starts_with("timestamp")
        || has(&MEASURES)
        || STATISTICS.contains(&mine.as_str());
    let of_unit = UNITS.iter().find(|(_, units)| words.iter().any(|word| units.contains(&word.as_str())));
    let all = || known.iter().chain(&CONDITIONS);
    let nearest = match (all().find(is_slip), is_measure) {
        (Some(nearest), _) => *nearest,
        (None, true) if has(&["energy"]) || mine.starts_with("energy") => "energy_mJ",
        (None, true) if mine.starts_with("power") && of_unit.is_some() => {
            return Some(format!("column {column:?} is not read: {NO_POWER}"));
        }
        (None, true) if mine.starts_with("power") => "power_mode",
        (None, true) => "latency_ms",
        (None, false) if BATCHES.contains(&mine.as_str()) => "batch",
        (None, false) if of_unit?.0 == "power" => return Some(format!("column {column:?} is not read: {NO_POWER}")),
        (None, false) => of_unit?.0,
    };
    let unit = match nearest {
        "latency_ms" | "latency_ms_std" => " (milliseconds)",
        "energy_mJ" | "energy_mJ_std" => " (millijoules)",
        _ => "",
    };
    Some(format!("column {column:?} is not read: did you mean {nearest}{unit}? Rename it, or take it out"))
}

/// A sentence about a column of few values that differ between rows: a power mode under another name, say.
fn few_values<'a>(lines: impl Iterator<Item = Line<'a>>, column: &str) -> Option<String> {
    let mut values: Vec<(&str, Place)> = Vec::new();
    let mut rows = 0;
    for line in lines {
        rows += 1;
        let word = line.text(column);
        if values.iter().all(|(known, _)| *known != word) {
            values.push((word, line.place));
        }
        if values.len() > FEW {
            return None;
        }
    }
    let [(first, here), (second, there), ..] = values.as_slice() else { return None };
    (2 * values.len() <= rows).then(|| {
        format!(
            "column {column:?} was not read, and says {first:?} in {here} and {second:?} in {there}: rows measured under \
             different conditions have no sum"
        )
    })
}
