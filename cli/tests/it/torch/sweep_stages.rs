//! `ofa sweep` with stages before and after its searches: killed, shared between processes, asked again with other settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::build::{images, text};
use crate::support::Sandbox;

/// Two recipes, each with two predictors; what is found is refined, trained on, written and measured.
const SWEEP: &str = "schema: ofa.sweep/1
name: recipes
targets: [pixel3]
train: {recipes: [one.yaml, two.yaml], collect: {pairs: 24}}
predictors: [default, additive]
budgets: [{latency: 35%}]
baselines: [uniform]
evaluations: 500
networks:
  refine: predictor
  finetune: {epochs: 1, set: [batch_size=20]}
  export: [onnx]
";
const POINTS: u64 = 8;

/// A space, two recipes in it and a sweep over them; gives the sweep's file.
fn files(sandbox: &Sandbox, data: &str) -> String {
    let net = sandbox.path("net");
    sandbox.ok(&["init", text(&net), "--data", data, "--minutes", "0.05", "--device", "cpu", "--threads", "1"]);
    let recipe = fs::read_to_string(net.join("recipe.yaml")).unwrap();
    let other = recipe.replace("seed: 0", "seed: 1");
    assert!(other != recipe, "{recipe}");
    fs::write(sandbox.path("one.yaml"), &recipe).unwrap();
    fs::write(sandbox.path("two.yaml"), other).unwrap();
    fs::copy(net.join("space.yaml"), sandbox.path("space.yaml")).unwrap();
    sandbox.file("recipes.yaml", SWEEP)
}

/// The files of every network, by their paths; but for what training it took.
fn networks(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for network in fs::read_dir(folder.join("networks")).unwrap().flatten() {
        let files = fs::read_dir(network.path()).unwrap().flatten().map(|file| file.path());
        for path in files.filter(|path| !path.ends_with("energy.json")) {
            all.insert(path.strip_prefix(folder).unwrap().display().to_string(), fs::read(path).unwrap());
        }
    }
    all
}

