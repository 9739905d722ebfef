//! `space` and `target`: counts and costs against published numbers.

use std::fs;

use serde_json::Value;

use crate::support::{Sandbox, shared};

#[test]
fn spaces_are_counted_exactly() {
    let sandbox = Sandbox::new();
    let count = |space: &str| sandbox.ok(&["space", "count", space, "--format", "json"]).json().remove(0);
    let mbv3 = count("mbv3-w1.0");
    assert_eq!(mbv3["per_resolution"], "21758655492572485851");
    assert_eq!(mbv3["resolutions"], 25);
    assert_eq!(count("proxyless-w1.3")["per_resolution"], "195827899433152372659");
    let human = sandbox.ok(&["space", "count", "mbv3-w1.0"]).stdout;
    assert!(human.contains("21758655492572485851"), "{human}");
}

#[test]
fn every_space_is_listed_and_shown() {
    let sandbox = Sandbox::new();
    let listed = sandbox.ok(&["space", "list", "--format", "json"]).json();
    assert!(listed.len() >= 6);
    for space in &listed {
        let name = space["name"].as_str().unwrap();
        let yaml = sandbox.ok(&["space", "show", name]).stdout;
        let copy = sandbox.file(&format!("{name}.yaml"), &yaml);
        assert_eq!(sandbox.ok(&["space", "show", &copy]).stdout, yaml, "what is shown can be read back");
    }
}

#[test]
fn samples_are_seeded_and_can_be_read_back() {
    let sandbox = Sandbox::new();
    let sample = |seed| sandbox.ok(&["space", "sample", "fbnet-cifar", "-n", "20", "--seed", seed]).stdout;
    assert_eq!(sample("3"), sample("3"));
    assert_ne!(sample("3"), sample("4"));
    let file = sandbox.file("sample.jsonl", &sample("3"));
    let costs = sandbox.ok(&["space", "cost", "fbnet-cifar", "--subnets", &file, "--format", "json"]).json();
    assert_eq!(costs.len(), 20);
    let costs =
        sandbox.ok(&["target", "cost", "pixel3", "--space", "fbnet-cifar", "--subnets", &file, "--format", "json"]);
    for cost in costs.json() {
        let (energy, latency) =
            (cost["energy_mj"]["value"].as_f64().unwrap(), cost["latency_ms"]["value"].as_f64().unwrap());
        assert!((energy / latency - 1.2).abs() < 1e-9, "energy is latency × 1.2 W");
        assert!(cost["energy_mj"]["std"].as_f64().unwrap() > 0.0);
        assert_eq!(cost["energy_mj"]["grade"], "C");
    }
}

#[test]
fn the_fifty_published_networks_cost_what_was_published() {
    let Some(shared) = shared() else { return };
    let sandbox = Sandbox::new();
    let text = fs::read_to_string(shared.join("golden/ofa-specialized.json")).unwrap();
    let networks: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(networks.len(), 50);
    let mut spaces: Vec<&str> = networks.iter().map(|network| network["space"].as_str().unwrap()).collect();
    spaces.sort_unstable();
    spaces.dedup();
    for space in spaces {
        let members: Vec<&Value> = networks.iter().filter(|network| network["space"] == *space).collect();
        let lines: String = members.iter().map(|network| format!("{network}\n")).collect();
        let file = sandbox.file(&format!("{space}.jsonl"), &lines);
        let costs = sandbox.ok(&["space", "cost", space, "--subnets", &file, "--format", "json"]).json();
        assert_eq!(costs.len(), members.len());
        for (cost, network) in costs.iter().zip(members) {
            let macs = cost["macs"].as_u64().unwrap() as f64 / 1e6 - network["macs_m"].as_f64().unwrap();
            let params = cost["params"].as_u64().unwrap() as f64 / 1e6 - network["params_m"].as_f64().unwrap();
            assert!(macs.abs() < 0.0051 && params.abs() < 0.00051, "{}: {macs} {params}", network["id"]);
            // At least the largest map of the network, int8: the input of the first block.
            let half = network["r"].as_u64().unwrap().div_ceil(2);
            assert!(cost["peak_memory_bytes"].as_u64().unwrap() > 16 * half * half, "{}", network["id"]);
        }
    }
}

#[test]
fn published_latency_tables_give_the_published_latencies() {
    let Some(shared) = shared() else { return };
    let sandbox = Sandbox::new();
    let tables = shared.join("data/hw/ofa-note10");
    sandbox.ok(&["target", "import", "ofa-yaml", tables.to_str().unwrap(), "--name", "my-note10"]);
    let listed = sandbox.ok(&["target", "list", "--format", "json"]).json();
    assert!(listed.iter().any(|target| target["name"] == "my-note10" && target["shipped"] == false));

    let text = fs::read_to_string(shared.join("golden/ofa-note10/latency.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let mut networks = Vec::new();
    let mut stack = vec![&golden];
    while let Some(value) = stack.pop() {
        match value {
            Value::Object(object) if object.contains_key("ks") && object.contains_key("latency_ms") => {
                networks.push(value);
            }
            Value::Object(object) => stack.extend(object.values()),
            Value::Array(items) => stack.extend(items),
            _ => {}
        }
    }
    assert!(networks.len() >= 60, "{}", networks.len());
    let lines: String = networks.iter().map(|network| format!("{network}\n")).collect();
    let file = sandbox.file("networks.jsonl", &lines);
    let costs =
        sandbox.ok(&["target", "cost", "my-note10", "--space", "mbv3-w1.2", "--subnets", &file, "--format", "json"]);
    let costs = costs.json();
    assert_eq!(costs.len(), networks.len());
    for (cost, network) in costs.iter().zip(networks) {
        let (got, published) = (cost["latency_ms"]["value"].as_f64().unwrap(), network["latency_ms"].as_f64().unwrap());
        assert!((got - published).abs() < 1e-6, "{got} is not {published}");
        assert!(cost.get("energy_mj").is_none(), "a table of latencies has no energy");
        if let Some(macs) = network["macs"].as_u64() {
            assert_eq!(cost["macs"], macs);
        }
    }
}

#[test]
fn shipped_targets_say_how_they_answer() {
    let sandbox = Sandbox::new();
    for name in ["pixel3", "jetson-tx2", "note10"] {
        let shown = sandbox.ok(&["target", "show", name, "--format", "json"]).json().remove(0);
        assert!(shown["answers"]["latency"]["explanation"].is_string(), "{shown}");
        assert_eq!(shown["answers"].get("energy").is_some(), name != "note10");
        assert!(sandbox.ok(&["target", "show", name]).stdout.contains("latency"));
    }
}
