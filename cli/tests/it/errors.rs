//! Every bad input: one paragraph, the documented exit code, what is wrong and what to try.

use std::fs;

use search::space::SearchSpace;
use serde_json::Value;

use crate::support::Sandbox;

const HEADER: &str = "op_type,in_h,in_w,in_c,out_h,out_w,out_c,kernel,stride,groups,mid_c,se,se_mid_c,activation,\
                      residual,latency_ms";
const ROW: &str = "conv,32,32,3,32,32,16,3,1,1,,,,relu6,0,0.5";

#[test]
fn wrong_names_and_budgets_are_the_command_lines_fault() {
    let sandbox = Sandbox::new();
    let search = |more: &[&str], words: &[&str]| {
        let args = [&["search", "--target", "pixel3"][..], more].concat();
        sandbox.refused(&args, 2, words);
    };
    search(&["--energy", "50"], &["no unit", "50mJ"]);
    search(&["--energy", "50ms"], &["50ms", "50mJ"]);
    search(&["--latency", "50mJ"], &["50mJ", "20ms"]);
    search(&["--energy", "-5mJ"], &["negative"]);
    search(&["--energy=-5mJ"], &["negative"]);
    search(&["--energy", "0mJ"], &["zero"]);
    search(&["--energy", "nanmJ"], &["not a number"]);
    search(&["--energy", "lots"], &["lots"]);
    search(&["--macs", "5mJ"], &["5mJ"]);
    search(&["--energie", "50mJ"], &["--energie", "--energy"]);
    search(&["--energy", "5mJ", "--evaluations", "0"], &["evaluations"]);
    search(&["--energy", "5mJ", "--space", "mcu-cifra"], &["mcu-cifra", "mcu-cifar"]);
    search(&["--energy", "5mJ", "--predictor", "no/such.safetensors"], &["no/such.safetensors"]);
    sandbox.refused(&["search", "--target", "pixel33", "--energy", "5mJ"], 2, &["pixel33", "pixel3"]);
    sandbox.refused(&["search", "--target", "note10", "--energy", "5mJ"], 2, &["energy", "latency"]);
    sandbox.refused(&["target", "show", "toaster"], 2, &["toaster", "pixel3"]);
    sandbox.refused(&["space", "show", "no/such.yaml"], 2, &["no/such.yaml"]);
    sandbox.refused(&["space", "shwo", "mcu-cifar"], 2, &["shwo", "show"]);
    sandbox.refused(&["space", "cost", "mcu-cifar", "--subnets", "absent.jsonl"], 2, &["absent.jsonl"]);
    sandbox.refused(&["target", "import", "yaml", ".", "--name", "mine"], 2, &["yaml", "ofa-yaml"]);
    sandbox.refused(&["search", "--target", "pixel3", "--format", "xml"], 2, &["xml"]);
}

#[test]
fn where_results_are_json_errors_are() {
    let sandbox = Sandbox::new();
    let error = |args: &[&str]| {
        let run = sandbox.ofa(&[args, &["--format", "json"]].concat());
        let object: Value = serde_json::from_str(&run.stderr).unwrap_or_else(|_| panic!("{args:?}: {}", run.stderr));
        let keys: Vec<&String> = object["error"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["what", "where", "hint", "exit_code"], "{object}");
        assert_eq!((object["error"]["exit_code"].as_i64().unwrap(), &*run.stdout), (run.code.into(), ""), "{args:?}");
        object["error"].clone()
    };
    let unknown = error(&["target", "show", "pixle3"]);
    assert_eq!((&unknown["where"], &unknown["hint"]), (&Value::Null, &"did you mean pixel3?".into()));
    assert!(unknown["what"].as_str().unwrap().contains("pixle3"), "{unknown}");
    assert_eq!(error(&["serch"])["hint"], "did you mean `search`?");
    assert_eq!(error(&["search", "--target", "pixel3", "--energy", "1nJ"])["exit_code"], 4);
    let table = sandbox.file("table.csv", &format!("{HEADER}\n{ROW}\n{ROW}\n"));
    let content = error(&["target", "add", &table, "--name", "mine"]);
    assert!(content["where"].as_str().unwrap().ends_with("table.csv:3") && content["exit_code"] == 3, "{content}");
}

