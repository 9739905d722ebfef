//! The bundle that ships: the first command of the README, and whether the bundle is what it says of itself.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Run, Sandbox};

fn bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/zoo/mcu-cifar")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn energy(result: &Value) -> f64 {
    number(&result["costs"]["energy_mj"]["value"])
}

fn search(sandbox: &Sandbox, more: &[&str]) -> Run {
    sandbox.ok(&[&["search", "--target", "pixel3"], more].concat())
}

#[test]
fn the_first_command_of_the_readme_answers() {
    let sandbox = Sandbox::new();
    let run = search(&sandbox, &["--energy", "50mJ"]);
    assert!(run.stderr.contains("the budget does not bind"), "{}", run.stderr);
    for words in ["predicted", "50 mJ ≡ 41.7 ms here", "latency × 1.2 W", "MACs", "parameters", "bundle mcu-cifar"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    let result = search(&sandbox, &["--energy", "50mJ", "--format", "json"]).json().remove(0);
    assert_eq!(result["bundle"], "mcu-cifar");
    // It may end early, when all around its best is known.
    let evaluations = result["evaluations"].as_u64().unwrap();
    assert!((5_000..=50_100).contains(&evaluations), "{evaluations}");
    sandbox.refused(&["search", "--target", "pixel3", "--energy", "1nJ"], 4, &["no subnet", "1 nJ"]);
}

#[test]
fn every_budget_is_kept_and_more_is_never_less_accurate() {
    let sandbox = Sandbox::new();
    let found = |more: &[&str]| search(&sandbox, &[more, &["--format", "json"]].concat()).json().remove(0);
    let free = found(&["--macs", "100M"]);
    let dearest = energy(&free);
    let mut last = 0.0;
    for tenth in 2..=10 {
        let budget = dearest * f64::from(tenth) / 10.0;
        let result = found(&["--energy", &format!("{budget:.6}mJ")]);
        assert!(energy(&result) <= budget + 1e-6, "{} mJ is above {budget} mJ", energy(&result));
        let top1 = number(&result["top1"]);
        assert!(top1 >= last, "{budget} mJ: {top1} after {last}");
        last = top1;
    }
}

#[test]
fn the_bundle_is_whole_and_small() {
    let sizes = walk(&bundle());
    for file in [
        "space.yaml",
        "supernet.safetensors",
        "predictor.safetensors",
        "preprocessing.json",
        "accuracy.parquet",
        "recipe.yaml",
        "MODEL_CARD.md",
    ] {
        assert!(sizes.iter().any(|(path, _)| path == &bundle().join(file)), "{file} is missing");
    }
    let calibration: u64 =
        sizes.iter().filter(|(path, _)| path.starts_with(bundle().join("calibration"))).map(|(_, size)| size).sum();
    assert!((1..=1_000_000).contains(&calibration), "calibration images take {calibration} bytes");
    let all: u64 = sizes.iter().map(|(_, size)| size).sum();
    assert!(all <= 12_000_000, "the bundle takes {all} bytes");
}

fn walk(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![(path.clone(), size(&path))] }).collect()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn the_predictor_agrees_with_the_measured_pairs() {
    let sandbox = Sandbox::new();
    let pairs = bundle().join("accuracy.parquet");
    let pairs = pairs.to_str().unwrap();
    let judged = sandbox.ok(&["predictor", "eval", "--predictor", "mcu-cifar", "--pairs", pairs, "--format", "json"]);
    let report = &judged.json()[0];
    // Most of these pairs were seen in fitting; the report beside the predictor is about those that were not.
    assert!(number(&report["kendall_tau_b"]) >= 0.8, "{report}");
    assert!(number(&report["rmse"]) <= 0.006, "{report}");
}

#[cfg(feature = "torch")]
#[test]
fn a_subnet_leaves_it_calibrated_without_data() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("found");
    let out = out.to_str().unwrap();
    search(&sandbox, &["--energy", "1mJ", "--evaluations", "2000", "--out", out, "--to", "torchscript"]);
    for file in ["weights.safetensors", "module.pt", "preprocessing.json", "result.json", "subnet.json"] {
        assert!(size(&Path::new(out).join(file)) > 0, "{file}");
    }
    let preprocessing = fs::read_to_string(Path::new(out).join("preprocessing.json")).unwrap();
    assert!(preprocessing.contains("airplane") && preprocessing.contains("truck"), "{preprocessing}");
}

/// The pairs that ship were measured with these weights: measuring one again gives the same top-1.
#[cfg(feature = "torch")]
#[test]
fn measured_again_the_pairs_repeat() {
    let Some(shared) = crate::support::shared() else { return };
    let sandbox = Sandbox::new();
    let pairs = predictors::pairs::read(&bundle().join("accuracy.parquet")).unwrap();
    let chosen = [&pairs[1], &pairs[7]];
    let subnets: String = chosen.iter().map(|pair| format!("{}\n", pair.subnet)).collect();
    let subnets = sandbox.file("subnets.jsonl", &subnets);
    let data = format!("parquet:{}", shared.join("data/cifar10").display());
    let run = sandbox.ok(&[
        "eval",
        "--supernet",
        "mcu-cifar",
        "--data",
        &data,
        "--part",
        "held-out",
        "--subnets",
        &subnets,
        "--device",
        "cpu",
        "--format",
        "json",
    ]);
    for (pair, measured) in chosen.iter().zip(run.json()) {
        assert_eq!(measured["images"].as_u64().unwrap(), pair.images);
        // Another processor rounds otherwise: a few images of 5,000 may fall to the other side.
        let top1 = number(&measured["top1"]);
        assert!((top1 - pair.top1).abs() <= 0.002, "{top1} is not {}", pair.top1);
    }
}
