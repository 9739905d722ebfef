//! The table of the Note 10 against the latencies published for whole networks.

use std::fs;
use storage::failure::Failure;

use crate::networks::{Genome, Networks};
use crate::testing::shared;
use hw_targets::import::Format;
use hw_targets::library::{Kept, TargetLibrary};
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
    let space = Networks::mbv3_wide();
    let mut worst: f64 = 0.0;
    for arch in archs {
        let genome =
            Genome { kernels: numbers(&arch["ks"]), expands: numbers(&arch["e"]), depths: numbers(&arch["d"]) };
        let network = space.network(&genome, arch["r"].as_u64().unwrap() as u32);
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

    let odd = space.network(&Genome { kernels: vec![3; 20], expands: vec![3; 20], depths: vec![2; 5] }, 168);
    let error = target.cost_of(&odd).unwrap_err();
    assert_eq!(error.kind().exit_code(), 3);
    assert!(error.to_string().contains("conv 168x168x3 -> 84x84x24"), "{error}");
    assert_eq!(target.require(Quantity::Energy).unwrap_err().kind().exit_code(), 2);
}
