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

fn text(path: &Path) -> &str {
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

/// One file, of a subnet or of a network's folder, is written once another runtime has computed the same from it.
#[test]
fn a_network_becomes_one_file_that_another_runtime_agrees_with() {
    let sandbox = Sandbox::new();
    let subnet = sandbox.file("subnet.json", &sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "1"]).stdout);
    let path = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    let (of_subnet, folder, of_folder) = (path("subnet.onnx"), path("network"), path("network.onnx"));
    let taken = ["export", "--supernet", "mcu-cifar", "--subnet", &subnet, "--device", "cpu"];
    let onnx = ["--to", "onnx", "--format", "json", "--out"];
    let made = sandbox.ok(&[&taken[..], &onnx, &[&of_subnet]].concat()).json().remove(0);
    assert!(made["largest_error"].as_f64().unwrap() <= 1e-4 && made["same_class"] == 100, "{made}");
    let bytes = fs::read(&of_subnet).unwrap();
    assert_eq!(made["bytes"], bytes.len());
    for words in ["ofa.class_names", "airplane", "logits", "blocks.0.depthwise.conv"] {
        assert!(bytes.windows(words.len()).any(|window| window == words.as_bytes()), "{words}");
    }

    sandbox.ok(&[&taken[..], &["--out", &folder]].concat());
    let of_network = ["export", "--network", &folder, "--device", "cpu"];
    let run = sandbox.ok(&[&of_network[..], &["--to", "onnx", "--out", &of_folder, "-v"]].concat());
    assert!(run.stderr.contains("info: checked the file beside its network runtime=\"tract\""), "{}", run.stderr);
    assert!(
        run.stdout.contains("onnxruntime.InferenceSession") && run.stdout.contains("tract, noise"),
        "{}",
        run.stdout
    );
    let lite = path("network.tflite");
    let run = sandbox.ok(&[&of_network[..], &["--to", "tflite", "--out", &lite]].concat());
    assert!(run.stdout.contains("model.allocate_tensors()") && run.stdout.contains("tract, noise"), "{}", run.stdout);
    for file in [&of_folder, &lite] {
        let compared = ["verify", file, "--against", &folder, "--device", "cpu", "--images", "20"];
        let made = sandbox.ok(&[&compared[..], &["--format", "json"]].concat()).json().remove(0);
        assert!(made["largest_error"].as_f64().unwrap() <= 1e-4 && made["runtime"] == "tract", "{made}");
    }
    // The weights of another network.
    let (other, subnet) = (
        path("other"),
        sandbox.file("other.json", &sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "1", "--seed", "5"]).stdout),
    );
    sandbox.ok(&["export", "--supernet", "mcu-cifar", "--subnet", &subnet, "--device", "cpu", "--out", &other]);
    sandbox.refused(
        &["verify", &lite, "--against", &other, "--device", "cpu", "--images", "20"],
        3,
        &["network.tflite"],
    );

    let elsewhere = path("elsewhere.onnx");
    let refused = |more: &[&str], code, words: &[&str]| {
        sandbox.refused(&[&of_network[..], more, &["--out", &elsewhere]].concat(), code, words);
        assert!(!Path::new(&elsewhere).exists());
    };
    refused(&["--to", "torchscript"], 2, &["--to onnx"]);
    refused(&["--to", "safetensors", "--int8"], 2, &["float32"]);
    refused(&["--to", "onnx", "--subnet", &subnet], 2, &["--subnet", "--network"]);
    let own = format!("{folder}/weights.safetensors");
    sandbox.refused(&[&of_network[..], &["--to", "onnx", "--out", &own]].concat(), 2, &[".onnx"]);
    sandbox.refused(&[&of_network[..], &["--to", "onnx", "--out", &folder]].concat(), 2, &["--out"]);
    refused(&["--to", "onnx", "--keep-float", "stem"], 2, &["--int8"]);
    refused(&["--to", "onnx", "--int8"], 2, &["--data", "--supernet", "subnet.json"]);
    refused(&["--to", "onnx", "--int8", "--keep-float", "stemm", "--data", "synthetic"], 2, &["stem"]);
    refused(&["--to", "onnx", "--supernet", "mcu-cifar", "--subnet", &subnet], 2, &["--supernet", "--network"]);
    refused(&["--to", "onnx", "--data", "synthetic:200,size=32,classes=4"], 3, &["texture 0"]);
    fs::remove_file(Path::new(&folder).join("preprocessing.json")).unwrap();
    refused(&["--to", "onnx", "--data", "synthetic"], 3, &["preprocessing.json", "is missing"]);
    let weights = Path::new(&folder).join("weights.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    refused(&["--to", "onnx"], 3, &["weights.safetensors"]);
    refused(&["--to", "tflite"], 2, &["another format", ".tflite"]);
    sandbox.refused(&["verify", &elsewhere, "--against", &folder], 2, &["elsewhere.onnx"]);
}

