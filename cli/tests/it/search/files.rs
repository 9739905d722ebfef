//! What a search writes into its folder, and how it goes on there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{search, without_time};
use crate::support::{Run, Sandbox};

#[test]
fn the_result_is_written() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let out = sandbox.path("found");
    let out_text = out.to_str().unwrap();
    let args = ["--target", "pixel3", "--energy", "2mJ", "--out", out_text, "--top", "2", "--format", "json"];
    let run = sandbox.ok(&search(&predictor, &args));
    let printed = run.json();
    let read = |name: &str| -> Value { serde_json::from_str(&fs::read_to_string(out.join(name)).unwrap()).unwrap() };
    assert_eq!(read("result.json"), printed[0]);
    assert_eq!(read("subnet.json"), printed[0]["subnet"]);
    assert_eq!(fs::read_to_string(out.join("top.jsonl")).unwrap().lines().count(), 2);
    let history = fs::read(out.join("history.parquet")).unwrap();
    assert!(history.starts_with(b"PAR1") && history.ends_with(b"PAR1"));
    let subnet = out.join("subnet.json");
    sandbox.ok(&["space", "cost", "mcu-cifar", "--subnets", subnet.to_str().unwrap()]);
    let replaces = |run: &Run| run.stderr.contains(&format!("what an earlier search found in {out_text} is replaced"));
    assert!(!replaces(&run), "{}", run.stderr);
    let run = sandbox.ok(&search(&predictor, &args));
    assert!(replaces(&run), "{}", run.stderr);
}

#[test]
fn several_targets_are_searched_in_one_run() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let args = ["--targets", "pixel3,jetson-tx2", "--energy", "42mJ", "--format", "json"];
    let found = sandbox.ok(&search(&predictor, &args)).json();
    assert_eq!(found.len(), 2);
    for (result, target) in found.iter().zip(["pixel3", "jetson-tx2"]) {
        assert_eq!(result["target"], target);
        let alone = ["--target", target, "--energy", "42mJ", "--format", "json"];
        assert_eq!(
            without_time(sandbox.ok(&search(&predictor, &alone)).json().remove(0)),
            without_time(result.clone())
        );
    }
    // One that cannot be met does not silence the other.
    let out = sandbox.path("found");
    let args = ["--targets", "jetson-tx2,pixel3", "--energy", "3mJ", "--out", out.to_str().unwrap()];
    let run = sandbox.ofa(&search(&predictor, &args));
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("target jetson-tx2: no subnet"), "{}", run.stderr);
    assert!(run.stdout.contains("pixel3") && !run.stdout.contains("jetson"), "{}", run.stdout);
    assert!(out.join("pixel3/subnet.json").is_file() && !out.join("jetson-tx2").exists());
}

#[test]
fn a_killed_search_goes_on_to_the_same_result() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let args = |out: &Path| {
        let mut args: Vec<String> = search(&predictor, &["--target", "pixel3", "--energy", "2mJ", "--threads", "1"])
            .iter()
            .map(|a| (*a).to_owned())
            .collect();
        args[6] = "30000".to_owned();
        args.extend(["--out".to_owned(), out.to_str().unwrap().to_owned()]);
        args
    };
    let (undisturbed, killed) = (sandbox.path("undisturbed"), sandbox.path("killed"));
    assert!(sandbox.command().args(args(&undisturbed)).status().unwrap().success());
    assert!(!undisturbed.join("search.journal").exists());

    let result =
        |out: &Path| without_time(serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap());
    let evaluations = result(&undisturbed)["evaluations"].as_u64().unwrap();
    let journal = killed.join("search.journal");
    let length = || fs::metadata(&journal).map_or(0, |file| file.len());
    for part in [evaluations / 5, evaluations / 2] {
        let mut child = sandbox.command().args(args(&killed)).spawn().unwrap();
        // Moments by the clock, after some evaluations more, of 16 bytes each.
        while length() < 16 * part && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(length() >= 16 * part && !killed.join("result.json").exists(), "it ended too soon to kill it");
    }
    let last = sandbox.command().args(args(&killed)).output().unwrap();
    let words = String::from_utf8_lossy(&last.stderr).into_owned();
    assert!(last.status.success() && words.contains("goes on after the"), "{words}");
    assert_eq!(result(&undisturbed), result(&killed));
    let history = |out: &Path| fs::read(out.join("history.parquet")).unwrap();
    assert!(history(&undisturbed) == history(&killed));
    assert!(!journal.exists());
}

#[test]
fn a_folder_is_one_searchs_at_a_time() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let out = sandbox.path("out");
    let folder = out.to_str().unwrap();
    let args = |energy| search(&predictor, &["--target", "pixel3", "--energy", energy, "--out", folder]);
    sandbox.refused(&args("1nJ"), 4, &[]);
    assert!(!out.exists(), "nothing was found");
    fs::create_dir(&out).unwrap();
    let held = storage::hold::hold(&out).unwrap().unwrap();
    sandbox.refused(&args("2mJ"), 2, &[&format!("another process is at work in {folder}")]);
    assert!(fs::read_dir(&out).unwrap().next().is_none());
    drop(held);
    sandbox.ok(&args("2mJ"));
    assert!(out.join("result.json").exists());
}

#[cfg(feature = "torch")]
#[test]
fn images_that_cannot_be_read_lose_no_earlier_result() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("found");
    let run = |more: &[&str]| {
        let args =
            ["search", "--supernet", "mcu-cifar", "--target", "pixel3", "--energy", "2mJ", "--evaluations", "500"];
        sandbox.ofa(&[&args[..], &["--out", out.to_str().unwrap()], more].concat())
    };
    assert_eq!(run(&[]).code, 0);
    let all = || {
        let names = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name != "search.journal").collect::<std::collections::BTreeSet<_>>()
    };
    let (before, result) = (all(), fs::read(out.join("result.json")).unwrap());
    let nowhere = format!("folder:{}", sandbox.path("nowhere").display());
    let refused = run(&["--data", &nowhere]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert_eq!(all(), before);
    assert_eq!(fs::read(out.join("result.json")).unwrap(), result);
}

#[test]
fn a_search_by_time_says_how_to_repeat_it() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let run = |more: &[&str]| {
        let mut args =
            vec!["search", "--space", "mcu-cifar", "--predictor", &predictor, "--target", "pixel3", "--format", "json"];
        args.extend(["--energy", "2mJ"]);
        args.extend(more);
        sandbox.ok(&args)
    };
    let timed = run(&["--time", "50ms"]);
    let result = timed.json().remove(0);
    let evaluations = result["evaluations"].to_string();
    assert!(timed.stderr.contains(&format!("--evaluations {evaluations} repeats")), "{}", timed.stderr);
    assert_eq!(without_time(result), without_time(run(&["--evaluations", &evaluations]).json().remove(0)));
    // However little time there is, something is found.
    assert!(run(&["--time", "1ns"]).json()[0]["evaluations"].as_u64().unwrap() > 0);
}
