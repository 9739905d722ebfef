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
    let has_row = run.stderr.lines().any(|line| line.trim_start().starts_with("3/6 "));
    assert!(run.stderr.contains("before the first epoch: top-1") && has_row, "{}", run.stderr);
    assert!(
        run.stdout.contains("held-out, after") && run.stdout.contains("next: ofa export --network"),
        "{}",
        run.stdout
    );
    let tuned = out.join("network");
    sandbox.ok(&["network", "check", text(&tuned)]);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    let number = |key: &str| report[key].as_f64().unwrap();
    assert!(number("held_out_top1") > number("held_out_top1_before") + 0.2, "{report}");
    assert!(run.stdout.contains("energy"), "{}", run.stdout);
    let energy: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(out.join("energy.json")).unwrap()).unwrap();
    assert!(energy["energy_j"].as_f64().unwrap() > 0.0 && energy["is_whole"] == true, "{energy}");
    let tuning = energy["activities"].as_array().unwrap().iter().find(|activity| activity["name"] == "fine-tuning");
    assert!(tuning.unwrap()["steps"].as_u64().unwrap() > 6, "{energy}");
    let made: serde_json::Value = serde_json::from_str(&fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    assert_eq!((&made["seed"], &made["threads"], &made["command"][1]), (&0.into(), &1.into(), &"finetune".into()));
    let eval = ["eval", "--network", text(&tuned), "--data", data, "--device", "cpu", "--format", "json"];
    let measured = sandbox.ok(&eval).json().remove(0);
    assert_eq!((&measured["top1"], &measured["part"]), (&report["top1"], &report["part"]));
    assert_eq!(report["part"], "test");

    sandbox.refused(&[&tune[..], &settings].concat(), 2, &["already holds a run", "--resume"]);
    let other = [&tune[..], &["--epochs", "2", "--resume"]].concat();
    sandbox.refused(&other, 3, &["another recipe, data set, space or number of processes"]);
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
    assert!(!elsewhere.exists());
}

