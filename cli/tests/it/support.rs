//! What the tests share: running `ofa` in a home of its own, and a predictor to search with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use predictors::pairs::{self, AccuracyPair};
use search::arch::ArchSpec;
use search::space::SearchSpace;
use serde_json::Value;
use tempfile::TempDir;

/// A folder for one test; `OFA_HOME` is inside it.
pub(crate) struct Sandbox {
    folder: TempDir,
}

/// What a run of `ofa` gave.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and gives its path as an argument.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ofa"));
        command.env("OFA_HOME", self.path("home")).env_remove("RUST_LOG").current_dir(self.folder.path());
        command
    }

    pub(crate) fn ofa(&self, args: &[&str]) -> Run {
        Run::of(self.command().args(args).output().unwrap())
    }

    /// Runs and insists on success.
    pub(crate) fn ok(&self, args: &[&str]) -> Run {
        let run = self.ofa(args);
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        run
    }

    /// Runs and insists on a one-paragraph error with this exit code that contains all of `words`; where results are JSON,
    /// on an object that says the same.
    pub(crate) fn refused(&self, args: &[&str], code: i32, words: &[&str]) -> Run {
        let run = self.refused_with(args, code, words);
        let lines = run.stderr.lines().filter(|line| line.starts_with("  --> ")).count();
        assert!(lines <= 1, "{args:?}: not one place: {}", run.stderr);
        run
    }

    /// The same of a file's content with mistakes in several places, a line for each.
    pub(crate) fn refused_in_places(&self, args: &[&str], words: &[&str]) -> Run {
        self.refused_with(args, 3, words)
    }

    fn refused_with(&self, args: &[&str], code: i32, words: &[&str]) -> Run {
        let run = self.ofa(args);
        let stderr = &run.stderr;
        assert_eq!(run.code, code, "{args:?}: {stderr}");
        assert!(run.stdout.is_empty(), "{args:?} printed results: {}", run.stdout);
        if args.contains(&"json") {
            let object = stderr.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
            let error = &object.unwrap_or_else(|| panic!("{args:?}: no object: {stderr}"))["error"];
            let text = ["what", "where", "hint"].map(|key| error[key].as_str().unwrap_or_default()).join("\n");
            assert!(words.iter().all(|word| text.contains(word)), "{args:?}: {words:?} are not all in: {text}");
            return run;
        }
        let lines: Vec<&str> =
            stderr.lines().filter(|line| !line.starts_with("note: ") && !line.starts_with("warning: ")).collect();
        assert!(lines[0].starts_with("error: "), "{args:?}: {stderr}");
        let hints = lines.iter().filter(|line| line.starts_with("hint: ")).count();
        assert!(hints <= 1 && !lines.contains(&""), "{args:?}: not one paragraph: {stderr}");
        assert!(lines[1..].iter().all(|line| line.starts_with("  --> ") || line.starts_with("hint: ")), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: {word:?} is not in: {stderr}");
        }
        run
    }

    /// A predictor for `mcu-cifar`, fitted through the command line to made-up pairs in which more MACs, wider kernels
    /// and higher resolutions mean more accuracy.
    pub(crate) fn predictor(&self) -> String {
        self.fitted("ensemble")
    }

    /// The same of another model.
    pub(crate) fn fitted(&self, model: &str) -> String {
        let pairs = self.path("pairs.parquet");
        synthetic_pairs(&pairs, 400);
        let out = self.path("predictor.safetensors").to_str().unwrap().to_owned();
        let pairs = pairs.to_str().unwrap();
        self.ok(&[
            "predictor",
            "fit",
            "--space",
            "mcu-cifar",
            "--pairs",
            pairs,
            "--out",
            &out,
            "--members",
            "0",
            "--model",
            model,
            "--test-pairs",
            "100",
        ]);
        out
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// One JSON value per line of stdout.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Distinct subnets at both ends and between, by counting through a seeded draw.
pub(crate) fn subnets(space: &SearchSpace, count: usize) -> Vec<ArchSpec> {
    let mut drawn = experiments::folders::spaces::sample(space, count, 7);
    for &resolution in space.resolutions() {
        drawn.push(space.smallest(resolution).unwrap());
        drawn.push(space.largest(resolution).unwrap());
    }
    drawn
}

fn synthetic_pairs(path: &Path, count: usize) {
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let pair = |arch: &ArchSpec| {
        let macs = space.lower(arch).macs().0 as f64;
        let kernels: u32 = arch.stages().iter().flat_map(|stage| &stage.blocks).map(|block| block.kernel).sum();
        let top1 = 0.3 + 0.03 * macs.ln() + 0.0005 * f64::from(kernels);
        AccuracyPair {
            subnet: AccuracyPair::subnet_json(&space, arch),
            resolution: arch.resolution(),
            top1,
            top5: 0.99,
            loss: 1.0 - top1,
            images: 5000,
            seed: 0,
            seconds: 0.1,
            halves: None,
        }
    };
    let pairs: Vec<AccuracyPair> = subnets(&space, count).iter().map(pair).collect();
    pairs::write(path, &pairs, None).unwrap();
}

/// The folder of golden values and measurements, or `None`, said aloud.
pub(crate) fn shared() -> Option<PathBuf> {
    shared_data::file("golden").and_then(|folder| Some(folder.parent()?.to_path_buf()))
}
