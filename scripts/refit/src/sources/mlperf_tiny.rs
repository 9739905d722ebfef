//! Rows of MLPerf Tiny results: energy per inference at the supply rail of a microcontroller, metered by EEMBC's
//! EnergyRunner, and inferences per second while it was metered. The four reference networks run in int8
//! ([`crate::tiny_networks`]).

use std::path::Path;

use hw_targets::error::HwError;
use storage::file::read_text;
use storage::table::{Cells, Line};

/// One reference network measured on one system.
#[derive(Clone, Debug, PartialEq)]
pub struct TinyRow {
    /// Release of the results: `v1.2`.
    pub round: String,
    /// Who measured.
    pub submitter: String,
    /// Board, and runtime where the submitter has several.
    pub system: String,
    /// `ad`, `ic`, `kws` or `vww`.
    pub benchmark: String,
    /// Joules per inference.
    pub energy: f64,
    /// Seconds per inference while the energy was metered; `None` where the throughput was logged in a run of its own.
    pub latency: Option<f64>,
}

/// All rows of a file.
///
/// # Errors
/// Those of reading; [`HwError::File`] for an energy or a throughput that is no measurement.
pub fn read(path: &Path) -> Result<Vec<TinyRow>, HwError> {
    parse(path, &read_text(path, "CSV")?)
}

fn parse(path: &Path, text: &str) -> Result<Vec<TinyRow>, HwError> {
    let table = Cells::from_csv(path, text.as_bytes())?;
    let columns = table.index(path)?;
    let mut rows = Vec::new();
    for (place, cells) in &table.rows {
        let line = Line { path, place: *place, columns: &columns, cells };
        let positive = |column: &str| match line.number(column)? {
            Some(value) if value <= 0.0 => Err(line.bad(column, "is no measurement")),
            value => Ok(value),
        };
        let word = |column: &str| line.text(column).to_string();
        let energy = positive("energy_uJ_per_inference")?;
        rows.push(TinyRow {
            round: word("mlperf_round"),
            submitter: word("submitter"),
            system: word("system"),
            benchmark: word("benchmark"),
            energy: energy.ok_or_else(|| line.bad("energy_uJ_per_inference", "is no measurement"))? * 1e-6,
            latency: positive("energy_mode_throughput_inf_s")?.map(|per_second| 1.0 / per_second),
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "mlperf_round,division,submitter,system,benchmark,energy_uJ_per_inference,\
                          energy_mode_throughput_inf_s\n";

    #[test]
    fn rows_are_read_in_si_units() {
        let text = format!("{HEADER}v1.2,closed,Org,BOARD,ad,200,125\nv1.3,closed,Org,BOARD-P,ic,5000,\n");
        let rows = parse(Path::new("t.csv"), &text).unwrap();
        assert!((rows[0].energy - 2e-4).abs() < 1e-15 && (rows[0].latency.unwrap() - 8e-3).abs() < 1e-15);
        assert_eq!((rows[1].latency, rows[1].system.as_str(), rows[1].round.as_str()), (None, "BOARD-P", "v1.3"));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        for (cells, column) in [
            ("0,5", "energy_uJ_per_inference"),
            (",5", "energy_uJ_per_inference"),
            ("5,-1", "energy_mode_throughput_inf_s"),
            ("5,fast", "energy_mode_throughput_inf_s"),
        ] {
            let text = format!("{HEADER}v1.2,closed,Org,BOARD,ad,{cells}\n");
            let error = parse(Path::new("t.csv"), &text).unwrap_err().to_string();
            assert!(error.contains(column) && error.contains("line 2"), "{error}");
        }
        assert!(parse(Path::new("t.csv"), "mlperf_round,submitter\nv1.2,Org\n").is_err());
    }
}
