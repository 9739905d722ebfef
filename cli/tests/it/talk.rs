//! Help, versions, pipes and the report on the machine.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;

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
fn completions_name_every_verb_and_are_a_script() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = sandbox.ok(&["completions", shell]).stdout;
        for word in ["search", "finetune", "completions", "template"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let object = sandbox.ok(&["completions", shell, "--format", "json"]).json().remove(0);
        assert_eq!(object["script"].as_str().unwrap().trim_end(), script.trim_end());
    }
    sandbox.refused(&["completions", "bahs"], 2, &["bash", "fish"]);
    let script = sandbox.file("ofa.bash", &sandbox.ok(&["completions", "bash"]).stdout);
    match Command::new("bash").args(["-n", &script]).output() {
        Ok(checked) => assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr)),
        Err(_) => println!("SKIPPED: there is no bash"),
    }
}

#[test]
fn a_manual_has_a_page_for_every_verb() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("share/man/man1");
    let files = sandbox.ok(&["man", folder.to_str().unwrap(), "--format", "json"]).json().remove(0);
    let files: Vec<&str> = files["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    assert!(files.len() > 45, "{files:?}");
    for (page, words) in [
        ("ofa.1", &["ofa\\-search(1)", "Global options"][..]),
        ("ofa-search.1", &["energy", "ofa search \\-\\-target pixel3"][..]),
        ("ofa-target-cost.1", &["\\-\\-subnets", "Examples"][..]),
    ] {
        let path = folder.join(page);
        assert!(files.contains(&path.to_str().unwrap()), "{page}: {files:?}");
        let text = std::fs::read_to_string(&path).unwrap();
        for word in words {
            assert!(text.to_lowercase().contains(&word.to_lowercase()), "{page} has no {word}: {text}");
        }
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), files.len(), "something else was written");
    // Again over the pages of an earlier version; a file cannot be a folder.
    sandbox.ok(&["man", folder.to_str().unwrap()]);
    let file = sandbox.file("file", "");
    assert_eq!(sandbox.ofa(&["man", &file]).code, 1);
}

/// Lines on stderr that are no talk.
fn messages(stderr: &str) -> Vec<&str> {
    let levels = ["info: ", "debug: ", "trace: ", "warning: "];
    stderr.lines().filter(|line| levels.iter().any(|level| line.starts_with(level))).collect()
}

#[test]
fn what_is_being_done_is_said_to_whoever_asks() {
    let sandbox = Sandbox::new();
    let search = ["search", "--target", "pixel3", "--energy", "25mJ", "--evaluations", "2000", "--threads", "1"];
    let with = |more: &[&str]| sandbox.ok(&[&search[..], more].concat());
    assert!(messages(&with(&[]).stderr).is_empty());
    let said = with(&["-v"]).stderr;
    assert!(said.contains("info: compiled the costs of pixel3 for space `fbnet-cifar`"), "{said}");
    assert!(messages(&said).iter().all(|line| line.starts_with("info: ")), "{said}");
    let said = with(&["-vv"]).stderr;
    assert!(said.contains("debug: bundle read folder=") && said.contains("info: compiled"), "{said}");
    // What takes long is a span, whose end says how long.
    let spans = ["debug: compile tables target=\"pixel3\" space=fbnet-cifar took ", "debug: round turn=0 took "];
    assert!(spans.iter().all(|span| said.contains(span)), "{said}");
    // Results are the same.
    let result = |more: &[&str]| {
        let mut found = with(&[more, &["--format", "json"]].concat()).json().remove(0);
        found.as_object_mut().unwrap().remove("seconds");
        found
    };
    assert_eq!(result(&[]), result(&["-vvv"]));

    let said = with(&["-v", "--log-format", "json"]).stderr;
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(
        lines.iter().any(|line| line["level"] == "INFO" && line["target"] == "experiments::search::tables"),
        "{said}"
    );

    let said = with(&["-vv", "--log-format", "json"]).stderr;
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let ends =
        |name: &str| lines.iter().find(|line| line["span"]["name"] == name && line["fields"]["message"] == "close");
    assert!(ends("round").is_some_and(|end| end["fields"]["time.busy"].is_string()), "{said}");
    assert_eq!(ends("compile_tables").unwrap()["span"]["target"], "pixel3");

    let chosen = |filter: &str, more: &[&str]| {
        let output = sandbox.command().env("RUST_LOG", filter).args([&search[..], more].concat()).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(chosen("experiments=debug", &[]).contains("debug: bundle read"));
    assert!(messages(&chosen("off", &["-vv"])).is_empty());
    assert!(messages(&chosen("", &["-v"])).len() > 1, "an empty variable is none");
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