/// NetAdapt from the door to its end: a budget of MACs kept by narrower layers, step by step, and the same after a stop.
#[test]
fn a_network_is_narrowed_to_a_budget_step_by_step() {
    let sandbox = Sandbox::new();
    let network = sandbox.path("resnet8");
    sandbox.ok(&["network", "from", "resnet8", "--out", text(&network), "--classes", "4"]);
    let data = "synthetic:200,size=32,classes=4";
    let refine_on = |threads: &str, out: &str, more: &[&str]| {
        let refine = ["refine", "--network", text(&network), "--data", data, "--out", text(&sandbox.path(out))]
            .map(str::to_owned)
            .to_vec();
        let settings = [
            "--device",
            "cpu",
            "--threads",
            threads,
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
    let refine = |out: &str, more: &[&str]| refine_on("1", out, more);
    let done = refine("whole", &["--format", "json"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let result = done.json().remove(0);
    let macs = |when: &str| result["costs"]["macs"][when].as_f64().unwrap();
    assert!(macs("before") > 12e6 && macs("after") <= 10e6 && macs("after") > 8e6, "{result}");
    assert!(result["steps"].as_u64().unwrap() >= 2, "{result}");
    let spent = result["energy"]["activities"].as_array().unwrap();
    for part in ["steps", "fine-tuning"] {
        let joules =
            spent.iter().find(|activity| activity["name"] == part).map(|activity| activity["energy_j"].as_f64());
        assert!(joules.flatten().unwrap() > 0.0, "{part}: {result}");
    }
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

    // Proposals are trained side by side, each by one thread: how many there are changes nothing.
    assert_eq!(refine_on("3", "wide", &["--iterations", "2"]).code, if result["steps"] == 2 { 0 } else { 4 });
    for step in ["001", "002"] {
        let weights = |run: &str| fs::read(sandbox.path(run).join("steps").join(step).join("weights.safetensors"));
        assert_eq!(weights("whole").unwrap(), weights("wide").unwrap(), "step {step}");
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

/// A subnet moved within its supernet: down to a budget, up to one, and the same after a stop.
/// The width multiplier, which NetAdapt is compared with: one step for all widths.
#[test]
fn all_widths_of_a_network_shrink_by_one_factor() {
    let sandbox = Sandbox::new();
    let network = sandbox.path("resnet8");
    sandbox.ok(&["network", "from", "resnet8", "--out", text(&network), "--classes", "4"]);
    let data = "synthetic:200,size=32,classes=4";
    let out = sandbox.path("uniform");
    let refine = ["refine", "--network", text(&network), "--data", data, "--out", text(&out), "--device", "cpu"];
    let settings = ["--uniform", "--step", "4", "--short-steps", "0", "--epochs", "1", "--set", "batch_size=20"];
    let run = sandbox.ok(&[&refine[..], &settings, &["--macs", "6M", "--format", "json"]].concat());
    assert!(run.stderr.contains("step 1: all widths narrower"), "{}", run.stderr);
    let result = run.json().remove(0);
    assert_eq!(result["steps"], 1);
    let after = result["costs"]["macs"]["after"].as_f64().unwrap();
    assert!(after <= 6e6 && after > 4e6, "{result}");
    sandbox.ok(&["network", "check", text(&out.join("network"))]);
    sandbox.refused(
        &[&refine[..], &settings, &["--macs", "6M", "--decay", "1"]].concat(),
        2,
        &["--decay", "--uniform"],
    );
}

/// The fitted models saw no layers as narrow as the budget asks for: the steps end with the best that there was.
#[test]
fn where_the_target_knows_nothing_narrower_the_best_there_was_is_named() {
    let Some(images) = shared_data::file("data/cifar10") else { return };
    let sandbox = Sandbox::new();
    let subnet = sandbox.file("subnet.json", &sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "1"]).stdout);
    let (network, out) = (sandbox.path("network"), sandbox.path("out"));
    sandbox.ok(&["export", "--supernet", "mcu-cifar", "--subnet", &subnet, "--out", text(&network)]);
    let cost =
        sandbox.ok(&["network", "cost", text(&network), "--target", "pixel3", "--format", "json"]).json().remove(0);
    let budget = format!("--energy={}mJ", 0.3 * cost["energy_mj"]["value"].as_f64().unwrap());
    let data = format!("parquet:{}", images.display());
    let refine = ["refine", "--network", text(&network), "--data", &data, "--target", "pixel3", &budget];
    let settings = ["--out", text(&out), "--uniform", "--short-steps", "0", "--epochs", "0", "--device", "cpu"];
    let run = sandbox.ofa(&[&refine[..], &settings].concat());
    assert_eq!(run.code, 4, "{}", run.stderr);
    for words in ["step 1: all widths narrower", "no width can get smaller: ", "was not reached"] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
}

#[test]
fn a_subnet_is_moved_to_a_budget_between_the_points_of_the_grid() {
    let sandbox = Sandbox::new();
    let subnet = sandbox.path("subnet.json");
    fs::write(&subnet, sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "1"]).stdout).unwrap();
    let refine = |subnet: &Path, out: &str, more: &[&str]| {
        let out = sandbox.path(out);
        let refine = ["refine", "--supernet", "mcu-cifar", "--subnet", text(subnet), "--out", text(&out)];
        sandbox.ofa(&[&refine[..], &["--device", "cpu", "--threads", "1"], more].concat())
    };
    let down = refine(&subnet, "down", &["--macs", "6.5M", "--format", "json"]);
    assert_eq!(down.code, 0, "{}", down.stderr);
    let result = down.json().remove(0);
    let macs = |result: &serde_json::Value, when: &str| result["costs"]["macs"][when].as_f64().unwrap();
    assert!(macs(&result, "before") > 7e6 && macs(&result, "after") <= 6.5e6, "{result}");
    assert!(macs(&result, "after") > 6.4e6 && result["steps"].as_u64().unwrap() >= 3, "{result}");
    let out = sandbox.path("down");
    let network = out.join("network");
    sandbox.ok(&["network", "check", text(&network)]);
    let cost = ["network", "cost", text(&network), "--target", "stm32l4r5", "--format", "json"];
    assert_eq!(sandbox.ok(&cost).json()[0]["macs"].as_f64(), Some(macs(&result, "after")));
    // Between the points of the grid: some block has a width that no expand ratio gives.
    let channels: Vec<u64> = serde_json::from_value(result["subnet"]["channels"].clone()).unwrap();
    let grid = [16, 24, 40, 80, 96].into_iter().flat_map(|input| [2, 3, 4].map(|expand| input * expand));
    let grid: Vec<u64> = grid.collect();
    assert!(channels.iter().any(|channels| !grid.contains(channels)), "{channels:?}");

    // As after a kill behind the second step.
    let again = sandbox.path("again");
    fs::create_dir_all(again.join("steps")).unwrap();
    fs::copy(out.join("adaptation.json"), again.join("adaptation.json")).unwrap();
    for step in ["000", "001", "002"] {
        fs::create_dir(again.join("steps").join(step)).unwrap();
        for file in ["step.json", "subnet.json"] {
            fs::copy(out.join("steps").join(step).join(file), again.join("steps").join(step).join(file)).unwrap();
        }
    }
    let resumed = refine(&subnet, "again", &["--macs", "6.5M", "--resume"]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    for file in ["steps/003/step.json", "steps/003/subnet.json", "network/weights.safetensors", "history.parquet"] {
        assert_eq!(fs::read(out.join(file)).unwrap(), fs::read(again.join(file)).unwrap(), "{file}");
    }

    // Upwards, from what was refined: nearly all of the budget is used, and it is expected to be worth it.
    let last = out.join("steps").join(format!("{:03}", result["steps"].as_u64().unwrap())).join("subnet.json");
    let up = refine(&last, "up", &["--macs", "7.2M", "--format", "json"]);
    assert_eq!(up.code, 0, "{}", up.stderr);
    let result = up.json().remove(0);
    assert!(macs(&result, "after") <= 7.2e6 && macs(&result, "after") > 7.13e6, "{result}");
    assert_eq!(result["upwards"], true);
    assert!(result["predicted_top1"].as_f64() > result["predicted_top1_before"].as_f64(), "{result}");

    let refused = |more: &[&str], code: i32, words: &[&str]| {
        let run = refine(&subnet, "refused", more);
        assert_eq!(run.code, code, "{more:?}: {}", run.stderr);
        words.iter().for_each(|word| assert!(run.stderr.contains(word), "{word}: {}", run.stderr));
    };
    refused(&["--macs", "1K", "--iterations", "2"], 4, &["was not reached", "after 2 steps", "--iterations"]);
    refused(&["--macs", "6M", "--resume"], 3, &["adaptation.json", "another network, budget"]);
    refused(&["--macs", "6M", "--epochs", "1"], 2, &["--epochs", "--supernet"]);
    refused(&["--macs", "6M", "--set", "epochs=1"], 2, &["--set", "--supernet"]);
    refused(&["--macs", "6M", "--core-watts", "3"], 2, &["--core-watts", "--supernet"]);
    refused(&["--energy", "1mJ"], 2, &["energy", "--target"]);
    let torn = again.join("steps/003/subnet.json");
    fs::write(&torn, "torn").unwrap();
    let run = refine(&subnet, "again", &["--macs", "6.5M", "--resume"]);
    assert!(run.code == 3 && run.stderr.contains("to go on from step 2"), "{}", run.stderr);
    fs::write(&subnet, sandbox.ok(&["space", "sample", "fbnet-cifar", "-n", "1"]).stdout).unwrap();
    refused(&["--macs", "6M"], 3, &["fbnet-cifar", "mcu-cifar"]);
}

/// With images, whatever is shortlisted is measured on the held-out ones, and the outcome on the test set.
#[test]
fn with_images_a_refined_subnet_is_measured() {
    let Some(images) = shared_data::file("data/cifar10") else { return };
    let sandbox = Sandbox::new();
    let subnet = sandbox.path("subnet.json");
    fs::write(&subnet, sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "1"]).stdout).unwrap();
    let (out, data) = (sandbox.path("out"), format!("parquet:{}", images.display()));
    let refine = ["refine", "--supernet", "mcu-cifar", "--subnet", text(&subnet), "--macs", "7.6M", "--data", &data];
    let settings = ["--out", text(&out), "--shortlist", "1", "--device", "cpu", "--format", "json"];
    let result = sandbox.ok(&[&refine[..], &settings].concat()).json().remove(0);
    assert_eq!((&result["part"], &result["images"]), (&"test".into(), &10_000.into()));
    let network = out.join("network");
    let eval = ["eval", "--network", text(&network), "--data", &data, "--device", "cpu", "--format", "json"];
    let measured = sandbox.ok(&eval).json().remove(0);
    assert!((measured["top1"].as_f64().unwrap() - result["top1"].as_f64().unwrap()).abs() < 0.002, "{measured}");
    assert!(result["top1"].as_f64().unwrap() > 0.83, "{result}");
}
