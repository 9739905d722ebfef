//! What earlier releases left on disk is opened by this version. Each folder in `tests/it/releases` is what `make` there wrote
//! with a release's own program.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Run, Sandbox};

/// `d2a715c` stands for all that came before the first release: the oldest version whose files are read.
const RELEASES: [&str; 1] = ["d2a715c"];

const IMAGES: [&str; 6] = ["--data", "synthetic:240", "--device", "cpu", "--threads", "1"];

fn all() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/releases")
}

/// A sandbox with a copy of everything that the release left, its targets in the user's folder.
fn left_by(release: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    copy(&all().join(release), &sandbox.path(""));
    sandbox
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let copied = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &copied);
        } else {
            fs::copy(&entry, &copied).unwrap();
        }
    }
}

fn read(sandbox: &Sandbox, file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(sandbox.path(file)).unwrap()).unwrap()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is not in {value}"))
}

fn answer(run: &Run) -> Value {
    run.json().remove(0)
}

#[test]
fn every_folder_is_of_a_release_and_small() {
    let mut folders: Vec<String> = fs::read_dir(all())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut releases = RELEASES.map(str::to_owned);
    releases.sort();
    assert_eq!(folders, releases);
    for release in RELEASES {
        assert!(size(&all().join(release)) < 400_000, "{release}");
    }
}

fn size(path: &Path) -> u64 {
    match path.is_dir() {
        true => fs::read_dir(path).unwrap().map(|entry| size(&entry.unwrap().path())).sum(),
        false => fs::metadata(path).unwrap().len(),
    }
}

#[test]
fn bundles_of_earlier_releases_predict_as_they_did_and_are_searched() {
    for release in RELEASES {
        let sandbox = left_by(release);
        let best = read(&sandbox, "found/result.json");
        let line =
            ["predictor", "predict", "--predictor", "bundle", "--subnets", "found/subnet.json", "--format", "json"];
        let predicted = answer(&sandbox.ok(&line));
        assert!((number(&predicted, "top1") - number(&best, "top1")).abs() < 1e-6, "{predicted}, {best}");

        let line = ["search", "--supernet", "bundle", "--macs", "400k", "--out", "again", "--device", "cpu"];
        let found = answer(&sandbox.ok(&[&line[..], &["--format", "json"]].concat()));
        assert!(number(&found, "top1") >= number(&predicted, "top1") - 1e-6, "{found}");
        sandbox.ok(&[&["eval", "--network", "again"], &IMAGES[..]].concat());
        sandbox.ok(&[&["eval", "--supernet", "bundle", "--subnet", "found/subnet.json"], &IMAGES[..]].concat());
        sandbox.ok(&[
            "export",
            "--supernet",
            "bundle",
            "--subnet",
            "found/subnet.json",
            "--out",
            "taken",
            "--device",
            "cpu",
        ]);
    }
}

#[test]
fn networks_of_earlier_releases_measure_as_they_did() {
    for release in RELEASES {
        let sandbox = left_by(release);
        let before = read(&sandbox, "measured.json");
        let line = [&["eval", "--network", "found", "--format", "json"], &IMAGES[..]].concat();
        let now = answer(&sandbox.ok(&line));
        assert!((number(&now, "top1") - number(&before, "top1")).abs() < 0.005, "{now}, {before}");
        assert!((number(&now, "loss") - number(&before, "loss")).abs() < 1e-3, "{now}, {before}");
        sandbox.ok(&["export", "--network", "found", "--to", "onnx", "--out", "found.onnx", "--device", "cpu"]);
    }
}

#[test]
fn runs_that_earlier_releases_began_go_on() {
    for release in RELEASES {
        let sandbox = left_by(release);
        let line = ["train", "recipe.yaml", "--out", "stopped", "--resume", "--device", "cpu", "--threads", "1"];
        sandbox.ok(&line);
        let lines = fs::read_to_string(sandbox.path("stopped/metrics.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 6, "an entry for each epoch, before and since: {lines}");
        sandbox.ok(&[&["eval", "--supernet", "stopped", "--largest"], &IMAGES[..]].concat());
    }
}

#[test]
fn pairs_and_predictors_of_earlier_releases_are_of_use() {
    for release in RELEASES {
        let sandbox = left_by(release);
        let judge = |predictor: &str| {
            let line =
                ["predictor", "eval", "--predictor", predictor, "--pairs", "pairs.parquet", "--space", "tiny.yaml"];
            answer(&sandbox.ok(&[&line[..], &["--format", "json"]].concat()))
        };
        let before = judge("predictor.safetensors");
        let fit = ["predictor", "fit", "--pairs", "pairs.parquet", "--space", "tiny.yaml", "--members", "0"];
        sandbox.ok(&[&fit[..], &["--test-pairs", "20", "--out", "fitted.safetensors"]].concat());
        assert_eq!(judge("fitted.safetensors")["pairs"], before["pairs"]);
    }
}

#[test]
fn targets_that_earlier_releases_kept_answer() {
    for release in RELEASES {
        let sandbox = left_by(release);
        let shown = sandbox.ok(&["target", "show", "board"]).stdout;
        assert!(shown.contains("latency") && shown.contains("energy"), "{shown}");
        assert!(sandbox.ok(&["target", "list"]).stdout.contains("board"));
        sandbox.ok(&["target", "rename", "board", "old-board"]);
    }
}

#[test]
fn searches_that_earlier_releases_began_or_ended_are_gone_on_with_and_reported() {
    for release in RELEASES {
        let sandbox = left_by(release);
        let line = ["search", "--supernet", "bundle", "--macs", "400k", "--out", "killed", "--device", "cpu"];
        sandbox.ok(&line);
        assert!(sandbox.path("killed/result.json").exists());
        sandbox.ok(&["report", "found", "--out", "page.html"]);
    }
}
