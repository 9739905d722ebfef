//! `ofa init` and `ofa build`: from a folder of images to networks, killed on the way, asked again with other settings.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::pictures::png;
use crate::support::Sandbox;

const CLASSES: [&str; 4] = ["ant", "bee", "cat", "dog"];

/// A folder with a training and a test part; gives its name as a source.
pub(super) fn images(sandbox: &Sandbox) -> String {
    let folder = sandbox.path("img");
    for (part, count) in [("train", 40_u32), ("test", 8)] {
        for (class, name) in CLASSES.iter().enumerate() {
            let classes = folder.join(part).join(name);
            fs::create_dir_all(&classes).unwrap();
            for number in 0..count {
                let seed = number + 100 * class as u32 + 1000 * u32::from(part == "test");
                fs::write(classes.join(format!("{number:02}.png")), png(32, class, seed)).unwrap();
            }
        }
    }
    format!("folder:{}", folder.display())
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The shortest settings that still do everything but the images for calibration, which take long.
fn shorten(folder: &Path) {
    let path = folder.join("build.yaml");
    let long = fs::read_to_string(&path).unwrap();
    let steps = long.lines().find(|line| line.starts_with("calibrate:")).unwrap();
    fs::write(&path, long.replace(steps, "calibrate: { steps: 0 }")).unwrap();
    let path = folder.join("sweep.yaml");
    let budgets: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let kept = |line: &&String| !line.starts_with("  - ") || line.contains(" 2%") || line.contains(" 35%");
    let lines: Vec<&str> = budgets.iter().filter(kept).map(String::as_str).collect();
    fs::write(&path, lines.join("\n") + "\nevaluations: 500\n").unwrap();
}

#[test]
fn two_commands_lead_from_images_to_networks_however_often_they_are_killed() {
    let sandbox = Sandbox::new();
    let data = images(&sandbox);
    let (whole, killed) = (sandbox.path("whole"), sandbox.path("killed"));
    let init = ["init", text(&whole), "--data", &data, "--minutes", "0.05", "--device", "cpu", "--threads", "1"];
    let said = sandbox.ok(&init).stdout;
    for words in ["4 (ant, bee, cat, dog)", "140 to train on, 20 held out, 32 to test with", "24, 28, 32 px", "pixel3"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(said.trim_end().ends_with(&format!("next: ofa build {}", text(&whole))), "{said}");
    sandbox.refused(&init, 2, &["was made by `ofa init` before", "`ofa build"]);
    shorten(&whole);
    fs::create_dir(&killed).unwrap();
    for file in ["recipe.yaml", "space.yaml", "sweep.yaml", "build.yaml"] {
        fs::copy(whole.join(file), killed.join(file)).unwrap();
    }
    let build = |folder: &Path| ["build", text(folder), "--device", "cpu", "--threads", "1"].map(str::to_owned);
    let ok = |folder: &Path| sandbox.ok(&build(folder).each_ref().map(String::as_str));
    let began = Instant::now();
    let made = ok(&whole);
    let took = began.elapsed();
    assert!(made.stdout.contains("net-01") && made.stdout.contains("onnx (tract)"), "{}", made.stdout);
    assert!(made.stdout.contains("next: ofa search --target pixel3 --supernet "), "{}", made.stdout);

    // Killed at moments all over it, then left alone.
    let mut hits = 0;
    for part in [1_u32, 3, 5, 7, 9] {
        let mut child = sandbox.command();
        let mut child = child.args(build(&killed)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(took.as_secs_f64() * f64::from(part) / 24.0));
        hits += u32::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(hits > 2, "{hits}");
    ok(&killed);
    for file in [
        "networks.json",
        "networks.svg",
        "subnets.jsonl",
        "supernet/bundle/supernet.safetensors",
        "supernet/bundle/predictor.safetensors",
        "networks/net-01/weights.safetensors",
        "networks/net-01/net-01.onnx",
        "networks/net-01/net-01.tflite",
    ] {
        let [a, b] = [&whole, &killed].map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }

    // Asked again, nothing is done; asked with another predictor, what depends on it is.
    let stages = |folder: &Path| -> Vec<String> {
        let said = ok(folder).stderr;
        let lines = said.lines().filter(|line| line.starts_with('['));
        let words =
            |line: &str| line.split(']').nth(1).unwrap().split_whitespace().take(5).collect::<Vec<_>>().join(" ");
        lines.map(words).collect()
    };
    let all = stages(&whole);
    assert!(all.len() == 10 && all.iter().all(|line| line.contains(" found")), "{all:?}");
    let path = whole.join("build.yaml");
    let settings = fs::read_to_string(&path).unwrap();
    fs::write(&path, settings.replace("model: ensemble", "model: additive")).unwrap();
    let again = stages(&whole);
    let has = |start: &str| again.iter().any(|line| line.starts_with(start));
    for start in [
        "train found",
        "collect found",
        "fit again: model changed",
        "calibrate found",
        "search again: predictor changed",
    ] {
        assert!(has(start), "{start}: {again:?}");
    }
    fs::remove_file(whole.join("networks/net-01/net-01.onnx")).unwrap();
    let again = stages(&whole);
    assert!(
        again.iter().any(|line| line.starts_with("export again: networks/net-01/net-01.onnx is gone")),
        "{again:?}"
    );
    assert!(again.iter().any(|line| line.starts_with("test found")), "{again:?}");

    // Trained on, each network has weights of its own; those of the supernet stay.
    let settings = fs::read_to_string(&path).unwrap();
    let tuned = settings.replace("finetune: { epochs: 0 }", "finetune: { epochs: 1, set: [batch_size=20] }");
    assert!(tuned != settings, "{settings}");
    fs::write(&path, tuned).unwrap();
    let before = fs::read(whole.join("networks/net-01/weights.safetensors")).unwrap();
    let again = stages(&whole);
    let has = |start: &str| again.iter().any(|line| line.starts_with(start));
    for start in [
        "train found",
        "search found",
        "verify found",
        "finetune again: epochs changed",
        "export again: fine-tuning changed",
    ] {
        assert!(has(start), "{start}: {again:?}");
    }
    assert!(before != fs::read(whole.join("networks/net-01/weights.safetensors")).unwrap());
}

#[test]
fn what_cannot_be_built_is_refused_before_anything_is_done() {
    let sandbox = Sandbox::new();
    let data = images(&sandbox);
    let folder = sandbox.path("net");
    let init = |folder: &Path, more: &[&str]| -> Vec<String> {
        let line = ["init", text(folder), "--data", &data, "--minutes", "0.05", "--device", "cpu"];
        line.iter().chain(more).map(|word| (*word).to_owned()).collect()
    };
    let refused = |line: &[String], code: i32, words: &[&str]| {
        sandbox.refused(&line.iter().map(String::as_str).collect::<Vec<_>>(), code, words)
    };
    refused(&init(&folder, &["--target", "toaster"]), 2, &["toaster"]);
    refused(&init(&folder, &["--like", "nothing"]), 2, &["there is no bundle `nothing`"]);
    refused(&init(&folder, &["--minutes", "0"]), 2, &["minutes"]);
    sandbox.refused(&["build", text(&folder)], 2, &["has no build.yaml", "ofa init"]);
    assert!(!folder.exists());
    refused(&init(&sandbox.path("img"), &[]), 2, &["holds other files"]);
    let bad = sandbox.path("img/train/bee/05.png");
    let good = fs::read(&bad).unwrap();
    fs::write(&bad, &good[..100]).unwrap();
    refused(&init(&folder, &[]), 3, &["train/bee/05.png"]);
    fs::write(&bad, good).unwrap();
    sandbox.ok(&init(&folder, &[]).iter().map(String::as_str).collect::<Vec<_>>());
    let settings = sandbox.path("net/build.yaml");
    let right = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, right.replace("pairs: ", "pears: ")).unwrap();
    sandbox.refused(&["build", text(&folder)], 3, &["pears", "build.yaml"]);
}
