//! `target energy`: analytic energy on an accelerator.

use search::space::SearchSpace;
use serde_json::Value;

use crate::support::Sandbox;

/// The first and third convolution of AlexNet, batch 16.
const LAYERS: &str = "1,227,227,3,16,0,16,11,11,3,96,0,16,55,55,96,16,0,16,4,4,0,0,0,0\n\
                      2,13,13,256,16,0,16,3,3,256,384,0,16,13,13,384,16,0,16,1,1,1,1,1,1\n";

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn layers_are_costed_and_add_up() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("layers.csv", LAYERS);
    let args = ["target", "energy", &file, "--accelerator", "eyeriss-isca16"];
    let lines = sandbox.ok(&[&args[..], &["--format", "json"]].concat()).json();
    assert_eq!(lines.len(), 3);
    // ISCA 2016, Figure 10: sum of the bars of CONV1 for the batch of 16.
    assert!((number(&lines[0]["total"]) * 16.0 / 10_842_800_000.0 - 1.0).abs() < 0.01, "{}", lines[0]);
    assert_eq!(lines[0]["mapping"]["p"], 20);
    for line in &lines {
        let parts: f64 = ["computation", "ifmap", "ofmap", "weight"].iter().map(|part| number(&line[part])).sum();
        let data: f64 = line["levels"].as_object().unwrap().values().map(number).sum();
        assert!((parts / number(&line["total"]) - 1.0).abs() < 1e-12);
        assert!(((data + number(&line["computation"])) / number(&line["total"]) - 1.0).abs() < 1e-12);
    }
    assert_eq!(lines[2]["layer"], "total");
    let sum = number(&lines[0]["total"]) + number(&lines[1]["total"]);
    assert!((number(&lines[2]["total"]) / sum - 1.0).abs() < 1e-12);

    let human = sandbox.ok(&args);
    for word in ["computation", "ifmap", "ofmap", "weight", "total", "n2 e5 p20 q1 r1 t3 m96"] {
        assert!(human.stdout.contains(word), "{word}: {}", human.stdout);
    }
    assert!(human.stderr.contains("grade D"), "{}", human.stderr);
    let alone = sandbox.ok(&[&args[..], &["--batch", "1", "--format", "json"]].concat()).json();
    assert!(number(&alone[1]["weight"]) > number(&lines[1]["weight"]));
}

#[test]
fn a_subnet_is_costed_on_an_accelerator_of_ones_own() {
    let sandbox = Sandbox::new();
    let own = "{schema: ofa.accelerator/1, name: mine, dataflow: row-stationary, processing_elements: 64, unit_pJ: 2,
        register_file_bytes: 256, global_buffer_bytes: 65536, sparsity: none,
        energy: {mac: 1, register_file: 1, array: 2, global_buffer: 6, dram: 200}}";
    let own = sandbox.file("mine.yaml", own);
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let smallest = space.to_subnet_json(&space.smallest(24).unwrap());
    let largest = space.to_subnet_json(&space.largest(32).unwrap());
    let subnets = sandbox.file("subnets.jsonl", &format!("{smallest}\n{largest}\n"));
    let args = ["target", "energy", "--space", "mcu-cifar", "--subnets", &subnets, "--accelerator", &own];
    let lines = sandbox.ok(&[&args[..], &["--format", "json"]].concat()).json();
    assert!(number(&lines[0]["total"]) < number(&lines[1]["total"]));
    assert_eq!(lines[1]["macs"], space.lower(&space.largest(32).unwrap()).macs().0);
    let millijoules = number(&lines[1]["total"]) * 2e-9;
    assert!((number(&lines[1]["energy_mj"]) / millijoules - 1.0).abs() < 1e-12);
    assert!(lines[1]["layers"].as_array().unwrap().len() > 10);
    assert!(sandbox.ok(&args).stdout.contains("J"));
}

