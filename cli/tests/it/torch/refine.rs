//! The verbs that change a network: trained on, and narrowed to a budget.

use std::fs;
use std::path::Path;

use crate::support::Sandbox;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_network_is_trained_on_and_what_is_wrong_is_refused() {
    let sandbox = Sandbox::new();
    let network = sandbox.path("resnet8");
    sandbox.ok(&["network", "from", "resnet8", "--out", text(&network), "--classes", "4"]);
    let data = "synthetic:400,size=32,classes=4";
    let out = sandbox.path("tuned");
    let tune = ["finetune", "--network", text(&network), "--data", data, "--out", text(&out), "--device", "cpu"];
    let settings = ["--set", "batch_size=40", "--set", "learning_rate=0.05", "--epochs", "6", "--measure-every", "3"];
    let run = sandbox.ok(&[&tune[..], &settings, &["--threads", "1", "--freeze", "blocks.0"]].concat());
    assert!(run.stderr.contains("0/6: held-out") && run.stderr.contains("3/6: loss"), "{}", run.stderr);
    assert!(
        run.stdout.contains("held-out, after") && run.stdout.contains("next: ofa eval --network"),
        "{}",
        run.stdout
    );
    let tuned = out.join("network");
    sandbox.ok(&["network", "check", text(&tuned)]);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    let number = |key: &str| report[key].as_f64().unwrap();
    assert!(number("held_out_top1") > number("held_out_top1_before") + 0.2, "{report}");
    let eval = ["eval", "--network", text(&tuned), "--data", data, "--device", "cpu", "--format", "json"];
    let measured = sandbox.ok(&eval).json().remove(0);
    assert_eq!((&measured["top1"], &measured["part"]), (&report["top1"], &report["part"]));
    assert_eq!(report["part"], "test");

    sandbox.refused(&[&tune[..], &settings].concat(), 2, &["already holds a run", "--resume"]);
    let other = [&tune[..], &["--epochs", "2", "--resume"]].concat();
    sandbox.refused(&other, 3, &["another recipe, data set or space"]);
    let elsewhere = sandbox.path("elsewhere");
    let tune = ["finetune", "--network", text(&network), "--data", data, "--out", text(&elsewhere)];
    let refused = |more: &[&str], code, words: &[&str]| sandbox.refused(&[&tune[..], more].concat(), code, words);
    let network = [&tune[..5], &["--out", text(&network)]].concat();
    sandbox.refused(&network, 2, &["holds a bundle", "network.json", "--out"]);
    refused(&["--freeze", "block.0"], 3, &["no layer `block.0`", "blocks.0"]);
    refused(&["--set", "epoch=3"], 2, &["epoch"]);
    refused(&["--set", "learning_rate=0"], 3, &["learning_rate"]);
    refused(&["--teacher", "mcu-cifar"], 3, &["10 outputs", "4"]);
    refused(&["--set", "batch_size=100000"], 3, &["batch_size"]);
    assert!(!elsewhere.join("recipe.yaml").exists());
}

/// NetAdapt from the door to its end: a budget of MACs kept by narrower layers, step by step, and the same after a stop.
#[test]
fn a_network_is_narrowed_to_a_budget_step_by_step() {
    let sandbox = Sandbox::new();
    let network = sandbox.path("resnet8");
    sandbox.ok(&["network", "from", "resnet8", "--out", text(&network), "--classes", "4"]);
    let data = "synthetic:200,size=32,classes=4";
    let refine = |out: &str, more: &[&str]| {
        let refine = ["refine", "--network", text(&network), "--data", data, "--out", text(&sandbox.path(out))]
            .map(str::to_owned)
            .to_vec();
        let settings = [
            "--device",
            "cpu",
            "--threads",
            "1",
            "--macs",
            "10M",
            "--initial-reduction",
            "0.06",
            "--decay",
            "1",
            "--step",
            "4",
            "--short-steps",
            "2",
            "--epochs",
            "1",
            "--set",
            "batch_size=20",
        ];
        let all = refine.iter().map(String::as_str).chain(settings).chain(more.iter().copied()).collect::<Vec<_>>();
        sandbox.ofa(&all)
    };
    let done = refine("whole", &["--format", "json"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let result = done.json().remove(0);
    let macs = |when: &str| result["costs"]["macs"][when].as_f64().unwrap();
    assert!(macs("before") > 12e6 && macs("after") <= 10e6 && macs("after") > 8e6, "{result}");
    assert!(result["steps"].as_u64().unwrap() >= 2, "{result}");
    assert!(done.stderr.contains("step 1: ") && done.stderr.contains(".conv narrower"), "{}", done.stderr);
    let out = sandbox.path("whole");
    sandbox.ok(&["network", "check", text(&out.join("network"))]);
    let made = out.join("network");
    let cost = ["network", "cost", text(&made), "--target", "stm32l4r5", "--format", "json"];
    assert_eq!(sandbox.ok(&cost).json()[0]["macs"].as_f64(), Some(macs("after")));
    let eval = ["eval", "--network", text(&made), "--data", data, "--device", "cpu", "--format", "json"];
    assert_eq!(sandbox.ok(&eval).json()[0]["top1"], result["top1"]);
    for file in ["steps/000/network.json", "steps/002/weights.safetensors", "history.parquet", "report.json"] {
        assert!(out.join(file).is_file(), "{file}");
    }

    // As after a kill behind the first step.
    let again = sandbox.path("again");
    fs::create_dir_all(again.join("steps")).unwrap();
    fs::copy(out.join("adaptation.json"), again.join("adaptation.json")).unwrap();
    for step in ["000", "001"] {
        fs::create_dir(again.join("steps").join(step)).unwrap();
        for file in fs::read_dir(out.join("steps").join(step)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), again.join("steps").join(step).join(file.file_name())).unwrap();
        }
    }
    assert_eq!(refine("again", &["--resume"]).code, 0);
    for file in
        ["steps/002/weights.safetensors", "steps/002/network.json", "network/weights.safetensors", "history.parquet"]
    {
        assert_eq!(fs::read(out.join(file)).unwrap(), fs::read(again.join(file)).unwrap(), "{file}");
    }

    fs::write(again.join("steps/002/weights.safetensors"), "torn").unwrap();
    let torn = refine("again", &["--resume"]);
    assert!(torn.code == 3 && torn.stderr.contains("to go on from step 1"), "{}", torn.stderr);
    let refused = |out: &str, more: &[&str], code: i32, words: &[&str]| {
        let run = refine(out, more);
        assert_eq!(run.code, code, "{more:?}: {}", run.stderr);
        words.iter().for_each(|word| assert!(run.stderr.contains(word), "{word}: {}", run.stderr));
    };
    refused("whole", &[], 2, &["already holds a run", "--resume"]);
    refused("whole", &["--resume", "--winner", "drop-per-saving"], 3, &["adaptation.json", "another network, budget"]);
    refused(
        "least",
        &["--params", "10K", "--iterations", "1"],
        4,
        &["was not reached", "after 1 steps", "--iterations"],
    );
    refused("other", &["--energy", "1mJ"], 2, &["energy", "--target"]);
    refused("other", &["--target", "pixel3", "--latency", "1ms"], 3, &["pixel3", "add"]);
    assert!(!sandbox.path("other").exists());
}
