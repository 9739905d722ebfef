//! The verbs that need LibTorch: a tiny run trained, interrupted, measured and taken out, on made-up images.

use std::fs;
use std::path::Path;

use search::space::SearchSpace;

use crate::support::{Run, Sandbox};

pub(super) const DATA: &str = "synthetic:600";

/// One epoch of one phase: enough for weights that are not their initial ones.
fn recipe(sandbox: &Sandbox, epochs: u64) -> String {
    let text = format!(
        "schema: ofa.recipe/1\nname: tiny\nspace: mcu-cifar\nheld_out: 100\nseed: 3\nbatch_size: 50\n\
         calibration: {{ batches: 2, batch_size: 50 }}\nphases:\n  - {{ name: full, epochs: {epochs}, \
         learning_rate: 0.05, with_largest: true }}\n"
    );
    sandbox.file("recipe.yaml", &text)
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A bundle of the weights that `seed` begins with.
pub(super) fn bundle(sandbox: &Sandbox, seed: &str) -> String {
    let (recipe, out, set) = (recipe(sandbox, 0), sandbox.path(seed), format!("seed={seed}"));
    let args = ["train", &recipe, "--data", DATA, "--out", text(&out), "--device", "cpu", "--threads", "1"];
    sandbox.ok(&[&args[..], &["--set", &set]].concat());
    text(&out.join("bundle")).to_owned()
}

#[test]
fn kernels_that_do_not_exist_are_refused_before_anything_is_read() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox, 0);
    let out = sandbox.path("run");
    let args = ["train", &recipe, "--data", DATA, "--out", text(&out), "--device", "cpu", "--threads", "1"];
    let with = |name: &str| Run::of(sandbox.command().env("OFA_KERNELS", name).args(args).output().unwrap());
    let refused = with("avx1024");
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    for words in ["OFA_KERNELS is `avx1024`", "hint: unset it", "portable"] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    assert!(!out.exists());
    assert_eq!(with("portable").code, 0);
}

