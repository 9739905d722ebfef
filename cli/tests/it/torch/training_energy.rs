//! What training costs in energy: counted or said to be estimated, added up over all starts, compared.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::Sandbox;

/// Ten steps of the largest network, five of any.
const RECIPE: &str = "\
schema: ofa.recipe/1
name: tiny
space: mcu-cifar
data: 'synthetic:120'
held_out: 20
batch_size: 20
calibration: { batches: 1, batch_size: 20 }
phases:
  - { name: full, epochs: 2, learning_rate: 0.05, with_largest: true }
  - { name: kernel, epochs: 1, learning_rate: 0.01, kernels: all, random_subnets: 1, distillation: 1.0 }
";

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_run_says_what_it_cost_how_that_is_known_and_what_others_would_have_cost() {
    let sandbox = Sandbox::new();
    let recipe = sandbox.file("tiny.yaml", RECIPE);
    let run = sandbox.path("run");
    let given = ["--core-watts", "25", "--grid-intensity", "475", "--compare-networks", "7", "--threads", "1"];
    let args = [&["train", &recipe, "--out", run.to_str().unwrap(), "--device", "cpu"], &given[..]].concat();
    let json = [&args[..], &["--format", "json"]].concat();
    let told = sandbox.ok(&json).json().remove(0);
    let energy = &told["energy"];
    let joules = number(&energy["energy_j"]);
    assert!(joules > 0.0, "{energy}");
    assert!((number(&energy["energy_kwh"]) * 3.6e6 / joules - 1.0).abs() < 1e-9);
    assert!((number(&energy["co2_g"]) / (number(&energy["energy_kwh"]) * 475.0) - 1.0).abs() < 1e-9);
    assert!(energy["scope"].as_str().unwrap().contains("not included"), "{energy}");

    // Counters need a processor that has them and the right to read them; the rest is said to be estimated.
    let method = energy["energy_method"].as_str().unwrap();
    let estimated = number(&energy["measured_share"]) < 1.0;
    assert_eq!(method.contains("estimated: busy cores × 25 W"), estimated, "{energy}");
    assert_eq!(method.contains("measured: RAPL package"), number(&energy["measured_share"]) > 0.0, "{energy}");
    if !fs::exists("/sys/class/powercap/intel-rapl:0/energy_uj").unwrap_or(false) {
        assert_eq!(method, "estimated: busy cores × 25 W");
    }

    // All is spent on something, and each phase did its steps.
    let activities = energy["activities"].as_array().unwrap();
    let of = |name: &str| activities.iter().find(|sum| sum["name"] == name).unwrap();
    let sum: f64 = activities.iter().map(|sum| number(&sum["energy_j"])).sum();
    assert!((sum / joules - 1.0).abs() < 1e-9, "{energy}");
    assert_eq!([&of("full")["steps"], &of("kernel")["steps"]], [10, 5], "{energy}");
    assert!(number(&of("evaluation")["seconds"]) > 0.0 && number(&of("report")["seconds"]) > 0.0, "{energy}");
    // One network by itself: 3 epochs of 5 steps, each as dear as one of the full network here.
    let separate = &energy["separate_trainings"];
    let one = number(&of("full")["energy_j"]) / 10.0 * 15.0;
    assert!((number(&separate["one_j"]) / one - 1.0).abs() < 1e-9, "{energy}");
    assert!((number(&separate["energy_j"]) / (7.0 * one) - 1.0).abs() < 1e-9, "{energy}");

    // The same in the run folder and in the bundle, and growing from epoch to epoch.
    let kept = read(&run.join("energy.json"));
    assert_eq!(&kept, energy);
    assert_eq!(read(&run.join("bundle/energy.json")), kept);
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let metrics: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let epochs: Vec<f64> = metrics.iter().map(|line| number(&line["energy_j"])).collect();
    assert!(epochs[0] > 0.0 && epochs.is_sorted() && *epochs.last().unwrap() <= joules, "{epochs:?}");
    assert!(metrics.iter().all(|line| line["energy_method"].as_str().unwrap().contains(": ")), "{metrics:?}");

    // Going on with a finished run costs a little more; so it is told to people.
    let again = sandbox.ok(&[&args[..], &["--resume"]].concat()).stdout;
    let more = read(&run.join("bundle/energy.json"));
    assert!(number(&more["energy_j"]) > joules && more["starts"] == 2, "{more}");
    for words in ["energy ", "of CO2 (475 g/kWh, given)", method, "7 networks trained one by one: ", "3 epochs"] {
        assert!(again.contains(words), "{words}: {again}");
    }
}

