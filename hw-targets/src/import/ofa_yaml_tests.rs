use std::fs;
use storage::failure::Failure;

use super::*;
use crate::import::Format;
use crate::library::{Kept, TargetLibrary};
use crate::reference_networks::{Genome, mbv3};
use crate::shipped::tests::shared;
use network::units::Quantity;

fn numbers(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as u32).collect()
}

/// Every published architecture, through import, the CSV it writes, and the library.
#[test]
fn note10_latencies_of_the_golden_architectures() {
    let Some(shared) = shared() else { return };
    let home = tempfile::tempdir().unwrap();
    let library = TargetLibrary::new(Some(home.path().to_path_buf()));
    let kept = library.import(Format::OfaYaml, &shared.join("data/hw/ofa-note10"), None, "my-note10").unwrap();
    let Kept::Target(imported) = kept else { panic!("a table becomes a target") };
    assert_eq!(imported.notes(), [] as [String; 0]);
    let target = library.find("my-note10").unwrap();
    assert_eq!(target.network_resolutions(), Some(vec![160, 176, 192, 208, 224]));
    let golden: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(shared.join("golden/ofa-note10/latency.json")).unwrap()).unwrap();
    let all = |key: &str| golden[key].as_array().unwrap().clone();
    let archs: Vec<_> =
        [vec![golden["anchor"].clone()], all("anchors_specialized"), all("archs"), all("edge")].concat();
    assert_eq!(archs.len(), 65);
    let mut worst: f64 = 0.0;
    for arch in archs {
        let genome =
            Genome { kernels: numbers(&arch["ks"]), expands: numbers(&arch["e"]), depths: numbers(&arch["d"]) };
        let network = mbv3(&genome, arch["r"].as_u64().unwrap() as u32, 120);
        let cost = target.cost_of(&network).unwrap();
        let latency = cost.latency.unwrap();
        worst = worst.max((latency.value * 1e3 - arch["latency_ms"].as_f64().unwrap()).abs());
        assert!(!latency.fitted && latency.std > 0.0);
        if let Some(macs) = arch["macs"].as_u64() {
            assert_eq!((cost.macs.0, cost.params.0), (macs, arch["params"].as_u64().unwrap()));
        }
    }
    println!("largest difference {worst:.1e} ms");
    assert!(worst < 1e-6, "{worst}");

    let odd = mbv3(&Genome { kernels: vec![3; 20], expands: vec![3; 20], depths: vec![2; 5] }, 168, 120);
    let error = target.cost_of(&odd).unwrap_err();
    assert_eq!(error.kind().exit_code(), 3);
    assert!(error.to_string().contains("conv 168x168x3 -> 84x84x24"), "{error}");
    assert_eq!(target.require(Quantity::Energy).unwrap_err().kind().exit_code(), 2);
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
    check("- a list", "ofa-yaml");
    check("Swirl: {mean: 1}", "no operator");
    assert_eq!(read(Path::new("/no/such/folder")).unwrap_err().kind().exit_code(), 2);
}

#[test]
fn a_ratio_is_not_taken_for_a_width() {
    let op = |key: &str| op_of(&LayerKey::new(key));
    let refused =
        op("expanded_conv-input:112x112x32-output:112x112x16-expand:1-kernel:3-stride:1-idskip:0").unwrap_err();
    assert!(matches!(&refused, Unmapped::OtherFormat(reason) if reason.contains("ratio")), "{refused:?}");
    let odd = "expanded_conv-input:4x5x6-output:1x1x1-expand:6-kernel:3-stride:1-idskip:0-se:0-hs:0";
    assert!(matches!(op(odd), Err(Unmapped::Unknown(_))));
}