#[test]
fn a_run_becomes_a_network_that_measures_as_it_did_in_its_supernet() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox, 1);
    let out = sandbox.path("run");
    let train = ["train", &recipe, "--data", DATA, "--out", text(&out), "--device", "cpu", "--threads", "1"];
    let run = sandbox.ok(&[&train[..], &["-vvv"]].concat());
    let rows: Vec<Vec<&str>> = run.stderr.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.iter().any(|row| row.starts_with(&["full", "1/1"])), "a row per epoch: {}", run.stderr);
    for words in ["trace: step step=0 loss=", "debug: epoch measured phase=\"full\"", "debug: calibrating batch norm"] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    sandbox.refused(&train, 2, &["already holds a run", "--resume"]);

    // All that the run folder's description lists, and nothing else.
    let mut files: Vec<String> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    // Named by when the run was started.
    let events = files.iter().position(|name| name.starts_with("events.out.tfevents.") && name.ends_with(".ofa"));
    files.remove(events.unwrap());
    let listed = [
        "bundle",
        "checkpoints",
        "energy.json",
        "metrics.jsonl",
        "preprocessing.json",
        "recipe.yaml",
        "report.json",
        "run.json",
        "space.yaml",
    ];
    assert_eq!(files, listed);
    let facts: serde_json::Value = serde_json::from_str(&fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    let revision = facts["revision"].as_str().unwrap().trim_end_matches('+');
    assert!(
        revision == "unknown" || (revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "{facts}"
    );
    assert_eq!((&facts["device"], &facts["threads"], &facts["seed"]), (&"cpu".into(), &1.into(), &3.into()));
    assert_eq!((&facts["precision"], &facts["command"][1]), (&"fp32".into(), &"train".into()));
    assert!(facts["started"].as_str().is_some_and(|time| time.len() == 20 && time.ends_with('Z')), "{facts}");

    let bundle = out.join("bundle");
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let subnet = sandbox.file("subnet.json", &space.to_subnet_json(&space.smallest(24).unwrap()).to_string());
    let taken = sandbox.path("taken");
    let export = [
        "export",
        "--supernet",
        text(&bundle),
        "--subnet",
        &subnet,
        "--data",
        DATA,
        "--out",
        text(&taken),
        "--to",
        "torchscript",
        "--device",
        "cpu",
    ];
    sandbox.ok(&export);
    for file in ["weights.safetensors", "subnet.json", "preprocessing.json", "module.pt"] {
        assert!(taken.join(file).is_file(), "{file}");
    }
    let json = ["--data", DATA, "--device", "cpu", "--format", "json"];
    let extracted = sandbox.ok(&[&["eval", "--extracted", text(&taken)][..], &json].concat()).json().remove(0);
    let inside = [&["eval", "--supernet", text(&bundle), "--subnet", &subnet][..], &json].concat();
    let inside = sandbox.ok(&inside).json().remove(0);
    assert_eq!(extracted["top1"], inside["top1"]);
    assert_eq!(extracted["images"], inside["images"]);
    assert!((extracted["loss"].as_f64().unwrap() - inside["loss"].as_f64().unwrap()).abs() < 1e-5);

    // Without images of its own a bundle says what it lacks.
    let without_data: Vec<&str> = export.iter().copied().filter(|word| !["--data", DATA].contains(word)).collect();
    sandbox.refused(&without_data, 3, &["lacks calibration"]);

    let weights = bundle.join("supernet.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let eval = [&["eval", "--supernet", text(&bundle), "--largest"][..], &json].concat();
    sandbox.refused(&eval, 3, &["supernet.safetensors"]);
}

#[test]
fn the_best_subnet_is_written_with_its_weights() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox, 1);
    let run = sandbox.path("run");
    sandbox.ok(&["train", &recipe, "--data", DATA, "--out", text(&run), "--device", "cpu"]);
    let bundle = run.join("bundle");
    let predictor = sandbox.predictor();
    fs::copy(&predictor, bundle.join("predictor.safetensors")).unwrap();
    let found = sandbox.path("found");
    let search =
        ["search", "--supernet", text(&bundle), "--target", "pixel3", "--energy", "2mJ", "--evaluations", "500"];
    let written = ["--out", text(&found), "--data", DATA, "--device", "cpu"];
    sandbox.ok(&[&search[..], &written].concat());
    for file in ["result.json", "subnet.json", "history.parquet", "weights.safetensors", "preprocessing.json"] {
        assert!(found.join(file).is_file(), "{file}");
    }
    let eval = ["eval", "--extracted", text(&found), "--data", DATA, "--device", "cpu", "--format", "json"];
    assert!(sandbox.ok(&eval).json()[0]["top1"].is_number());
    // Nothing to take out: said, and the result is written all the same.
    let candidates =
        ["search", "--space", "mcu-cifar", "--predictor", &predictor, "--macs", "5M", "--evaluations", "500"];
    let other = sandbox.path("other");
    let run = sandbox.ok(&[&candidates[..], &["--out", text(&other)]].concat());
    assert!(run.stderr.contains("have no weights to extract"), "{}", run.stderr);
    assert!(other.join("result.json").is_file() && !other.join("weights.safetensors").exists());
}