/// In int8 by the bundle's own images, kept from saying more than what was compared.
#[test]
fn a_subnet_becomes_a_file_in_int8() {
    let sandbox = Sandbox::new();
    let subnet = sandbox.file("subnet.json", &sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "1"]).stdout);
    let file = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    let size = |name: &str| fs::metadata(sandbox.path(name)).unwrap().len() as f64;
    let taken = ["export", "--supernet", "mcu-cifar", "--subnet", &subnet, "--device", "cpu", "--format", "json"];
    for form in ["onnx", "tflite"] {
        let (float, rounded) = (format!("float.{form}"), format!("int8.{form}"));
        // All of the bundle's images.
        let all = sandbox.ok(&[&taken[..], &["--to", form, "--images", "0", "--out", &file(&float)]].concat());
        assert!(all.json()[0]["images"].as_u64().unwrap() > 100);
        let some = ["--images", "64", "--out", &file(&rounded)];
        let more = [&["--to", form, "--int8", "--keep-float", "stem", "--damage"][..], &some].concat();
        let made = sandbox.ok(&[&taken[..], &more].concat()).json().remove(0);
        let int8 = &made["int8"];
        let part = |key: &str| int8[key].as_f64().unwrap();
        assert!(part("same_class") >= 0.95 * part("images") && part("signal_to_noise_db") > 20.0, "{made}");
        assert!(part("weight_bytes") < 0.3 * part("float_weight_bytes"), "{made}");
        assert!(int8["top1"].is_null() && int8["layers"].as_array().unwrap().len() > 20, "{made}");
        assert!(size(&rounded) < 0.45 * size(&float), "{} {}", size(&rounded), size(&float));
        // Where there is a runtime, it was run.
        assert!(made["runtime"].is_null() || made["largest_error"].as_f64().unwrap() < 0.1, "{made}");
    }
}

/// A subnet's folder that points to its bundle: some kilobytes, and the same weights to the bit.
#[test]
fn a_folder_may_point_to_the_bundle_that_has_its_weights() {
    use experiments::folders::network_folder::NetworkFolder;

    let sandbox = Sandbox::new();
    let subnet = sandbox.file("subnet.json", &sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "1"]).stdout);
    let folders = ["safetensors", "pointer"].map(|form| {
        let folder = sandbox.path(form);
        let export = ["export", "--supernet", "mcu-cifar", "--subnet", &subnet, "--device", "cpu", "--to", form];
        sandbox.ok(&[&export[..], &["--out", text(&folder)]].concat());
        folder
    });
    let size = |folder: &Path| -> u64 {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| entry.metadata().unwrap().len()).sum()
    };
    assert!(size(&folders[1]) < size(&folders[0]) / 8 && !folders[1].join("weights.safetensors").exists());
    let parent = folders[1].join("parent.json");
    let written = fs::read_to_string(&parent).unwrap();
    assert!(written.contains("\"bundle\": \"mcu-cifar\""), "{written}");
    // The sandbox's program finds the bundle by name; here it is asked for by path.
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/zoo/mcu-cifar");
    fs::write(&parent, written.replace("\"mcu-cifar\"", &format!("{:?}", text(&bundle)))).unwrap();
    let networks = [0, 1].map(|at| NetworkFolder::read(&folders[at]).unwrap());
    assert!(networks[0].weights == networks[1].weights && networks[0].shape == networks[1].shape);
    fs::write(&parent, &written).unwrap();
    // Every verb takes it for what it is.
    let file = sandbox.path("it.onnx");
    let export = ["export", "--network", text(&folders[1]), "--to", "onnx", "--device", "cpu", "--out", text(&file)];
    sandbox.ok(&export);
    sandbox.ok(&["verify", text(&file), "--against", text(&folders[0]), "--by", "tract", "--images", "3"]);
    // A bundle that is gone, or another one's weights.
    fs::write(&parent, written.replace("mcu-cifar", "gone")).unwrap();
    sandbox.refused(&export, 3, &["bundle gone", "parent.json"]);
    let digest = serde_json::from_str::<serde_json::Value>(&written).unwrap()["weights"].as_str().unwrap().to_owned();
    let other: String = digest.chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    fs::write(&parent, written.replace(&digest, &other)).unwrap();
    sandbox.refused(&export, 3, &["other weights", "mcu-cifar"]);
    // Weights in its place later on leave no pointer behind.
    let again =
        ["export", "--supernet", "mcu-cifar", "--subnet", &subnet, "--device", "cpu", "--out", text(&folders[1])];
    sandbox.ok(&again);
    assert!(!parent.exists() && folders[1].join("weights.safetensors").exists());
}

