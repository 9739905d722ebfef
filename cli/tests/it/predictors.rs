//! Published predictors: read, and giving the published numbers.

use serde_json::Value;

use crate::support::{Sandbox, shared};

/// The worst difference between predictions of `predictor` and the golden ones, over all networks.
fn worst(sandbox: &Sandbox, predictor: &str, networks: &[Value]) -> f64 {
    let lines: String = networks.iter().map(|network| format!("{network}\n")).collect();
    let subnets = sandbox.file("networks.jsonl", &lines);
    let run =
        sandbox.ok(&["predictor", "predict", "--predictor", predictor, "--subnets", &subnets, "--format", "json"]);
    let predicted = run.json();
    assert_eq!(predicted.len(), networks.len());
    let pairs = networks.iter().zip(predicted);
    let error = |(network, predicted): (&Value, Value)| {
        (predicted["top1"].as_f64().unwrap() - network["pred_f64"].as_f64().unwrap()).abs()
    };
    pairs.map(error).fold(0.0, f64::max)
}

fn golden(name: &str) -> Option<(Value, String)> {
    let folder = shared()?.join("golden/ofa-accuracy-predictor");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    Some((serde_json::from_str(&text).unwrap(), folder.to_str().unwrap().to_owned()))
}

#[test]
fn the_published_predictor_gives_the_published_numbers() {
    let Some((golden, folder)) = golden("golden.json") else { return };
    let sandbox = Sandbox::new();
    let out = sandbox.path("published.safetensors");
    let out = out.to_str().unwrap();
    let import = sandbox.ok(&[
        "predictor",
        "import",
        &format!("{folder}/acc_predictor.pth"),
        "--space",
        "mbv3-w1.2",
        "--out",
        out,
        "--format",
        "json",
    ]);
    assert_eq!(import.json()[0]["resolutions"], serde_json::json!([160, 176, 192, 208, 224]));
    let mut networks = golden["archs"].as_array().unwrap().clone();
    networks.push(golden["published_anchor"].clone());
    assert!(networks.len() > 20);
    let error = worst(&sandbox, out, &networks);
    assert!(error <= 1e-6, "{error:e}");

    // A resolution whose column was never trained is refused.
    let mut low = golden["published_anchor"].clone();
    low["r"] = 128.into();
    let low = sandbox.file("low.jsonl", &low.to_string());
    sandbox.refused(&["predictor", "predict", "--predictor", out, "--subnets", &low], 3, &["128"]);
}

#[test]
fn the_published_resnet50_predictor_gives_the_published_numbers() {
    let Some((golden, folder)) = golden("resnet50_predictor_golden.json") else { return };
    let sandbox = Sandbox::new();
    let out = sandbox.path("resnet50.safetensors");
    let out = out.to_str().unwrap();
    let file = format!("{folder}/ofa_resnet50_acc_predictor.pth");
    let import = ["predictor", "import", &file, "--space", "ofa-resnet50", "--out", out];
    sandbox.refused(&import, 2, &["resolution", "--resolutions"]);
    sandbox.ok(&[&import[..], &["--resolutions", "128,144,160,176,192,224,240,256"]].concat());
    let networks = golden["archs"].as_array().unwrap();
    assert!(networks.len() >= 30);
    let error = worst(&sandbox, out, networks);
    assert!(error <= 1e-6, "{error:e}");
    sandbox.refused(&["search", "--predictor", out, "--macs", "1G"], 2, &["ofa-resnet50"]);
}

#[test]
fn a_damaged_file_is_refused() {
    let Some((_, folder)) = golden("golden.json") else { return };
    let sandbox = Sandbox::new();
    let whole = std::fs::read(format!("{folder}/acc_predictor.pth")).unwrap();
    let cut = sandbox.path("cut.pth");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let out = sandbox.path("out.safetensors");
    let (cut, out) = (cut.to_str().unwrap(), out.to_str().unwrap());
    sandbox.refused(&["predictor", "import", cut, "--space", "mbv3-w1.2", "--out", out], 3, &["cut.pth"]);
    sandbox.refused(&["predictor", "import", cut, "--space", "mbv3-w9", "--out", out], 2, &["mbv3-w9"]);
    sandbox.refused(&["predictor", "import", "none.pth", "--space", "mbv3-w1.2", "--out", out], 2, &["none.pth"]);
}