fn assert_same(networks: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(networks.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let differ: Vec<_> = expected.iter().filter(|(name, bytes)| networks[*name] != **bytes).collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
    let words = differ.iter().map(|(name, bytes)| format!("{name}: {}\n{}", text(bytes), text(&networks[*name])));
    assert!(differ.is_empty(), "{}", words.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_sweep_trains_fits_searches_and_makes_networks_however_often_it_is_killed() {
    let sandbox = Sandbox::new();
    let data = images(&sandbox);
    let file = files(&sandbox, &data);
    let [whole, killed] = ["whole", "killed"].map(|name| sandbox.path(name));
    let line = |folder: &Path| -> Vec<String> {
        let line = ["sweep", "run", &file, "--out", text(folder), "--data", &data, "--device", "cpu", "--threads", "1"];
        line.map(str::to_owned).to_vec()
    };
    let ok = |folder: &Path, more: &[&str]| {
        let mut line = line(folder);
        line.extend(more.iter().map(|word| (*word).to_owned()));
        sandbox.ok(&line.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // All of it is checked, and told, before anything is done.
    let plan = sandbox.ok(&["sweep", "plan", &file, "--format", "json"]).json().remove(0);
    assert_eq!(plan["points"].as_array().unwrap().len() as u64, POINTS);
    let before: Vec<&str> = plan["stages_before"].as_array().unwrap().iter().filter_map(|word| word.as_str()).collect();
    let expected = ["train one", "collect one", "fit one", "train two", "collect two", "fit two"];
    assert_eq!(before[..6], expected);
    assert_eq!(before[6..], ["fit additive to one", "fit additive to two"]);

    let began = Instant::now();
    let made = ok(&whole, &["--format", "json"]).json().remove(0);
    let took = began.elapsed();
    // With so few pairs, two models may come to the same predictor, and its points are computed once.
    let computed = made["computed"].as_u64().unwrap();
    assert!(computed >= POINTS / 2 && computed + made["elsewhere"].as_u64().unwrap() == POINTS, "{made}");
    let count = made["networks"].as_u64().unwrap();
    // A baseline goes by the predictor, too; and two predictors may find the same.
    assert!((4..=POINTS).contains(&count) && made["networks_failed"] == 0, "{made}");
    // Points that share a result have a row each.
    assert!(made["table"].is_string(), "{made}");
    let rows = sandbox.ok(&["report", text(&whole), "--as", "md"]).stdout;
    assert_eq!(rows.lines().count() as u64, POINTS + 2, "{rows}");
    let expected = networks(&whole);
    assert_eq!(expected.keys().filter(|name| name.ends_with(".onnx")).count() as u64, count);
    let table = sandbox.ok(&["sweep", "status", text(&whole)]).stdout;
    assert!(table.contains("top-1, test") && table.contains("additive"), "{table}");
    assert!(table.contains(&format!("{count} of {count} networks are made")), "{table}");

    // Killed at moments all over it, then left alone.
    let mut hits = 0;
    for part in [2_u32, 6, 10, 14, 18] {
        let mut child = sandbox.command();
        let mut child = child.args(line(&killed)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(took.as_secs_f64() * f64::from(part) / 60.0));
        hits += u32::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(hits > 2, "{hits}");
    // Two at once: neither does what the other does.
    let two: Vec<_> = (0..2)
        .map(|_| sandbox.command().args(line(&killed)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    for mut child in two {
        assert!(child.wait().unwrap().success());
    }
    assert_same(&networks(&killed), &expected);
    assert_eq!(fs::read_dir(killed.join("claims")).unwrap().count(), 0);

    // Asked again, nothing is done; with other settings, what depends on them is.
    let again = ok(&whole, &["--format", "json"]).json().remove(0);
    assert_eq!((again["computed"].as_u64(), again["networks_cached"].as_u64()), (Some(0), Some(count)), "{again}");
    let stages_before = |text_of_file: &str| {
        fs::write(&file, text_of_file).unwrap();
        let plan = sandbox.ok(&["sweep", "plan", &file, "--out", text(&whole), "--format", "json"]).json().remove(0);
        plan["stages_before"].clone()
    };
    assert_eq!(stages_before(SWEEP), json!([]));
    let more = stages_before(&SWEEP.replace("pairs: 24", "pairs: 30"));
    let again = ["collect one again: pairs changed", "fit one", "collect two again: pairs changed", "fit two"];
    assert_eq!(more, json!([&again[..], &["fit additive to one", "fit additive to two"]].concat()));
    fs::write(&file, SWEEP.replace("batch_size=20", "batch_size=10")).unwrap();
    let told = ok(&whole, &[]).stderr;
    let has = |words: &str| told.lines().any(|line| line.contains(words));
    for words in
        ["train one  found", "fit two  found", "finetune  again: set changed", "export  again: network before changed"]
    {
        assert!(has(words), "{words}: {told}");
    }
    assert!(!has(": refine"), "{told}");

    // What a disk has spoilt is made again.
    let weights = killed.join("bundles/one/supernet/bundle/supernet.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let told = sandbox.ok(&["sweep", "status", text(&killed)]).stdout;
    let again = "train one again: supernet/bundle/supernet.safetensors is another file now";
    let listed = [again, "collect one", "fit one"].map(|stage| format!("before that: {stage}\n")).concat();
    assert!(told.contains(&listed) && !told.contains("train two"), "{told}");
    fs::write(&file, SWEEP).unwrap();
    let told = ok(&killed, &[]).stderr;
    assert!(told.contains("train one  again: supernet/bundle/supernet.safetensors is another file now"), "{told}");
    assert!(fs::read(&weights).unwrap() == bytes && networks(&killed) == expected);

    // Gathered elsewhere, the networks come along.
    let merged = sandbox.path("merged");
    sandbox.ok(&["sweep", "merge", text(&merged), text(&killed)]);
    assert_same(&networks(&merged), &expected);
}

#[test]
fn mistakes_of_stages_are_told_with_their_places_before_anything_is_done() {
    let sandbox = Sandbox::new();
    let data = images(&sandbox);
    let file = files(&sandbox, &data);
    let out = sandbox.path("out");
    let refused = |text: &str, code: i32, words: &[&str]| {
        fs::write(&file, text).unwrap();
        let line = ["sweep", "run", &file, "--out", out.to_str().unwrap(), "--device", "cpu"];
        match code {
            3 => sandbox.refused_in_places(&line, words),
            _ => sandbox.refused(&line, code, words),
        };
        assert!(!out.exists(), "{text}");
    };
    refused(
        &SWEEP
            .replace("two.yaml", "three.yaml")
            .replace("pairs: 24", "pairs: 2")
            .replace("additive]", "nothing.safetensors]")
            .replace("refine: predictor", "refine: guess")
            .replace("[onnx]", "[pdf]"),
        3,
        &["recipes.yaml:4:", "20", "recipes.yaml:10:", "images", "`guess`", "recipes.yaml:12:", "`pdf`"],
    );
    refused(
        &SWEEP.replace("two.yaml", "three.yaml").replace("additive]", "nothing.safetensors]"),
        3,
        &["recipes.yaml:4:29", "three.yaml", "recipes.yaml:5:23", "nothing.safetensors"],
    );
    refused(
        &SWEEP.replace("evaluations: 500", "confidence: 0.9").replace("baselines: [uniform]\n", ""),
        3,
        &["confidence"],
    );
    let names = SWEEP.replace("predictors:", "bundles: [one]\npredictors:");
    refused(&names, 3, &["bundle `one` is among `bundles`, too"]);
    // The recipes name their images; the bundles of others do not.
    let no_data =
        SWEEP.replace("train: {recipes: [one.yaml, two.yaml], collect: {pairs: 24}}\n", "bundles: [mcu-cifar]\n");
    refused(&no_data, 2, &["does not say with which images", "--data"]);
}
