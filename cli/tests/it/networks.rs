//! `ofa network`: networks without a search space, published and edited by hand.

use serde_json::{Value, json};

use crate::support::Sandbox;

/// A small published network in a folder; the folder as an argument.
fn resnet8(sandbox: &Sandbox) -> String {
    let folder = sandbox.path("resnet8").to_str().unwrap().to_owned();
    sandbox.ok(&["network", "from", "resnet8", "--seed", "3", "--out", &folder]);
    folder
}

#[test]
fn published_networks_are_written_and_count_what_is_published() {
    let sandbox = Sandbox::new();
    let published = [
        ("resnet8", 12_501_632, 78_186),
        ("mobilenet-v1", 568_740_352, 4_231_976),
        ("squeezenet-1.1", 349_151_936, 1_235_496),
    ];
    for (name, macs, params) in published {
        let folder = sandbox.path(name).to_str().unwrap().to_owned();
        let made = sandbox.ok(&["network", "from", name, "--out", &folder, "--format", "json"]).json().remove(0);
        assert_eq!((made["macs"].as_u64(), made["params"].as_u64()), (Some(macs), Some(params)), "{name}");
        sandbox.ok(&["network", "check", &folder]);
        let shown = sandbox.ok(&["network", "show", &folder]).stdout;
        assert!(shown.contains("classifier") || shown.contains("conv10"), "{shown}");
        let arena = sandbox.ok(&["network", "arena", &folder, "--format", "json"]).json().remove(0);
        assert!(
            arena["flash_bytes"].as_u64().unwrap() > params / 2 && arena["peak_memory_bytes"].as_u64().unwrap() > 0
        );
    }
    // What is not of its own making stays as it is.
    sandbox.file("kept/subnet.json", "{}");
    let kept = sandbox.path("kept").to_str().unwrap().to_owned();
    sandbox.refused(&["network", "from", "resnet8", "--out", &kept], 3, &["kept", "subnet.json", "empty folder"]);
    // What a kill left of its own is no obstacle, and what is no text is content.
    sandbox.file("torn/weights.safetensors.123.tmp", "half");
    sandbox.ok(&["network", "from", "resnet8", "--out", sandbox.path("torn").to_str().unwrap()]);
    std::fs::write(sandbox.path("torn/network.json"), b"\xff\x00\x80").unwrap();
    sandbox.refused(&["network", "show", sandbox.path("torn").to_str().unwrap()], 3, &["network.json", "UTF-8"]);
    sandbox.refused(&["network", "from", "resnet9", "--out", "x"], 2, &["resnet9", "did you mean resnet8?"]);
    // The same seed gives the same bytes.
    let (one, other) = (resnet8(&sandbox), sandbox.path("again").to_str().unwrap().to_owned());
    sandbox.ok(&["network", "from", "resnet8", "--seed", "3", "--out", &other]);
    let bytes = |folder: &str| std::fs::read(format!("{folder}/weights.safetensors")).unwrap();
    assert_eq!(bytes(&one), bytes(&other));
}

/// A value with its flags, or a refusal that names the operator and why.
#[test]
fn networks_are_priced_or_refused_by_name() {
    let sandbox = Sandbox::new();
    let folder = resnet8(&sandbox);
    let cost = |target: &str| {
        let run = sandbox.ok(&["network", "cost", &folder, "--target", target, "--format", "json"]);
        run.json().remove(0)
    };
    let board = cost("stm32l4r5");
    // What MLPerf Tiny's results say of this network on this board lies within the target's own error.
    assert!(board["energy_mj"]["value"].as_f64().unwrap() > 0.0 && board["energy_mj"]["grade"].is_string());
    assert!(cost("eyeriss")["energy_mj"]["value"].as_f64().unwrap() > 0.0);
    for target in ["pixel3", "jetson-tx2"] {
        sandbox.refused(&["network", "cost", &folder, "--target", target], 3, &["add 32x32x16", target]);
    }
    let mobile = sandbox.path("mobile").to_str().unwrap().to_owned();
    sandbox.ok(&["network", "from", "mobilenet-v1", "--out", &mobile]);
    let phone = sandbox.ok(&["network", "cost", &mobile, "--target", "pixel3", "--format", "json"]).json().remove(0);
    assert_eq!(phone["latency_ms"]["fitted"], true);
    assert!(phone["latency_ms"]["value"].as_f64().unwrap() > 0.0);
}

/// `file` changed at `pointer`.
fn edited(sandbox: &Sandbox, folder: &str, pointer: &str, value: Value) {
    let path = format!("{folder}/network.json");
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    *file.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    sandbox.file("resnet8/network.json", &file.to_string());
}

#[test]
fn a_network_edited_by_hand_is_a_network_or_refused_with_the_layers_name() {
    let sandbox = Sandbox::new();
    let folder = resnet8(&sandbox);
    let macs = |folder: &str| {
        let run = sandbox.ok(&["network", "cost", folder, "--target", "eyeriss", "--format", "json"]);
        run.json().remove(0)["macs"].as_u64().unwrap()
    };
    let before = macs(&folder);
    // 11 channels inside the first block: no space offers that.
    edited(&sandbox, &folder, "/layers/1/branch/0/output", json!([32, 11]));
    edited(&sandbox, &folder, "/layers/1/branch/1/input", json!([32, 11]));
    assert_eq!(macs(&folder), before - 2 * 5 * 16 * 9 * 32 * 32);
    sandbox.ok(&["network", "arena", &folder]);
    // Its weights are those of the wider one.
    sandbox.refused(&["network", "check", &folder], 3, &["blocks.0.branch.0.conv.weight", "[16, 16, 3, 3]"]);

    let refused = |pointer: &str, value: Value, words: &[&str]| {
        let folder = resnet8(&sandbox);
        edited(&sandbox, &folder, pointer, value);
        sandbox.refused(&["network", "show", &folder], 3, &[words, &["network.json"]].concat());
    };
    refused("/layers/2/branch/0/input", json!([32, 17]), &["blocks.1"]);
    refused("/layers/4/input", json!([8, 63]), &["`pool`"]);
    refused("/layers/4/kind", json!("avgpol"), &["`pool`", "did you mean avgpool?"]);
    let mut cycle = json!({"name": "pool", "kind": "avgpool", "input": [8, 64], "output": [1, 64], "kernel": 8});
    cycle["reads"] = json!(["classifier"]);
    refused("/layers/4", cycle.clone(), &["`pool`", "reads itself"]);
    cycle["reads"] = json!(["blocks.4"]);
    refused("/layers/4", cycle, &["`pool`", "`blocks.4`", "blocks."]);
}