#[test]
fn the_model_is_chosen_by_cross_validation_and_the_report_looks_closer() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.fitted("auto");
    let report = std::fs::read_to_string(predictor.replace(".safetensors", ".report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let candidates = report["cross_validated"].as_object().unwrap();
    let best = candidates.iter().max_by(|a, b| a.1.as_f64().unwrap().total_cmp(&b.1.as_f64().unwrap())).unwrap();
    assert!(candidates.len() > 1 && report["model"] == *best.0, "{report}");
    // Slices are of rising cost and share the pairs out.
    let slices = report["slices"].as_array().unwrap();
    let pairs: u64 = slices.iter().map(|slice| slice["pairs"].as_u64().unwrap()).sum();
    assert_eq!(pairs, report["test_pairs"].as_u64().unwrap());
    assert!(slices.windows(2).all(|two| two[0]["macs"][1].as_u64() <= two[1]["macs"][0].as_u64()), "{report}");
    let curve: Vec<u64> =
        report["learning_curve"].as_array().unwrap().iter().map(|point| point["pairs"].as_u64().unwrap()).collect();
    assert!(curve.starts_with(&[100, 200]) && curve.len() <= 3, "{curve:?}");
}

#[test]
fn proposals_lie_near_the_front_and_are_new() {
    let sandbox = Sandbox::new();
    sandbox.predictor();
    let pairs = sandbox.path("pairs.parquet");
    let pairs = pairs.to_str().unwrap();
    let propose = |more: &[&str]| {
        let mut args = vec!["predictor", "propose", "--pairs", pairs, "--space", "mcu-cifar", "-n", "6"];
        args.extend(more);
        args.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let run = |more: &[&str]| {
        let args = propose(more);
        sandbox.ok(&args.iter().map(String::as_str).collect::<Vec<_>>()).stdout
    };
    let front = ["--target", "pixel3", "--along", "energy", "--from", "1mJ", "--to", "3mJ"];
    let proposed = run(&front);
    assert_eq!(proposed, run(&front));
    assert_eq!(proposed.lines().count(), 6);
    let measured = predictors::pairs::read(pairs.as_ref()).unwrap();
    assert!(proposed.lines().all(|line| measured.iter().all(|pair| pair.subnet != line)));
    let file = sandbox.file("proposed.jsonl", &proposed);
    let costs = sandbox
        .ok(&["target", "cost", "pixel3", "--space", "mcu-cifar", "--subnets", &file, "--format", "json"])
        .json();
    let energies: Vec<f64> = costs.iter().map(|cost| cost["energy_mj"]["value"].as_f64().unwrap()).collect();
    assert!(energies.iter().all(|energy| (0.8..=3.0).contains(energy)) && energies[5] > 2.0, "{energies:?}");

    let refused = |more: &[&str], code: i32, words: &[&str]| {
        let args = propose(more);
        sandbox.refused(&args.iter().map(String::as_str).collect::<Vec<_>>(), code, words);
    };
    refused(&["--along", "energy"], 2, &["energy", "--target"]);
    refused(&["--along", "power"], 2, &["power", "latency"]);
    refused(&["--along", "macs", "--from", "1mJ", "--to", "3M"], 2, &["1mJ"]);
    refused(&["--along", "macs", "--from", "5M", "--to", "3M"], 2, &["5M", "upside down"]);
    let collect = ["predictor", "collect", "--supernet", "mcu-cifar", "--data", "synthetic", "--out", "x.parquet"];
    sandbox.refused(&[&collect[..], &["--target", "pixel3"]].concat(), 2, &["--near-front"]);
}