#[test]
fn what_was_probably_meant_is_said() {
    let sandbox = Sandbox::new();
    let meant = |args: &[&str], word: &str| {
        sandbox.refused(args, 2, &[&format!("did you mean `{word}`?")]);
    };
    meant(&["targt", "list"], "target");
    meant(&["predictor", "fti"], "fit");
    meant(&["space", "smaple", "mcu-cifar"], "sample");
    meant(&["space", "show", "mcu-cifra"], "mcu-cifar");
    meant(&["search", "--supernet", "mcu-cifr", "--macs", "5M"], "mcu-cifar");
    meant(&["search", "--macs", "5M", "--algorithm", "exct"], "exact");
    meant(&["target", "import", "ofa-yml", ".", "--name", "mine"], "ofa-yaml");
    sandbox.refused(&["search", "--supernet", "toaster", "--macs", "5M"], 2, &["there are fbnet-cifar, mcu-cifar"]);
    sandbox.refused(&["zzzzzz"], 2, &["`ofa help`"]);
    if cfg!(feature = "torch") {
        let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/recipes/mcu-cifar.yaml");
        let train = ["train", recipe, "--data", "synthetic", "--out", "run", "--set"];
        meant(&[&train[..], &["batchsize=4"]].concat(), "batch_size");
        meant(&[&train[..], &["augmentation.flp=true"]].concat(), "flip");
        meant(&[&train[..], &["phases.0.epoch=1"]].concat(), "epochs");
    }
}

#[test]
fn tables_with_wrong_content_are_refused_and_nothing_is_kept() {
    let sandbox = Sandbox::new();
    let add = |text: &str, words: &[&str]| {
        let table = sandbox.file("table.csv", text);
        sandbox.refused(&["target", "add", &table, "--name", "mine"], 3, words);
        assert!(!sandbox.path("home/targets/mine").exists(), "a refused table was kept");
    };
    let rows = |row: &str| format!("{HEADER}\n{ROW}\n{row}\n");
    add(&rows(ROW), &["same operator", "table.csv:3", "line 2"]);
    add(&rows("conv,16,16,3,16,16,16,3,1,1,,,,relu6,0,NaN"), &["latency_ms", "table.csv:3", "not a number"]);
    add(&rows("conv,16,16,3,16,16,16,3,1,1,,,,relu6,0,-1"), &["latency_ms", "table.csv:3", "negative"]);
    let without_kernel = ROW.replacen(",3,1,1,", ",1,1,", 1);
    add(&format!("{}\n{without_kernel}\n", HEADER.replace("kernel,", "")), &["kernel", "missing"]);
    add(&format!("{}\n", HEADER.replace("latency_ms", "joy")), &["latency_ms", "missing"]);
    add("", &["table.csv"]);
    let parquet = sandbox.file("table.parquet", "PAR1 and then nothing of the kind PAR1");
    sandbox.refused(&["target", "add", &parquet, "--name", "mine"], 3, &["table.parquet", "Parquet"]);
    sandbox.refused(&["target", "add", "absent.csv", "--name", "mine"], 2, &["absent.csv"]);

    let table = sandbox.file("table.csv", &format!("{HEADER}\n{ROW}\n"));
    sandbox.refused(&["target", "add", &table, "--name", "pixel3"], 2, &["shipped"]);
    sandbox.ok(&["target", "add", &table, "--name", "mine"]);
    // The table has one operator, so any network misses some.
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let subnet = sandbox.file("subnet.json", &space.to_subnet_json(&space.largest(32).unwrap()).to_string());
    let cost = ["target", "cost", "mine", "--space", "mcu-cifar", "--subnets", &subnet];
    sandbox.refused(&cost, 3, &["mine has no latency", "mbconv"]);
}