#[test]
fn a_dry_run_says_what_a_run_takes_and_writes_nothing() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox, 50);
    let out = sandbox.path("run");
    let dry = ["train", &recipe, "--data", DATA, "--out", text(&out), "--device", "cpu", "--threads", "1", "--dry-run"];
    let before = fs::read_dir(sandbox.path("")).unwrap().count();
    let told = sandbox.ok(&dry).stdout;
    for words in ["phase", "full ", "held out", "about ", "timed steps", "energy ", "nothing was trained or written"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let [planned] = &sandbox.ok(&[&dry[..], &["--format", "json"]].concat()).json()[..] else { panic!("one object") };
    let phase = &planned["phases"][0];
    let images = planned["images"]["train"].as_u64().unwrap();
    let steps = 50 * (images / planned["batch_size"].as_u64().unwrap());
    assert_eq!((&phase["epochs"], &phase["steps"], &phase["is_timed"]), (&50.into(), &steps.into(), &true.into()));
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert!(number(&planned["seconds"]) >= number(&phase["seconds"]) && number(&phase["seconds"]) > 0.0, "{planned}");
    assert!(number(&planned["memory"]["bytes"]) > 1e7 && number(&planned["energy"]["energy_j"]) > 0.0, "{planned}");
    assert_eq!(fs::read_dir(sandbox.path("")).unwrap().count(), before, "nothing was written");
    // Refused as the run itself is.
    let refused = |more: &[&str], code, words: &[&str]| {
        sandbox.refused(&[&dry[..], more].concat(), code, words);
        sandbox.refused(&[&dry[..dry.len() - 1], more].concat(), code, words);
        assert!(!out.exists());
    };
    let below = format!("{recipe}/run");
    sandbox.refused(&["train", &recipe, "--data", DATA, "--out", &below, "--dry-run"], 1, &["run folder", "directory"]);
    refused(&["--set", "phases.0.resolutions=[31]"], 3, &["phases.0.resolutions", "31"]);
    refused(&["--set", "phases.0.learning_rate=-1"], 3, &["phases.0.learning_rate"]);
    refused(&["--set", "weights=nowhere"], 2, &["nowhere"]);
    fs::create_dir(&out).unwrap();
    fs::write(out.join("recipe.yaml"), "").unwrap();
    sandbox.refused(&dry, 2, &["already holds a run"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let sandbox = Sandbox::new();
    // Long enough that it cannot end by itself.
    let recipe = recipe(&sandbox, 2000);
    let out = sandbox.path("run");
    let args = ["train", &recipe, "--data", DATA, "--out", text(&out), "--device", "cpu", "--threads", "1"];
    let child = sandbox.command().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    // The first epoch's metrics: training is under way.
    while fs::metadata(out.join("metrics.jsonl")).map_or(0, |file| file.len()) == 0 {
        assert!(started.elapsed() < Duration::from_secs(300), "training did not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: the child is ours and has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    let run = Run::of(child.wait_with_output().unwrap());
    assert_eq!(run.code, 130, "{}", run.stderr);
    assert!(run.stderr.contains("the state is saved") && run.stderr.contains("--resume"), "{}", run.stderr);
    assert!(fs::read_dir(out.join("checkpoints")).unwrap().count() > 0);
}

#[test]
fn wrong_devices_recipes_and_images_are_refused() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox, 1);
    let out = sandbox.path("run");
    let train = |more: &[&str], code, words: &[&str]| {
        sandbox.refused(&[&["train", &recipe, "--out", text(&out)][..], more].concat(), code, words);
    };
    train(&["--data", DATA, "--device", "tpu"], 2, &["tpu", "cuda:N"]);
    train(&[], 2, &["--data"]);
    train(&["--data", "pictures"], 2, &["pictures", "parquet:PATH"]);
    train(&["--data", DATA, "--set", "batch_size"], 2, &["batch_size"]);
    let damaged = sandbox.file("damaged.parquet", "not Parquet");
    train(&["--data", &format!("parquet:{damaged}")], 3, &["damaged.parquet"]);
    assert!(!out.join("recipe.yaml").exists());
    let checkpoint = sandbox.file("truncated.pth", "PK\u{3}\u{4} and no more");
    let import = ["import", "ofa-mbv3", &checkpoint, "--space", "mbv3-w1.0", "--out", text(&out)];
    sandbox.refused(&import, 3, &["truncated.pth"]);
}

/// A published network with random weights runs on images as any other network.
#[test]
fn a_network_without_a_space_is_evaluated() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("resnet8");
    sandbox.ok(&["network", "from", "resnet8", "--out", text(&folder)]);
    let eval = ["eval", "--network", text(&folder), "--data", "synthetic", "--device", "cpu", "--format", "json"];
    let measured = sandbox.ok(&eval).json().remove(0);
    assert!(measured["images"].as_u64().unwrap() > 0 && measured["loss"].as_f64().unwrap().is_finite());
}

#[test]
fn pairs_of_other_weights_and_weights_of_another_subnet_are_refused() {
    let sandbox = Sandbox::new();
    let (one, other) = (bundle(&sandbox, "3"), bundle(&sandbox, "4"));
    let pairs = sandbox.path("pairs.parquet");
    let collect = |bundle: &str, count: &str| {
        sandbox.ofa(&["predictor", "collect", "--supernet", bundle, "--data", DATA, "-n", count, "--out", text(&pairs)])
    };
    assert_eq!(collect(&one, "2").code, 0);
    let before = fs::read(&pairs).unwrap();
    let refused = collect(&other, "3");
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("was measured with other weights"), "{}", refused.stderr);
    assert_eq!(fs::read(&pairs).unwrap(), before);
    assert_eq!(collect(&one, "3").code, 0);

    // The second network into a folder leaves nothing of the first, and a subnet put beside others' weights is noticed.
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let subnet = |name: &str, arch| sandbox.file(name, &space.to_subnet_json(&arch).to_string());
    let small = subnet("small.json", space.smallest(32).unwrap());
    let large = subnet("large.json", space.largest(32).unwrap());
    let found = sandbox.path("found");
    let export = ["export", "--supernet", &one, "--data", DATA, "--out", text(&found), "--device", "cpu"];
    sandbox.ok(&[&export[..], &["--subnet", &small, "--to", "torchscript"]].concat());
    assert!(found.join("module.pt").exists());
    let eval = ["eval", "--network", text(&found), "--data", DATA, "--device", "cpu"];
    let check = ["network", "check", text(&found)];
    assert!(!sandbox.ok(&eval).stderr.contains("another network's"));
    sandbox.ok(&check);
    let changed = |name: &str, from: &str, to: &str| {
        let file = found.join(name);
        let before = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&before).replacen(from, to, 1);
        fs::write(&file, text).unwrap();
        let said = sandbox.ok(&[&["-q"], &eval[..]].concat()).stderr;
        sandbox.refused(&check, 3, &[name]);
        fs::write(&file, before).unwrap();
        said
    };
    assert!(
        changed("module.pt", "PK", "KP")
            .contains("warning: module.pt is not the file that network.json was written with")
    );
    assert!(
        changed("network.json", "relu6", "relu")
            .contains("warning: network.json has changed since weights.safetensors")
    );
    let swapped = changed("preprocessing.json", "\n", "\n\n");
    assert!(swapped.contains("warning: preprocessing.json is not the file"), "{swapped}");
    sandbox.ok(&[&export[..], &["--subnet", &large]].concat());
    assert!(!found.join("module.pt").exists());
    fs::copy(&small, found.join("subnet.json")).unwrap();
    sandbox.refused(&eval, 3, &["weights.safetensors", "another subnet than subnet.json describes"]);
}

