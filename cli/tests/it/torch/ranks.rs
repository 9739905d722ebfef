//! Several processes that train together.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Sandbox;

const DATA: &str = "synthetic:320,size=32";

/// A space's largest subnet, then all of it; slow enough that the order of additions does not grow into something else.
fn recipe(sandbox: &Sandbox, batch_size: usize) -> String {
    let text = format!(
        "schema: ofa.recipe/1\nname: shared\nspace: mcu-cifar\nseed: 1\nbatch_size: {batch_size}\nheld_out: 32\n\
         sync_batch_norm: true\ncalibration: {{ batches: 2, batch_size: 16 }}\nphases:\n  - {{ name: full, epochs: 2, \
         learning_rate: 0.001, with_largest: true }}\n  - {{ name: all, epochs: 2, learning_rate: 0.001, kernels: all, \
         depths: all, expands: all, with_largest: true, with_smallest: true, random_subnets: 1, distillation: 1.0, \
         label_loss: 0.5 }}\n"
    );
    sandbox.file("shared.yaml", &text)
}

fn losses(run: &Path) -> Vec<f64> {
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap()).collect()
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("bundle/supernet.safetensors")).unwrap()
}

struct Runs {
    sandbox: Sandbox,
    recipe: String,
}

impl Runs {
    fn new() -> Runs {
        let sandbox = Sandbox::new();
        Runs { recipe: recipe(&sandbox, 32), sandbox }
    }

    /// A run's folder, trained by `more` processes or whatever it says.
    fn trained(&self, name: &str, more: &[&str]) -> PathBuf {
        let out = self.sandbox.path(name);
        let args = ["train", &self.recipe, "--data", DATA, "--device", "cpu", "--threads", "1", "--measure-every", "9"];
        self.sandbox.ok(&[&args[..], &["--out", out.to_str().unwrap()], more].concat());
        out
    }

    /// Two ranks, started by hand.
    fn started(&self, out: &Path) -> [Child; 2] {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        ["0", "1"].map(|rank| {
            let mut command = self.sandbox.command();
            command.args([
                "train",
                &self.recipe,
                "--data",
                DATA,
                "--device",
                "cpu",
                "--threads",
                "1",
                "--save-every",
                "1",
            ]);
            command.arg("--out").arg(out).stdout(Stdio::null()).stderr(Stdio::piped());
            command.envs([("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", "2")]);
            command.envs([("MASTER_ADDR", "localhost"), ("MASTER_PORT", &port)]).spawn().unwrap()
        })
    }
}

#[test]
fn processes_that_share_batches_follow_one_that_has_them_alone() {
    let runs = Runs::new();
    let alone = losses(&runs.trained("alone", &[]));
    assert_eq!(alone.len(), 4);
    for count in ["2", "4"] {
        let shared = runs.trained(count, &["--nproc", count]);
        for (one, other) in alone.iter().zip(losses(&shared)) {
            assert!((one - other).abs() < 2e-3 * one, "{count} processes: {alone:?} {:?}", losses(&shared));
        }
        let run: Value = serde_json::from_str(&fs::read_to_string(shared.join("run.json")).unwrap()).unwrap();
        let command = run["command"].as_array().unwrap();
        assert!(command.contains(&"--nproc".into()) && run["processes"] == count.parse::<u64>().unwrap(), "{run}");
        let energy = fs::read_to_string(shared.join("energy.json")).unwrap();
        assert!(!energy.contains("busy cores") || energy.contains(&format!("{count} processes")), "{energy}");
    }
}

#[test]
fn a_killed_process_ends_the_others_and_all_go_on_to_the_same_weights() {
    let runs = Runs::new();
    let undisturbed = weights(&runs.trained("undisturbed", &["--nproc", "2"]));
    for killed in [1, 0] {
        let out = runs.sandbox.path(&format!("killed-{killed}"));
        let mut ranks = runs.started(&out);
        while !out.join("metrics.jsonl").exists() || losses(&out).is_empty() {
            let ended = ranks.each_mut().map(|rank| rank.try_wait().unwrap());
            assert!(ended.iter().all(Option::is_none), "{ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        ranks[killed].kill().unwrap();
        ranks[killed].wait().unwrap();
        let since = Instant::now();
        let [first, second] = ranks;
        let other = if killed == 0 { second } else { first }.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&other.stderr).into_owned();
        assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
        assert_eq!(other.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("rank {killed} is gone")) && said.contains("--resume"), "{said}");
        assert!(weights(&runs.trained(&format!("killed-{killed}"), &["--nproc", "2", "--resume"])) == undisturbed);
    }
}

/// `T` for a process that is suspended.
#[cfg(target_os = "linux")]
fn state_of(process: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn processes_are_suspended_and_go_on_together() {
    let runs = Runs::new();
    let out = runs.sandbox.path("suspended");
    let mut command = runs.sandbox.command();
    command.args(["train", &runs.recipe, "--data", DATA, "--device", "cpu", "--nproc", "2"]);
    command.args(["--set", "phases.0.epochs=1000", "--measure-every", "1000"]).arg("--out").arg(&out);
    let launcher = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let epochs = || fs::read_to_string(out.join("metrics.jsonl")).map_or(0, |text| text.lines().count());
    until("an epoch", &|| epochs() > 0);
    let id = launcher.id();
    let mut all: Vec<u32> = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))
        .unwrap()
        .split_whitespace()
        .map(|child| child.parse().unwrap())
        .collect();
    assert_eq!(all.len(), 2);
    all.push(id);
    // SAFETY: the process was not waited for.
    let signal = |signal| assert_eq!(unsafe { libc::kill(id.cast_signed(), signal) }, 0);
    signal(libc::SIGTSTP);
    until("all are suspended", &|| all.iter().all(|process| state_of(*process) == 'T'));
    let before = epochs();
    signal(libc::SIGCONT);
    until("all go on", &|| all.iter().all(|process| state_of(*process) != 'T') && epochs() > before);
    signal(libc::SIGINT);
    let ended = launcher.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn what_processes_cannot_share_is_refused() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox, 33);
    let out = sandbox.path("run");
    let args = ["train", &recipe, "--data", DATA, "--device", "cpu", "--out", out.to_str().unwrap()];
    let refused = sandbox.ofa(&[&args[..], &["--nproc", "2"]].concat());
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("batch_size is 33, which 2 processes cannot share equally"), "{}", refused.stderr);
    assert_eq!(refused.stderr.matches("error:").count(), 1, "one speaks for all: {}", refused.stderr);
    assert!(!out.exists());
    let launched = |variables: &[(&str, &str)]| {
        let output = sandbox.command().args(args).envs(variables.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = launched(&[("RANK", "2"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost")]);
    assert!(code == Some(2) && said.contains("RANK=2, but ranks count from 0"), "{code:?} {said}");
    let (code, said) = launched(&[("RANK", "0"), ("WORLD_SIZE", "2")]);
    assert!(code == Some(2) && said.contains("MASTER_ADDR=, but it must be set"), "{code:?} {said}");
}
