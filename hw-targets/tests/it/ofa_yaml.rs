//! Latency tables of the published once-for-all implementation.

use std::fs;
use storage::failure::Failure;

use std::path::Path;

use hw_targets::error::HwError;
use hw_targets::import::{Imported, ofa_yaml};

fn read(path: &Path) -> Result<Imported, HwError> {
    ofa_yaml::read(path)
}

#[test]
fn one_file_is_a_table_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.yaml");
    fs::write(&path, "Conv-input:64x64x3-output:32x32x24: {mean: 1.5, std: 0.1, count: 50}\nSwirl-input:1x1x1-output:1x1x1: {mean: 1}\n").unwrap();
    let table = read(&path).unwrap().table;
    assert_eq!(table.rows().len(), 1);
    assert_eq!(table.network_resolutions(), Some(vec![64]));
    assert_eq!(table.rows()[0].latency.unwrap().value, 1.5e-3);
    assert!(table.notes()[0].contains("Swirl"), "{:?}", table.notes());
}

#[test]
fn other_statistics_and_names_are_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let conv = "Conv-input:160x160x3-output:80x80x24";
    for (name, statistics) in
        [("160_lookup_table.yml", "mean: 1, min: 0.5, max: 2, count: 9.0"), ("160_lookup_table.json", "\"median\": 1")]
    {
        let path = folder.path().join(name);
        fs::write(&path, format!("{{\"{conv}\": {{{statistics}}}}}")).unwrap();
        let table = read(folder.path()).unwrap().table;
        assert_eq!(table.rows()[0].latency.unwrap().value, 1e-3, "{name}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_is_wrong_in_a_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("160_lookup_table.yaml");
    let check = |content: &str, words: &str| {
        fs::write(&path, content).unwrap();
        let error = read(folder.path()).unwrap_err();
        assert_eq!(error.kind().exit_code(), 3);
        assert!(error.to_string().contains(words), "{error}");
    };
    let conv = "Conv-input:160x160x3-output:80x80x24";
    check(&format!("{conv}: {{mean: -1}}"), "no measurement");
    check(&format!("{conv}: {{mean: .nan}}"), "no measurement");
    check(&format!("{conv}: {{mean: 1}}\n{conv}: {{mean: 2}}"), "duplicate");
    check(&format!("{conv}: {{std: 1}}"), "mean");
    check(&format!("{conv}: {{mean: 1, count: 1.5}}"), "count");
    check("Conv-input:224x224x3-output:112x112x24: {mean: 1}", "224 px, and its name says 160");
    check("- a list", "ofa-yaml");
    check("Swirl: {mean: 1}", "no operator");
    assert_eq!(read(Path::new("/no/such/folder")).unwrap_err().kind().exit_code(), 2);
}
