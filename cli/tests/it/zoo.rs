//! The bundles that ship: the first command of the README, and whether they are what they say of themselves.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Run, Sandbox};

const BUNDLES: [&str; 2] = ["fbnet-cifar", "mcu-cifar"];

fn folder(bundle: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/zoo").join(bundle)
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
fn the_first_command_of_the_readme_answers_and_its_budget_bites() {
    let sandbox = Sandbox::new();
    let run = search(&sandbox, &["--energy", "50mJ"]);
    assert!(!run.stderr.contains("no need to economise") && !run.stderr.contains("not in the zoo"), "{}", run.stderr);
    // Six lines: what it is for, how good, at what cost, how large, what was written, what comes next.
    let labels = run.stdout.lines().map(|line| line.split_whitespace().next().unwrap());
    assert_eq!(labels.collect::<Vec<_>>(), ["task", "top-1", "cost", "size", "files", "next:"], "{}", run.stdout);
    let first =
        ["10 classes of CIFAR-10", "bundle fbnet-cifar", "predicted", "of 50 mJ (±", "MACs", "in int8", "--out found"];
    let more = ["50 mJ ≡ 41.7 ms here", "latency × 1.2 W", "no subnet here beats", "stage 4", "all distinct"];
    let verbose = search(&sandbox, &["--energy", "50mJ", "-v"]);
    for words in first.into_iter().chain(more) {
        assert!(verbose.stdout.contains(words), "{words}: {}", verbose.stdout);
        assert_eq!(run.stdout.contains(words), first.contains(&words), "{words}: {}", run.stdout);
    }
    assert!(verbose.stderr.contains("info: searching bundle `fbnet-cifar`"), "{}", verbose.stderr);
    assert!(!search(&sandbox, &["--energy", "50mJ", "--quiet"]).stdout.contains("next:"));
    let found = |more: &[&str]| search(&sandbox, &[more, &["--format", "json"]].concat()).json().remove(0);
    let result = found(&["--energy", "50mJ"]);
    assert_eq!(result["bundle"], "fbnet-cifar");
    assert!(energy(&result) <= 50.0, "{result}");
    // It may end early, when all around its best is known.
    let evaluations = result["evaluations"].as_u64().unwrap();
    assert!((5_000..=50_100).contains(&evaluations), "{evaluations}");
    let half = found(&["--energy", "25mJ"]);
    assert!(energy(&half) < energy(&result), "{half}");
    assert!(number(&half["top1"]) < number(&result["top1"]) - 0.005, "{half}");
    sandbox.refused(&["search", "--target", "pixel3", "--energy", "1nJ"], 4, &["no subnet", "1 nJ"]);
}

#[test]
#[ignore = "not met by these weights: 41.8 mJ, and nothing dearer is predicted to be better (MODEL_CARD.md)"]
fn the_first_command_of_the_readme_spends_its_budget() {
    let sandbox = Sandbox::new();
    let result = search(&sandbox, &["--energy", "50mJ", "--format", "json"]).json().remove(0);
    assert!((42.0..=50.0).contains(&energy(&result)), "{result}");
}

#[test]
fn a_budget_that_binds_nothing_is_said_to_bind_nothing() {
    let sandbox = Sandbox::new();
    let run = search(&sandbox, &["--energy", "50mJ", "--supernet", "mcu-cifar"]);
    assert!(
        run.stderr.contains("no need to economise: every network of space `mcu-cifar` on pixel3 fits 50 mJ of energy"),
        "{}",
        run.stderr
    );
}

#[test]
fn every_budget_is_kept_and_more_is_not_less_accurate() {
    let sandbox = Sandbox::new();
    for bundle in BUNDLES {
        let found = |more: &[&str]| {
            search(&sandbox, &[more, &["--supernet", bundle, "--format", "json"]].concat()).json().remove(0)
        };
        let range = sandbox.ok(&["target", "range", "pixel3", "--space", bundle, "--format", "json"]).json();
        let range = range.iter().find(|row| row["quantity"] == "energy_mj").expect("pixel3 knows energy");
        let (cheapest, dearest) = (number(&range["cheapest"]), number(&range["dearest"]));
        let mut last = 0.0;
        for tenth in 1..=10 {
            let budget = cheapest + (dearest - cheapest) * f64::from(tenth) / 10.0;
            let result = found(&["--energy", &format!("{budget:.6}mJ")]);
            assert!(energy(&result) <= budget + 1e-6, "{bundle}: {} mJ is above {budget} mJ", energy(&result));
            let top1 = number(&result["top1"]);
            assert!(top1 >= last, "{bundle}: {budget} mJ: {top1} after {last}");
            last = top1;
        }
    }
}

#[test]
fn the_bundles_are_whole_and_small() {
    for bundle in BUNDLES {
        let folder = folder(bundle);
        let sizes = walk(&folder);
        for file in [
            "space.yaml",
            "supernet.safetensors",
            "predictor.safetensors",
            "preprocessing.json",
            "accuracy.parquet",
            "recipe.yaml",
            "MODEL_CARD.md",
        ] {
            assert!(sizes.iter().any(|(path, _)| path == &folder.join(file)), "{bundle}: {file} is missing");
        }
        let calibration = sizes.iter().filter(|(path, _)| path.starts_with(folder.join("calibration")));
        let calibration: u64 = calibration.map(|(_, size)| size).sum();
        assert!((1..=1_000_000).contains(&calibration), "{bundle}: calibration images take {calibration} bytes");
        let all: u64 = sizes.iter().map(|(_, size)| size).sum();
        assert!(all <= 12_000_000, "{bundle} takes {all} bytes");
    }
}

fn walk(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![(path.clone(), size(&path))] }).collect()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn the_predictors_agree_with_the_measured_pairs() {
    let sandbox = Sandbox::new();
    for bundle in BUNDLES {
        let pairs = folder(bundle).join("accuracy.parquet");
        let pairs = pairs.to_str().unwrap();
        let judged = sandbox.ok(&["predictor", "eval", "--predictor", bundle, "--pairs", pairs, "--format", "json"]);
        let report = &judged.json()[0];
        // Most of these pairs were seen in fitting; the report beside the predictor is about those that were not.
        assert!(number(&report["kendall_tau_b"]) >= 0.8, "{bundle}: {report}");
        assert!(number(&report["rmse"]) <= 0.006, "{bundle}: {report}");
    }
}

