//! Verbs that change a network, killed at moments by the clock: whatever is half done then, going on gives the same.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Instant, SystemTime};

use crate::support::Sandbox;

/// Moments at which each verb is killed: three, or thirty with `OFA_SLOW_TESTS=1`.
fn kills() -> u32 {
    if std::env::var_os("OFA_SLOW_TESTS").is_some_and(|value| value == "1") { 30 } else { 3 }
}

/// Runs `args` undisturbed into one folder, and into another with kills on the way, again and again until there were enough
/// of them, and compares `files` of the two.
fn assert_killing_changes_nothing(sandbox: &Sandbox, args: &[&str], files: &[&str]) {
    let (undisturbed, killed) = (sandbox.path("undisturbed"), sandbox.path("killed"));
    let command = |out: &Path, more: &[&str]| {
        let mut command = sandbox.command();
        command.args(args).args(["--device", "cpu", "--threads", "1", "--out"]).arg(out).args(more);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let began = Instant::now();
    let whole = command(&undisturbed, &[]).output().unwrap();
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    let whole = began.elapsed();

    let mut hits = 0;
    while hits < kills() {
        let mut child = command(&killed, &["--resume"]).spawn().unwrap();
        // Up to two thirds of what all of it takes, so that some starts are killed early, others late, and some end.
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
        std::thread::sleep(whole.mul_f64(f64::from(nanos / 1000 % 1000) / 1500.0));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            hits += 1;
        } else {
            assert!(child.wait().unwrap().success());
            assert_equal(&undisturbed, &killed, files);
            fs::remove_dir_all(&killed).unwrap();
        }
        child.wait().unwrap();
    }
    let last = command(&killed, &["--resume"]).output().unwrap();
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    assert_equal(&undisturbed, &killed, files);
}

fn assert_equal(undisturbed: &Path, killed: &Path, files: &[&str]) {
    for file in files {
        let [a, b] = [undisturbed, killed].map(|run| fs::read(run.join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
}

/// A network to train, and images.
fn resnet8(sandbox: &Sandbox) -> (String, &'static str) {
    let network = sandbox.path("resnet8").to_str().unwrap().to_owned();
    sandbox.ok(&["network", "from", "resnet8", "--out", &network, "--classes", "4"]);
    (network, "synthetic:200,size=32,classes=4")
}

#[test]
fn fine_tuning_goes_on_to_the_same_bits() {
    let sandbox = Sandbox::new();
    let (network, data) = resnet8(&sandbox);
    let tune = ["finetune", "--network", &network, "--data", data, "--epochs", "6", "--save-every", "0"];
    let settings =
        ["--set", "batch_size=20", "--set", "average=0.9", "--set", "precision=bf16", "--set", "sampling=balanced"];
    let files = ["network/weights.safetensors", "network/network.json", "report.json", "recipe.yaml"];
    assert_killing_changes_nothing(&sandbox, &[&tune[..], &settings].concat(), &files);
}

#[test]
fn narrowing_a_network_goes_on_to_the_same_bits() {
    let sandbox = Sandbox::new();
    let (network, data) = resnet8(&sandbox);
    let refine =
        ["refine", "--network", &network, "--data", data, "--macs", "9M", "--epochs", "2", "--save-every", "0"];
    let settings = ["--initial-reduction", "0.06", "--decay", "1", "--step", "4", "--short-steps", "2"];
    let files = ["network/weights.safetensors", "network/network.json", "history.parquet"];
    assert_killing_changes_nothing(&sandbox, &[&refine[..], &settings, &["--set", "batch_size=20"]].concat(), &files);
}

#[test]
fn moving_a_subnet_goes_on_to_the_same_bits() {
    let sandbox = Sandbox::new();
    let subnet = sandbox.file("subnet.json", &sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "1"]).stdout);
    let refine = ["refine", "--supernet", "mcu-cifar", "--subnet", &subnet, "--macs", "5M"];
    let files = ["network/weights.safetensors", "network/network.json", "history.parquet"];
    assert_killing_changes_nothing(&sandbox, &refine, &files);
}