#[test]
fn a_predictor_of_other_weights_is_not_believed() {
    let sandbox = Sandbox::new();
    let (one, other) = (bundle(&sandbox, "3"), bundle(&sandbox, "4"));
    let pairs = text(&sandbox.path("pairs.parquet")).to_owned();
    let collect = ["predictor", "collect", "--supernet", &one, "--data", DATA, "-n", "40", "--out", &pairs];
    sandbox.ok(&collect);
    let predictor = |bundle: &str| format!("{bundle}/predictor.safetensors");
    let fit = |out: &str| sandbox.ofa(&["predictor", "fit", "--pairs", &pairs, "--out", out, "--model", "additive"]);
    let made = fit(&predictor(&one));
    assert_eq!(made.code, 0, "{}", made.stderr);
    let search = |bundle: &str, more: &[&str]| {
        let search = ["search", "--supernet", bundle, "--macs", "5M", "--evaluations", "300"];
        sandbox.ofa(&[&search[..], more].concat())
    };
    assert_eq!(search(&one, &[]).code, 0);
    let refused = |run: Run| {
        assert_eq!(run.code, 3, "{}", run.stderr);
        for words in ["predictor.safetensors", "measured with other weights than those of bundle", "predictor collect"]
        {
            assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
        }
    };
    refused(fit(&predictor(&other)));
    fs::copy(predictor(&one), predictor(&other)).unwrap();
    refused(search(&other, &[]));
    let found = sandbox.path("found");
    refused(search(&other, &["--out", text(&found), "--data", DATA]));
    assert!(!found.join("weights.safetensors").exists());
}
