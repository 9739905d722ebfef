//! MACs, parameters and sizes against published numbers. Data is found through `OFA_SHARED`.

use search::arch::ArchSpec;
use search::arch_file::ArchFile;
use search::space::SearchSpace;
use serde_json::Value;

/// The text of a golden file, or `None` (said aloud) without shared data.
fn golden(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(shared_data::file(&format!("golden/{path}"))?).unwrap())
}

#[test]
fn all_fifty_published_networks_have_the_published_macs_and_parameters() {
    let Some(text) = golden("ofa-specialized.json") else { return };
    let networks: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(networks.len(), 50);
    for network in networks {
        let space = SearchSpace::builtin(network["space"].as_str().unwrap()).unwrap();
        let workload = space.parse_workload(&ArchFile::from_value(network.clone()).unwrap()).unwrap();
        let macs = workload.macs().0 as f64 / 1e6 - network["macs_m"].as_f64().unwrap();
        let params = workload.params().0 as f64 / 1e6 - network["params_m"].as_f64().unwrap();
        assert!(macs.abs() <= 0.005 + 1e-9, "{}: {macs} M MACs off", network["id"]);
        assert!(params.abs() <= 0.0005 + 1e-9, "{}: {params} M parameters off", network["id"]);
    }
}

#[test]
fn note10_architectures_have_the_published_macs_and_parameters() {
    let Some(text) = golden("ofa-note10/latency.json") else { return };
    let file: Value = serde_json::from_str(&text).unwrap();
    let space = SearchSpace::builtin("mbv3-w1.2").unwrap();
    let mut checked = 0;
    let mut stack = vec![&file];
    while let Some(value) = stack.pop() {
        match value {
            Value::Object(object) if object.contains_key("ks") && object.contains_key("macs") => {
                let workload = space.parse_workload(&ArchFile::from_value(value.clone()).unwrap()).unwrap();
                assert_eq!(Some(workload.macs().0), value["macs"].as_u64());
                assert_eq!(Some(workload.params().0), value["params"].as_u64());
                checked += 1;
            }
            Value::Object(object) => stack.extend(object.values()),
            Value::Array(items) => stack.extend(items),
            _ => {}
        }
    }
    assert!(checked > 40, "{checked}");
}

fn check(space: &str, arch: impl Fn(&SearchSpace) -> ArchSpec, macs: f64, unit: f64) {
    let space = SearchSpace::builtin(space).unwrap();
    let got = space.lower(&arch(&space)).macs().0 as f64 / 1e6;
    assert!((got - macs).abs() <= unit, "{} {got} {macs}", space.id());
}

#[test]
fn sizes_of_the_extremes_are_the_published_ones() {
    check("mbv3-w1.0", |space| space.largest(224).unwrap(), 566.2, 0.05);
    check("mbv3-w1.0", |space| space.smallest(128).unwrap(), 41.5, 0.05);
    check("mbv3-w1.2", |space| space.largest(224).unwrap(), 843.1, 0.05);
    let smallest = r#"{"ks":[3],"e":[3],"d":[2,2,2,2,2],"r":128}"#.replace("[3]", &format!("{:?}", [3; 20]));
    let smallest = ArchFile::from_json(&smallest).unwrap();
    check("mbv3-w1.2", |space| space.parse_at_any_resolution(&smallest).unwrap(), 65.5, 0.05);
    check("proxyless-w1.3", |space| space.largest(224).unwrap(), 1004.9, 0.05);
    check("proxyless-w1.3", |space| space.smallest(128).unwrap(), 87.8, 0.05);
}

#[test]
fn the_largest_networks_hold_the_supernets_parameters() {
    for (space, params) in [("mbv3-w1.0", 7_664_760), ("mbv3-w1.2", 10_701_632), ("proxyless-w1.3", 7_942_056)] {
        let space = SearchSpace::builtin(space).unwrap();
        assert_eq!(space.lower(&space.largest(224).unwrap()).params().0, params);
    }
}

#[test]
fn the_microcontroller_space_keeps_its_bounds() {
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    for resolution in [24, 32] {
        for arch in [space.smallest(resolution).unwrap(), space.largest(resolution).unwrap()] {
            let workload = space.lower(&arch);
            println!("mcu-cifar at {resolution}: {} MACs, {} parameters", workload.macs().0, workload.params().0);
        }
    }
    let largest = space.lower(&space.largest(32).unwrap());
    assert!(largest.macs().0 <= 12_000_000 && largest.params().0 <= 1_500_000);
}
