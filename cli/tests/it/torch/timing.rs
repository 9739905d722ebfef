//! `target measure`: the machine at hand as a target, killed and gone on with.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::support::Sandbox;

#[test]
fn this_machine_becomes_a_target_though_the_measurement_is_killed() {
    let sandbox = Sandbox::new();
    let command = |precision| {
        let mut args = vec!["target", "measure", "--space", "mcu-cifar", "--name", "here", "--resolutions", "24"];
        args.extend(["--networks", "3", "--precision", precision, "--format", "json"]);
        args
    };
    let journal = sandbox.path("home/targets/here/measuring.jsonl");
    let visits = || fs::read_to_string(&journal).map_or(0, |text| text.lines().count().saturating_sub(1));
    let mut child = sandbox.command().args(command("0.5")).spawn().unwrap();
    while visits() < 20 {
        assert!(child.try_wait().unwrap().is_none(), "over before it could be killed");
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = visits();
    sandbox.refused(&["target", "show", "here"], 2, &["here"]);
    sandbox.refused(&command("0.4"), 3, &["measuring.jsonl", "other measurements", "another name"]);
    assert_eq!(visits(), before, "nothing is lost");

    let measured = sandbox.ok(&command("0.5")).json().remove(0);
    assert_eq!((&measured["target"], &measured["networks"]), (&"here".into(), &3.into()));
    // A sum of operators is near the network, however busy the machine.
    assert!(measured["mape"].as_f64().unwrap() < 1.0, "{measured}");
    assert!(!journal.exists());
    let shown = sandbox.ok(&["target", "show", "here"]).stdout;
    assert!(shown.contains("LibTorch") && shown.contains("1 thread"), "{shown}");
    let subnets = sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "40"]).stdout;
    let small: Vec<&str> = subnets.lines().filter(|line| line.contains("\"resolution\":24")).collect();
    let file = sandbox.file("small.jsonl", &small.join("\n"));
    let costs = sandbox.ok(&["target", "cost", "here", "--space", "mcu-cifar", "--subnets", &file, "--format", "json"]);
    for cost in costs.json() {
        let (latency, std) = (&cost["latency_ms"]["value"], &cost["latency_ms"]["std"]);
        assert!((0.05..500.0).contains(&latency.as_f64().unwrap()) && std.as_f64().unwrap() > 0.0, "{cost}");
        assert!(cost.get("energy_mj").is_none_or(|energy| energy["value"].as_f64().unwrap() > 0.0), "never 0");
    }
    let again = sandbox.ok(&["target", "validate", "here", "--networks", "here", "--format", "json"]).json().remove(0);
    assert_eq!(again["mape"], measured["mape"]);
    sandbox.refused(&["target", "measure", "--space", "mcu-cifar", "--name", "pixel3"], 2, &["pixel3"]);
    sandbox.refused(&["target", "measure", "--space", "mcu-cifar", "--name", "x", "--precision", "2"], 2, &["0.0001"]);
    sandbox.refused(&["target", "measure", "--space", "mcu-cifar", "--name", "x", "--resolutions", "25"], 2, &["25"]);
}
