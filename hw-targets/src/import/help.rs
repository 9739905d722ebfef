//! The latency measurements of HELP (Lee et al., NeurIPS 2021) as CSV: whole networks on many devices.
//!
//! One row per network, one column per device in milliseconds per batch; the number that ends a column's name
//! (`v100_64`) is the batch. Networks are subnets of OFA's MobileNetV3 of width 1.0 (`ks`, `e`, `d`, `r`) or FBNets
//! for CIFAR-100 (`arch`, 22 operator numbers). Whole networks are no operators: one column becomes a file of measured
//! networks, for `validate` and for fitting.

use std::path::Path;

use crate::error::HwError;
use crate::import::{one_file, pick};
use crate::networks::{MeasuredNetwork, Networks};
use crate::table::Measurement;
use storage::file::{FileError, read_text};
use storage::table::Cells;

/// Columns of the FBNet file that are sums over the HW-NAS-Bench table, not runs.
const TABLE_SUMS: [&str; 4] = ["pixel3", "raspi4", "eyeriss", "fpga"];
/// Image size of the FBNets.
const FBNET_RESOLUTION: u32 = 32;

/// Reads one device's column of a CSV file (gzip too), or of the only one in a folder. Without `device`, the column
/// that `name` contains is taken.
///
/// # Errors
/// [`FileError::NotFound`] and [`FileError::Io`]; [`HwError::UnknownDevice`] if no column is chosen;
/// [`FileError::Malformed`], [`FileError::MissingColumn`] and [`FileError::BadCell`] for the content.
pub fn read(path: &Path, device: Option<&str>, name: &str) -> Result<Networks, HwError> {
    let file = one_file(path, "help", &["csv", "csv.gz"])?;
    parse(&file, &read_text(&file, "help")?, device, name)
}

/// Reads the text of such a file.
pub(crate) fn parse(path: &Path, text: &str, device: Option<&str>, name: &str) -> Result<Networks, HwError> {
    let cells = Cells::from_csv(path, text.as_bytes())?;
    let at = |name: &str| cells.columns.iter().position(|column| column == name);
    let genome = [at("ks"), at("e"), at("d"), at("r")];
    let [ks, e, d, r] = genome.map(Option::unwrap_or_default);
    let arch = at("arch");
    if arch.is_none() && genome.contains(&None) {
        return Err(cells.missing(path, "arch, or ks, e, d and r").into());
    }
    let is_network = |column: &&String| ["idx", "arch", "ks", "e", "d", "r"].contains(&column.as_str());
    let devices: Vec<String> = cells.columns.iter().filter(|column| !is_network(column)).cloned().collect();
    let device = pick(device, name, &devices)?;
    let column = at(&device).unwrap_or_default();
    let (batch, mut notes) = (batch_of(&device), Vec::new());
    let mut rows = Vec::with_capacity(cells.rows.len());
    let mut whole = true;
    for (place, row) in &cells.rows {
        let bad = |column: usize, problem: &str| FileError::BadCell {
            path: path.to_path_buf(),
            place: *place,
            column: cells.columns[column].clone(),
            value: row[column].clone(),
            problem: problem.to_string(),
        };
        let numbers = |column: usize, count: usize| {
            let parsed: Result<Vec<u32>, _> = row[column].split_whitespace().map(str::parse).collect();
            let wrong = || bad(column, &format!("is not a list of {count} whole numbers"));
            parsed.ok().filter(|numbers| numbers.len() == count).ok_or_else(wrong)
        };
        let subnet = match arch {
            Some(arch) => {
                let ops = numbers(arch, 22)?;
                if ops.iter().any(|number| *number > 8) {
                    return Err(bad(arch, "has an operator number above 8").into());
                }
                serde_json::json!({"ops": ops, "r": FBNET_RESOLUTION})
            }
            None => {
                let resolution = numbers(r, 1)?[0];
                serde_json::json!({"ks": numbers(ks, 20)?, "e": numbers(e, 20)?, "d": numbers(d, 5)?, "r": resolution})
            }
        };
        let value: f64 = row[column].parse().map_err(|_| bad(column, "is not a number"))?;
        if !(value.is_finite() && value > 0.0) {
            return Err(bad(column, "is no measurement").into());
        }
        whole &= value.fract() == 0.0;
        rows.push(MeasuredNetwork {
            place: *place,
            subnet: subnet.to_string(),
            space: arch.is_none().then(|| "mbv3-w1.0".to_string()),
            latency: Some(Measurement::of(value / 1e3)),
            energy: None,
        });
    }
    if arch.is_some() {
        let head =
            "the networks end in 100 classes: validate with a space that is a copy of fbnet-cifar of 100 classes";
        notes.push(head.to_string());
        if TABLE_SUMS.contains(&device.as_str()) {
            notes.push(format!("column {device} is a sum over the operators of HW-NAS-Bench, not a run"));
        }
    }
    if batch > 1 {
        notes.push(format!("milliseconds are per batch of {batch} images"));
    }
    if whole {
        notes.push("all values are whole milliseconds: differences of less than 1 ms mean nothing".to_string());
    }
    let others = devices.iter().filter(|other| **other != device).count();
    if others > 0 {
        notes.push(format!("the columns of {others} other devices were not read: import each by its name"));
    }
    Networks::new(path, rows, batch, notes)
}