/// Several subnets over one file of weights, a few kilobytes each.
#[test]
fn subnets_share_a_file_of_weights() {
    let sandbox = Sandbox::new();
    let subnets = sandbox.file("subnets.jsonl", &sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "3"]).stdout);
    let folder = sandbox.path("nested");
    let nested = ["export", "--supernet", "mcu-cifar", "--nested", &subnets, "--device", "cpu", "--out", text(&folder)];
    let names = ["--names", "fast,balanced,best"];
    let made = sandbox.ok(&[&nested[..], &names, &["--format", "json"]].concat()).json().remove(0);
    let alone: u64 =
        made["slices"].as_array().unwrap().iter().map(|slice| slice["alone_bytes"].as_u64().unwrap()).sum();
    assert!(made["all_bytes"].as_f64().unwrap() < 0.7 * alone as f64, "{made}");
    for slice in made["slices"].as_array().unwrap() {
        assert!(
            slice["largest_error"].as_f64().unwrap() < 1e-5 && slice["bytes"].as_u64().unwrap() < 100_000,
            "{slice}"
        );
    }
    let list: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("slices.json")).unwrap()).unwrap();
    assert_eq!((list["weights"].as_str(), list["slices"][1]["name"].as_str()), (Some("weights.bin"), Some("balanced")));
    assert!(["fast.onnx", "balanced.onnx", "best.onnx", "weights.bin"].iter().all(|name| folder.join(name).exists()));
    // In int8 they share their filters, and have scales of their own.
    let rounded = sandbox.path("int8");
    let nested_int8 = ["export", "--supernet", "mcu-cifar", "--nested", &subnets, "--int8", "--device", "cpu"];
    let more = ["--images", "50", "--out", text(&rounded), "--format", "json"];
    let small = sandbox.ok(&[&nested_int8[..], &names, &more].concat()).json().remove(0);
    assert!(small["bytes"].as_f64().unwrap() < 0.26 * made["bytes"].as_f64().unwrap(), "{small} {made}");
    assert!(small["all_bytes"].as_f64().unwrap() < 0.5 * made["all_bytes"].as_f64().unwrap(), "{small} {made}");
    for slice in small["slices"].as_array().unwrap() {
        assert!(slice["int8"]["signal_to_noise_db"].as_f64().unwrap() > 18.0, "{slice}");
        assert!(slice["runtime"].is_null() || slice["largest_error"].as_f64().unwrap() < 0.1, "{slice}");
    }
    sandbox.refused(&[&nested_int8[..], &["--damage", "--out", text(&rounded)]].concat(), 2, &["nested", "--damage"]);
    // Another export takes the place of this one, but not of anything else.
    sandbox.ok(&[&nested[..], &["--names", "a,b,c"]].concat());
    assert!(folder.join("a.onnx").exists() && !folder.join("fast.onnx").exists());
    let other = sandbox.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "mine").unwrap();
    let elsewhere = ["export", "--supernet", "mcu-cifar", "--nested", &subnets, "--out", text(&other)];
    sandbox.refused(&elsewhere, 2, &["folder of their own", "--out"]);
    for wrong in ["fast,best", "fast,fast,best", "fast,a/b,best"] {
        sandbox.refused(&[&nested[..], &["--names", wrong]].concat(), 2, &["one name"]);
    }
    sandbox.refused(&[&nested[..], &names, &["--to", "tflite"]].concat(), 2, &["ONNX"]);
    sandbox.refused(&[&nested[..], &["--subnet", &subnets]].concat(), 2, &["--nested", "--subnet"]);
}
