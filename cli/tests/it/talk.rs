//! Help, versions, pipes and the report on the machine.

use std::io::Read;
use std::process::Stdio;

use crate::support::Sandbox;

#[test]
fn help_and_version_are_results() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(&["--version"]).stdout.starts_with("ofa "));
    let help = sandbox.ok(&["search", "--help"]).stdout;
    for flag in ["--target", "--energy", "--latency", "--macs", "--params", "--supernet", "--evaluations", "--out"] {
        assert!(help.contains(flag), "{flag}");
    }
    assert_eq!(sandbox.ofa(&[]).code, 2);
}

#[test]
fn the_doctor_reports() {
    let sandbox = Sandbox::new();
    let report = sandbox.ok(&["doctor", "--format", "json"]).json().remove(0);
    assert_eq!(report["devices"][0]["device"], "cpu");
    assert!(report["problems"].is_array());
    assert!(sandbox.ok(&["doctor"]).stdout.contains("LibTorch"));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command()
        .args(["space", "sample", "mbv3-w1.0", "-n", "20000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[cfg(not(feature = "torch"))]
#[test]
fn without_libtorch_training_says_so() {
    let sandbox = Sandbox::new();
    sandbox.refused(&["train", "recipe.yaml", "--out", "run"], 2, &["LibTorch"]);
}
