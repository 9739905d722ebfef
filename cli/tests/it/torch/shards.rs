//! Work that several processes share out without meeting.

use std::path::Path;

use predictors::pairs::{self, AccuracyPair};
use search::space::SearchSpace;

use super::weights::{DATA, bundle};
use crate::support::Sandbox;

fn on(bundle: &str) -> [&str; 6] {
    ["--supernet", bundle, "--data", DATA, "--device", "cpu"]
}

/// What was measured, without the seconds that it took.
fn measured(path: &Path) -> Vec<AccuracyPair> {
    let pairs = pairs::read(path).unwrap();
    pairs.into_iter().map(|pair| AccuracyPair { seconds: 0.0, ..pair }).collect()
}

#[test]
fn parts_of_a_collection_make_the_whole_and_no_subnet_is_measured_twice() {
    let sandbox = Sandbox::new();
    let bundle = bundle(&sandbox, "3");
    let on = on(&bundle);
    let out = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    let collect = |more: &[&str]| {
        let args = [&["predictor", "collect", "-n", "5", "--threads", "1"][..], &on, more].concat();
        sandbox.command().args(args).output().unwrap()
    };
    let ok =
        |more: &[&str]| assert!(collect(more).status.success(), "{}", String::from_utf8_lossy(&collect(more).stderr));
    let whole = out("whole.parquet");
    ok(&["--out", &whole]);
    let parts = out("parts.parquet");
    ok(&["--out", &parts, "--shard", "1/2"]);
    // The other one as the environment says.
    let args = [&["predictor", "collect", "-n", "5", "--threads", "1"][..], &on, &["--out", &parts]].concat();
    let ranked = sandbox.command().args(args).envs([("RANK", "1"), ("WORLD_SIZE", "2")]).output().unwrap();
    assert!(ranked.status.success(), "{}", String::from_utf8_lossy(&ranked.stderr));
    let [first, second] = ["parts-1-of-2.parquet", "parts-2-of-2.parquet"].map(&out);
    let whole = measured(Path::new(&whole));
    let places = |of: &str| measured(Path::new(of));
    assert_eq!(places(&first), [&whole[0], &whole[2], &whole[4]].map(Clone::clone));
    assert_eq!(places(&second), [&whole[1], &whole[3]].map(Clone::clone));
    let joined = out("joined.parquet");
    ok(&["--out", &joined, "--measured", &first, &second]);
    assert_eq!(measured(Path::new(&joined)), whole);
    // Nothing was measured again: the seconds are those of the parts.
    let seconds = |path: &str| pairs::read(Path::new(path)).unwrap().iter().map(|pair| pair.seconds).sum::<f64>();
    assert!((seconds(&joined) - seconds(&first) - seconds(&second)).abs() < 1e-9);
    // More parts than subnets: the last has nothing to say of accuracies.
    let empty = collect(&["--out", &out("empty.parquet"), "--shard", "6/6", "--format", "json"]);
    let said = String::from_utf8_lossy(&empty.stdout).into_owned();
    assert!(empty.status.success() && said.contains("\"pairs\":0") && said.contains("\"top1_min\":null"), "{said}");
    let refused = collect(&["--out", &joined, "--shard", "3/2"]);
    assert_eq!(refused.status.code(), Some(2));
    let missing = collect(&["--out", &out("more.parquet"), "--measured", &out("none.parquet")]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn parts_of_an_evaluation_name_their_lines() {
    let sandbox = Sandbox::new();
    let bundle = bundle(&sandbox, "3");
    let on = on(&bundle);
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let archs = [space.smallest(24).unwrap(), space.largest(24).unwrap(), space.smallest(32).unwrap()];
    let lines: Vec<String> = archs.iter().map(|arch| space.to_subnet_json(arch).to_string()).collect();
    let subnets = sandbox.file("subnets.jsonl", &lines.join("\n"));
    let eval = |more: &[&str]| {
        let args = [&["eval", "--subnets", &subnets, "--threads", "1", "--format", "json"][..], &on, more].concat();
        sandbox.ok(&args).json()
    };
    let whole = eval(&[]);
    assert!(whole.len() == 3 && whole[0].get("line").is_none());
    let [first, second] = ["1/2", "2/2"].map(|shard| eval(&["--shard", shard]));
    assert_eq!((first.len(), second.len()), (2, 1));
    for found in first.iter().chain(&second) {
        let line = found["line"].as_u64().unwrap() as usize;
        assert_eq!(found["loss"], whole[line - 1]["loss"]);
    }
    assert_eq!(second[0]["line"], 2);
    // A subnet that is named is measured, whoever else was launched.
    let args = [&["eval", "--smallest", "--threads", "1", "--format", "json"][..], &on].concat();
    let output = sandbox.command().args(args).envs([("RANK", "1"), ("WORLD_SIZE", "2")]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("top1"));
}