#[test]
fn subnets_of_another_space_and_damaged_files_are_refused() {
    let sandbox = Sandbox::new();
    let (mcu, fbnet) = (SearchSpace::builtin("mcu-cifar").unwrap(), SearchSpace::builtin("fbnet-cifar").unwrap());
    let good = mcu.to_subnet_json(&mcu.largest(32).unwrap()).to_string();
    let other = fbnet.to_subnet_json(&fbnet.largest(32).unwrap()).to_string();
    let cost = |text: &str, words: &[&str]| {
        let file = sandbox.file("subnets.jsonl", text);
        sandbox.refused(&["space", "cost", "mcu-cifar", "--subnets", &file], 3, words);
    };
    cost(&format!("{good}\n{other}\n"), &["fbnet-cifar", "mcu-cifar", "subnets.jsonl:2"]);
    cost(&good.replace("\"kernel\":5", "\"kernel\":9"), &["kernel size 9", "stages[0][0].kernel", "3 and 5"]);
    cost(&good[..good.len() / 2], &["not a subnet"]);
    cost("", &["empty"]);

    let predictor = sandbox.predictor();
    let file = sandbox.file("low.json", &good.replace("\"resolution\":32", "\"resolution\":30"));
    let predict = |predictor: &str, code, words: &[&str]| {
        sandbox.refused(&["predictor", "predict", "--predictor", predictor, "--subnets", &file], code, words);
    };
    predict(&predictor, 3, &["resolution 30", "24, 28 and 32"]);
    let bytes = fs::read(&predictor).unwrap();
    let truncated = sandbox.path("truncated.safetensors");
    fs::write(&truncated, &bytes[..bytes.len() / 2]).unwrap();
    predict(truncated.to_str().unwrap(), 3, &["truncated.safetensors"]);
    predict("no-such-bundle", 2, &["no-such-bundle"]);
    let search = ["search", "--space", "fbnet-cifar", "--predictor", &predictor, "--macs", "20M"];
    sandbox.refused(&search, 3, &["mcu-cifar", "fbnet-cifar"]);

    let pairs = sandbox.path("pairs.parquet");
    let bytes = fs::read(&pairs).unwrap();
    fs::write(&pairs, &bytes[..bytes.len() - 20]).unwrap();
    let pairs = pairs.to_str().unwrap();
    sandbox.refused(
        &["predictor", "eval", "--predictor", &predictor, "--pairs", pairs],
        3,
        &["pairs.parquet", "Parquet"],
    );
    let space = sandbox.file("odd.yaml", &mcu.to_yaml().replace("relu6", "relu66"));
    sandbox.refused(&["space", "count", &space], 3, &["relu66", "odd.yaml", "relu6"]);
}

#[test]
fn what_cannot_be_reached_is_said_with_what_can() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let search = ["search", "--space", "mcu-cifar", "--predictor", &predictor, "--target", "pixel3", "--energy", "1nJ"];
    sandbox.refused(&search, 4, &["no subnet", "energy is at least", "µJ", "nearest"]);
}

#[test]
fn a_full_disk_is_said_to_be_full() {
    if !fs::exists("/dev/full").unwrap_or(false) {
        println!("SKIPPED: there is no /dev/full");
        return;
    }
    let sandbox = Sandbox::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = sandbox.command().args(["space", "list"]).stdout(full).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains("No space left") && stderr.contains("hint: "), "{stderr}");
}

/// A limit on the size of files stops a write half-way, as a full disk does.
#[cfg(unix)]
#[test]
fn a_write_that_fails_half_way_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let out = sandbox.path("found");
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let output = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_ofa"), "search", "--space", "mcu-cifar", "--predictor", &predictor])
        .args(["--target", "pixel3", "--evaluations", "5000", "--out", out.to_str().unwrap()])
        .env("OFA_HOME", sandbox.path("home"))
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: ") && stderr.contains("history.parquet"), "{stderr}");
    assert!(!out.exists(), "a half-written file stayed");
}
