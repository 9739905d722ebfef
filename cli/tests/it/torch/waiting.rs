//! Threads of LibTorch wait briefly, unless the user says how.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::Sandbox;

/// What a run has in its environment under these names, once it trains.
fn environment_of_a_run(set: &[(&str, &str)]) -> Vec<String> {
    let sandbox = Sandbox::new();
    let out = sandbox.path("run");
    let network = sandbox.path("network");
    sandbox.ok(&["network", "from", "resnet8", "--out", network.to_str().unwrap()]);
    let data = "synthetic:2000,size=32,classes=10";
    let mut command = sandbox.command();
    command.args(["finetune", "--network", network.to_str().unwrap(), "--data", data, "--epochs", "500"]);
    command.args(["--out", out.to_str().unwrap(), "--threads", "1"]);
    for name in ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"] {
        command.env_remove(name);
    }
    let mut run = command.envs(set.iter().copied()).spawn().unwrap();
    let began = Instant::now();
    // Its folder is made by the program that computes, not by the one that may start it.
    while !out.exists() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = fs::read(format!("/proc/{}/environ", run.id())).unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(out.exists(), "it has not begun within a minute");
    let all = text.split(|byte| *byte == 0).map(|words| String::from_utf8_lossy(words).into_owned());
    all.filter(|words| words.starts_with("OMP_WAIT_POLICY=") || words.starts_with("GOMP_SPINCOUNT=")).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn threads_wait_briefly_unless_the_user_says_how() {
    assert_eq!(environment_of_a_run(&[]), ["GOMP_SPINCOUNT=3000"]);
    assert_eq!(environment_of_a_run(&[("OMP_WAIT_POLICY", "active")]), ["OMP_WAIT_POLICY=active"]);
}