#[test]
fn bad_input_is_refused_with_its_place() {
    let sandbox = Sandbox::new();
    let file = |text: &str| sandbox.file("layers.csv", text);
    let content = |text: &str, words: &[&str]| {
        sandbox.refused(&["target", "energy", &file(text)], 3, words);
    };
    content(&LAYERS.replace("2,13,13,256", "2,13,13,25x"), &["layers.csv:2", "ifmap channels", "25x"]);
    content(&LAYERS.replace("13,13,384,16", "14,13,384,16"), &["layers.csv:2", "ofmap height", "13"]);
    content("1,2,3\n", &["layers.csv:1", "3 instead of 25"]);
    content("", &["layers.csv", "no layer"]);
    content("1,20,20,1,1,0,16,13,13,1,1,0,16,8,8,1,1,0,16,1,1,0,0,0,0", &["layers.csv", "layer 1", "array"]);
    let good = file(LAYERS);
    let usage = |args: &[&str], words: &[&str]| {
        sandbox.refused(&[&["target", "energy"], args].concat(), 2, words);
    };
    usage(&["absent.csv"], &["absent.csv"]);
    usage(&[&good, "--accelerator", "eyeris"], &["eyeris", "eyeriss"]);
    usage(&[&good, "--accelerator", "absent.yaml"], &["absent.yaml"]);
    usage(&[&good, "--batch", "0"], &["--batch"]);
    usage(&[&good, "--space", "mcu-cifar"], &["--space"]);
    usage(&[], &["LAYERS.csv"]);
    let damaged = sandbox.file("mine.yaml", "schema: ofa.accelerator/1\nname: mine\nregisters: 5\n");
    sandbox.refused(&["target", "energy", &good, "--accelerator", &damaged], 3, &["mine.yaml", "registers", "line 3"]);
}

/// The same accelerator by `target energy` and as the energy of a target whose file names it.
#[test]
fn a_target_counts_its_energy_on_an_accelerator_of_ones_own() {
    let sandbox = Sandbox::new();
    let own = "{schema: ofa.accelerator/1, name: mine, dataflow: row-stationary, processing_elements: 64, unit_pJ: 2,
        register_file_bytes: 256, global_buffer_bytes: 65536, sparsity: none,
        energy: {mac: 1, register_file: 1, array: 2, global_buffer: 6, dram: 200}}";
    let own = sandbox.file("boards/chips/mine.yaml", own);
    let target = sandbox.file(
        "boards/my.yaml",
        "schema: ofa.target/1\nname: my-board\nenergy: {accelerator: chips/mine.yaml, common_rel: 0.4}\n",
    );
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let subnets = sandbox.file("subnets.jsonl", &format!("{}\n", space.to_subnet_json(&space.largest(32).unwrap())));
    let given = ["--space", "mcu-cifar", "--subnets", &subnets, "--format", "json"];
    let counted = sandbox.ok(&[&["target", "energy", "--accelerator", &own], &given[..]].concat()).json().remove(0);
    let cost = sandbox.ok(&[&["target", "cost", &target], &given[..]].concat()).json().remove(0);
    let energy = &cost["energy_mj"];
    assert!((number(&energy["value"]) / number(&counted["energy_mj"]) - 1.0).abs() < 1e-9, "{cost} {counted}");
    assert_eq!((&energy["scope"], &energy["grade"]), (&"chip_and_dram".into(), &"D".into()), "{cost}");
    assert!(cost.get("latency_ms").is_none());
    let shown = sandbox.ok(&["target", "show", &target]).stdout;
    assert!(shown.contains("my-board") && shown.contains("counted on mine, 2.000 pJ"), "{shown}");

    let absent = sandbox.file("boards/absent.yaml", "schema: ofa.target/1\nenergy: {accelerator: no.yaml}\n");
    let words = ["absent.yaml", "energy.accelerator", "no.yaml", "this file's folder"];
    sandbox.refused(&["target", "cost", &absent, "--space", "mcu-cifar", "--subnets", &subnets], 3, &words);
}
