//! Files of whole networks, and columns that are none of theirs.

use hw_targets::error::HwError;
use hw_targets::networks::Networks;

use crate::support::refused;

fn parsed(text: &str) -> Result<Networks, HwError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n.csv");
    std::fs::write(&path, text).unwrap();
    Networks::read(&path)
}

#[test]
fn networks_are_read_in_both_forms() {
    let text = "subnet,ops,resolution,latency_ms,energy_mJ,power_mode\n\
                \"{\"\"ks\"\":[3],\"\"r\"\":32}\",,,2.5,,MAXN\n,1 2 8,32,3,4,MAXN\n,1 2 7,32,,,MAXN\n";
    let networks = parsed(text).unwrap();
    assert_eq!(networks.rows().len(), 2);
    assert_eq!(networks.rows()[1].subnet, "{\"ops\":[1,2,8],\"r\":32}");
    assert_eq!(networks.rows()[1].energy.unwrap().value, 4e-3);
    assert!(networks.notes().iter().any(|note| note.contains("1 rows have neither")), "{:?}", networks.notes());
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let check = |text: &str, words: &[&str]| refused(parsed(text).map(|_| ()), words);
    check("subnet,latency_ms\n[1],2\n", &["line 2", "subnet", "object"]);
    check("subnet,latency_ms\n{,2\n", &["line 2", "JSON"]);
    check("subnet,latency_ms\n{},0\n", &["no measurement"]);
    check("subnet,latency_ms\n{},-1\n", &["negative"]);
    check("subnet,latency_ms\n,1\n", &["subnet", "empty"]);
    check("ops,latency_ms\n1,1\n", &["resolution"]);
    check("subnet\n{}\n", &["latency_ms or energy_mJ"]);
    check("subnet,latency_ms\n", &["no measured network"]);
    check("subnet,latency_ms,batch\n{},1,1\n{},1,32\n", &["line 3", "batch"]);
    check("subnet,energy_mJ,power_mode\n{},1,MAXN\n{},1,30W\n", &["line 3", "power_mode", "MAXN"]);
}

/// Networks with one column more.
fn with(column: &str, cells: &[&str]) -> Result<Networks, String> {
    let rows: String = cells.iter().map(|cell| format!("{{}},1,{cell}\n")).collect();
    parsed(&format!("subnet,latency_ms,{column}\n{rows}")).map_err(|error| error.to_string())
}

#[test]
fn a_column_that_is_almost_a_known_one_is_refused_with_its_name() {
    for (column, meant) in [
        ("energy_mj", "energy_mJ (millijoules)"),
        ("latency_us", "latency_ms (milliseconds)"),
        ("latency_ms_p50", "latency_ms (milliseconds)"),
        ("Device", "device"),
        ("precison", "precision"),
        ("avg_ms", "latency_ms (milliseconds)"),
        ("mean us", "latency_ms (milliseconds)"),
        ("Joules", "energy_mJ (millijoules)"),
        ("bs", "batch"),
        ("N", "batch"),
        ("energy", "energy_mJ (millijoules)"),
        ("latency", "latency_ms (milliseconds)"),
        ("total_energy", "energy_mJ (millijoules)"),
        ("inference_time", "latency_ms (milliseconds)"),
        ("p50", "latency_ms (milliseconds)"),
        ("Batch-Size", "batch"),
    ] {
        let error = with(column, &["1", "2"]).unwrap_err();
        assert!(error.contains(&format!("did you mean {meant}")), "{error}");
    }
    assert!(with("power_mW", &["1", "2"]).unwrap_err().contains("no column holds a power"));
    for column in ["index", "name", "note", "timestamp", "stage"] {
        assert!(with(column, &["1", "2", "3"]).unwrap().warnings().is_empty());
    }
}

#[test]
fn few_values_that_differ_are_a_warning_that_names_two() {
    let warnings = with("nvpmodel", &["MAXN", "10W", "MAXN", "10W"]).unwrap().warnings().to_vec();
    assert!(warnings[0].contains("\"MAXN\" in line 2 and \"10W\" in line 3"), "{warnings:?}");
    assert!(with("nvpmodel", &["MAXN"; 4]).unwrap().warnings().is_empty());
}

#[test]
fn a_constant_batch_is_taken_over() {
    assert_eq!(with("batch", &["8", "8"]).unwrap().batch(), 8);
    assert!(with("batch", &["8", "1"]).unwrap_err().contains("line 3"));
    assert!(with("batch", &["0", "0"]).is_err());
}