#[cfg(feature = "torch")]
#[test]
fn a_subnet_leaves_it_calibrated_without_data() {
    let sandbox = Sandbox::new();
    for (bundle, energy) in BUNDLES.into_iter().zip(["25mJ", "1mJ"]) {
        let out = sandbox.path(bundle);
        let out = out.to_str().unwrap();
        let cheap = ["--supernet", bundle, "--energy", energy, "--evaluations", "2000"];
        search(&sandbox, &[&cheap[..], &["--out", out, "--to", "torchscript"]].concat());
        for file in ["weights.safetensors", "module.pt", "preprocessing.json", "result.json", "subnet.json"] {
            assert!(size(&Path::new(out).join(file)) > 0, "{bundle}: {file}");
        }
        let preprocessing = fs::read_to_string(Path::new(out).join("preprocessing.json")).unwrap();
        assert!(preprocessing.contains("airplane") && preprocessing.contains("truck"), "{preprocessing}");
    }
}

/// The pairs that ship were measured with these weights: measuring one again gives the same top-1.
#[cfg(feature = "torch")]
#[test]
fn measured_again_the_pairs_repeat() {
    let Some(shared) = crate::support::shared() else { return };
    let sandbox = Sandbox::new();
    let pairs = predictors::pairs::read(&folder("mcu-cifar").join("accuracy.parquet")).unwrap();
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
