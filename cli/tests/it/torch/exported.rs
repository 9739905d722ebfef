//! Networks taken out of a bundle, as files that runtimes of others agree with and as folders that share its weights.

use std::fs;
use std::path::Path;

use super::weights::{DATA, bundle, text};
use crate::support::Sandbox;

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
    // A bundle that is known by its name has images to calibrate with; of another one they would have to be named.
    let int8 = path("int8.onnx");
    let made = sandbox.ok(&[&of_network[..], &["--to", "onnx", "--int8", "--format", "json", "--out", &int8]].concat());
    assert_eq!(made.json()[0]["checked_with"], "the images that come with bundle mcu-cifar", "{}", made.stdout);
    // A folder of that name where the program is run is not meant.
    let first = fs::read(&int8).unwrap();
    fs::create_dir(sandbox.path("mcu-cifar")).unwrap();
    sandbox.ok(&[&of_network[..], &["--to", "onnx", "--int8", "--out", &int8]].concat());
    assert_eq!(first, fs::read(&int8).unwrap());
    fs::remove_dir(sandbox.path("mcu-cifar")).unwrap();
    let own = path("own");
    sandbox.ok(&["export", "--supernet", &bundle(&sandbox, "1"), "--subnet", &subnet, "--data", DATA, "--out", &own]);
    let of_own = ["export", "--network", &own, "--to", "onnx", "--int8", "--out", &elsewhere];
    sandbox.refused(&of_own, 2, &["--data", "--supernet", "subnet.json"]);
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