fn batch_of(device: &str) -> u32 {
    let last = device.rsplit('_').next().and_then(|number| number.parse().ok());
    last.filter(|batch| [1, 32, 64].contains(batch)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::testing::refused;
    use crate::testing::shared;
    use storage::failure::Failure;

    fn ofa(latency: &str) -> String {
        let (ks, e, d) = (["7"; 20].join(" "), ["6"; 20].join(" "), ["4"; 5].join(" "));
        format!("idx,ks,e,d,r,v100_1,v100_64\n0,{ks},{e},{d},160,7.5,{latency}\n")
    }

    fn parsed(text: &str, device: Option<&str>) -> Result<Networks, HwError> {
        parse(Path::new("t.csv"), text, device, "mine")
    }

    #[test]
    fn a_column_becomes_measured_networks() {
        let networks = parsed(&ofa("21.5"), Some("v100_64")).unwrap();
        assert_eq!((networks.batch(), networks.rows().len()), (64, 1));
        let row = &networks.rows()[0];
        assert_eq!(row.latency.unwrap().value, 21.5e-3);
        assert!(row.subnet.starts_with("{\"ks\":[7,7") && row.subnet.ends_with("\"r\":160}"), "{}", row.subnet);
        assert_eq!(row.space.as_deref(), Some("mbv3-w1.0"));
        let by_name = parse(Path::new("t.csv"), &ofa("3"), None, "my-v100-1").unwrap();
        assert_eq!(by_name.rows()[0].latency.unwrap().value, 7.5e-3);
        let folder = tempfile::tempdir().unwrap();
        networks.write_csv(&folder.path().join("n.csv")).unwrap();
        let again = Networks::read(&folder.path().join("n.csv")).unwrap();
        assert_eq!((again.rows()[0].subnet.as_str(), again.batch()), (row.subnet.as_str(), 64));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        refused(parsed(&ofa("0"), Some("v100_64")).map(|_| ()), &["line 2", "v100_64", "no measurement"]);
        refused(parsed(&ofa("fast"), Some("v100_64")).map(|_| ()), &["not a number"]);
        refused(parsed(&ofa("1").replace("7 7 7", "7 7"), Some("v100_64")).map(|_| ()), &["ks", "20 whole"]);
        refused(parsed("idx,time\n0,1\n", Some("time")).map(|_| ()), &["arch"]);
        let error = parsed(&ofa("1"), None).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.hint().unwrap().contains("v100_64"));
        assert_eq!(parsed(&ofa("1"), Some("v100_32")).unwrap_err().kind().exit_code(), 2);
    }

    #[test]
    fn the_published_files() {
        let Some(shared) = shared() else { return };
        let folder = shared.join("data/hw/help-latency");
        let ofa = read(&folder.join("help_ofa_mbv3_latency_ms.csv.gz"), Some("v100_64"), "x").unwrap();
        let fbnet = read(&folder.join("help_fbnet_cifar100_latency_ms.csv.gz"), Some("pixel2"), "x").unwrap();
        assert_eq!((ofa.rows().len(), fbnet.rows().len()), (3000, 3000));
        assert!(fbnet.notes().iter().any(|note| note.contains("whole milliseconds")));
        refused(read(&folder, Some("v100_64"), "x").map(|_| ()), &["several"]);
    }
}