#[test]
fn a_phase_that_ends_early_makes_others_no_dearer() {
    let sandbox = Sandbox::new();
    // Over after two of its nine epochs, the second measured though it is not the ninth.
    let early = RECIPE.replace("epochs: 2,", "epochs: 9, early_bird: { masks: 2, distance: 1.0 },");
    let recipe = sandbox.file("tiny.yaml", &early);
    let run = sandbox.path("run");
    let args = ["train", &recipe, "--out", run.to_str().unwrap(), "--device", "cpu", "--threads", "1"];
    for more in [&["--measure-every", "9"][..], &["--resume"]] {
        let run = sandbox.ok(&[&args[..], more].concat());
        assert!(run.stdout.contains("× its 3 epochs"), "{}", run.stdout);
        let ended = run.stderr.contains("full ends after epoch 2 of 9");
        assert_eq!(ended, more[0] != "--resume", "{}", run.stderr);
    }
    let energy = read(&run.join("energy.json"));
    let full = energy["activities"].as_array().unwrap().iter().find(|sum| sum["name"] == "full").unwrap();
    assert_eq!(full["steps"], 10, "{energy}");
    let one = number(&full["energy_j"]) / 10.0 * 15.0;
    assert!((number(&energy["separate_trainings"]["one_j"]) / one - 1.0).abs() < 1e-9, "{energy}");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let epochs: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(epochs.len(), 3, "{metrics}");
    let distances: Vec<bool> = epochs.iter().map(|line| line["mask_distance"].is_number()).collect();
    assert_eq!(distances, [false, true, false], "known once the queue is full, where a phase waits for it: {metrics}");
    let measured: Vec<&Value> = epochs.iter().filter(|line| line["largest_top1"].is_number()).collect();
    let measured: Vec<[&Value; 2]> = measured.iter().map(|line| [&line["phase"], &line["epoch"]]).collect();
    assert_eq!(serde_json::json!(measured), serde_json::json!([["full", 2], ["kernel", 1]]));
}

#[test]
fn a_sum_that_is_missing_is_said_to_be_and_a_damaged_one_or_an_absurd_number_is_refused() {
    let sandbox = Sandbox::new();
    let nothing = RECIPE.replace("epochs: 2", "epochs: 0").replace("epochs: 1", "epochs: 0");
    let recipe = sandbox.file("tiny.yaml", &nothing);
    let run = sandbox.path("run");
    let args = ["train", &recipe, "--out", run.to_str().unwrap(), "--device", "cpu", "--threads", "1", "--resume"];
    let fresh = sandbox.ok(&args).stdout;
    assert!(fresh.contains("481 g/kWh, world average") && fresh.contains("unknown: no phase was seen"), "{fresh}");
    assert!(!fresh.contains("the rest of it"), "{fresh}");
    fs::remove_file(run.join("energy.json")).unwrap();
    let rest = sandbox.ok(&args).stdout;
    assert!(rest.contains("the rest of it"), "{rest}");
    assert_eq!(read(&run.join("energy.json"))["is_whole"], false);

    let file = run.join("energy.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    sandbox.refused(&args, 3, &["energy.json"]);
    for flag in ["--grid-intensity", "--core-watts", "--gpu-watts", "--compare-networks"] {
        sandbox.refused(&[&args[..], &[flag, "0"]].concat(), 2, &[flag]);
    }
}
