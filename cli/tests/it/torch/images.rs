//! Which images a number was measured on, and which classes they are of.

use std::fs;
use std::path::Path;

use search::space::SearchSpace;
use serde_json::Value;

use crate::pictures::idx_files;
use crate::support::Sandbox;

const SIDE: usize = 24;

/// A recipe for a space with two outputs that trains nothing, so that a run takes no time.
fn recipe(sandbox: &Sandbox) -> String {
    let space = SearchSpace::builtin("mcu-cifar").unwrap().largest_choices(1, 1, 1).to_yaml();
    let space = sandbox.file("two.yaml", &space.replace("classes: 10", "classes: 2"));
    let text = format!(
        "schema: ofa.recipe/1\nname: two\nspace: {space}\nseed: 1\nbatch_size: 8\nheld_out: 9\n\
         calibration: {{ batches: 2, batch_size: 8 }}\nphases:\n  - {{ name: full, epochs: 0, learning_rate: 0.05, \
         with_largest: true }}\n"
    );
    sandbox.file("two-recipe.yaml", &text)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn images_that_were_trained_on_are_never_called_test() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox);
    let (alone, with_test, run) = (sandbox.path("alone"), sandbox.path("with-test"), sandbox.path("run"));
    idx_files(&alone, "train", SIDE, 80, 2);
    let data = format!("idx:{}", alone.display());
    let train = |data: &str, run: &Path| {
        let args = ["train", &recipe, "--data", data, "--out", text(run), "--device", "cpu", "--threads", "1"];
        sandbox.ok(&args).stderr
    };
    let said = train(&data, &run);
    assert!(said.contains("80 images of 2 classes"), "{said}");
    assert!(said.contains("has no test part: 8 of its 80 images"), "{said}");
    let report: Value = serde_json::from_str(&fs::read_to_string(run.join("report.json")).unwrap()).unwrap();
    assert_eq!((&report[0]["part"], &report[0]["test_images"]), (&"test".into(), &8.into()));

    // Evaluating finds the same part again, in the supernet and in what is taken out of it.
    let eval = |bundle: &Path, more: &[&str]| {
        let args = ["eval", "--supernet", text(bundle), "--largest", "--device", "cpu", "--format", "json"];
        sandbox.ok(&[&args[..], more].concat()).json().remove(0)
    };
    let bundle = run.join("bundle");
    let tested = eval(&bundle, &["--data", &data]);
    assert_eq!((&tested["part"], &tested["images"]), (&"test".into(), &8.into()));
    assert_eq!(tested["top1"], report[0]["test_top1"]);
    assert!(
        tested["std_error"].as_f64().unwrap() > 0.0 && tested["interval"][0].as_f64() < tested["interval"][1].as_f64()
    );
    let held_out = eval(&bundle, &["--data", &data, "--part", "held-out"]);
    assert_eq!((&held_out["part"], &held_out["images"]), (&"held-out".into(), &9.into()));

    // Trained beside a test part, the weights have seen all other images.
    idx_files(&with_test, "train", SIDE, 80, 2);
    idx_files(&with_test, "t10k", SIDE, 20, 2);
    let (parted, run) = (format!("idx:{}", with_test.display()), sandbox.path("parted"));
    train(&parted, &run);
    let bundle = run.join("bundle");
    assert_eq!(eval(&bundle, &["--data", &parted])["images"], 20);
    let args = ["eval", "--supernet", text(&bundle), "--largest", "--device", "cpu", "--data", &data];
    sandbox.refused(&args, 3, &["trained on all of them", "--part held-out"]);

    // Where nothing says what was trained on, the part is not called test.
    let path = bundle.join("preprocessing.json");
    let mut described: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    described.as_object_mut().unwrap().remove("trained_on").unwrap();
    fs::write(&path, described.to_string()).unwrap();
    let all = eval(&bundle, &["--data", &data]);
    assert_eq!((&all["part"], &all["images"]), (&"all".into(), &80.into()));
}

#[test]
fn a_space_follows_the_classes_of_the_images_and_weights_keep_theirs() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox);
    let source = |name: &str, classes: usize| {
        idx_files(&sandbox.path(name), "train", SIDE, 60, classes);
        format!("idx:{}", sandbox.path(name).display())
    };
    let (one, two, three) = (source("one", 1), source("two", 2), source("three", 3));
    let (run, next) = (sandbox.path("run"), sandbox.path("next"));
    let train = |data: &str| {
        let args = ["train", &recipe, "--data", data, "--out", text(&run), "--device", "cpu", "--threads", "1"];
        args.map(str::to_owned)
    };
    let said = sandbox.ok(&train(&three).each_ref().map(String::as_str)).stderr;
    assert!(said.contains("space mcu-cifar has 2 classes; here it has the 3 of the images"), "{said}");
    let space = fs::read_to_string(run.join("bundle/space.yaml")).unwrap();
    assert!(space.contains("classes: 3"), "{space}");
    sandbox.refused(&train(&one).each_ref().map(String::as_str), 3, &["all training images are of one class, `0`"]);
    // From here on there are outputs; the folder of the run stands for its bundle.
    let eval = |data: &str| ["eval", "--supernet", text(&run), "--largest", "--data", data].map(str::to_owned);
    sandbox.ok(&eval(&two).each_ref().map(String::as_str));
    let four = source("four", 4);
    sandbox.refused(&eval(&four).each_ref().map(String::as_str), 3, &["4 classes (0, 1, 2, 3)", "3 outputs"]);
    let (weights, space) = (format!("weights={}", text(&run)), format!("space={}", text(&run.join("space.yaml"))));
    let go_on = ["train", &recipe, "--data", &four, "--out", text(&next), "--set", &weights, "--set", &space];
    sandbox.refused(&go_on, 3, &["4 classes (0, 1, 2, 3)", "3 outputs", "`classes: 4`"]);
    assert!(!next.exists());
}

#[test]
fn every_verb_names_the_next_one_as_it_can_be_run() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox);
    idx_files(&sandbox.path("images"), "train", SIDE, 90, 2);
    let (data, run) = (format!("idx:{}", sandbox.path("images").display()), sandbox.path("a run"));
    let next = |args: &[&str]| -> Vec<String> {
        let said = sandbox.ok(args).stdout;
        let last = said.lines().last().unwrap_or_default().to_owned();
        let line = last.strip_prefix("next: ofa ").unwrap_or_else(|| panic!("{args:?}: {said}"));
        // Only the folder's name needs quotes here.
        line.split('\'')
            .enumerate()
            .flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
                _ => vec![part.to_owned()],
            })
            .collect()
    };
    let with = |words: &[String], more: &[&str]| -> Vec<String> {
        let filled = words.iter().map(|word| if word == "folder:FOLDER" { data.clone() } else { word.clone() });
        filled.chain(more.iter().map(|word| (*word).to_owned())).collect()
    };
    let follow = |words: &[String]| next(&words.iter().map(String::as_str).collect::<Vec<_>>());
    // All kernels, so that there is something to choose.
    let space = SearchSpace::builtin("mcu-cifar").unwrap().to_yaml();
    let space = format!("space={}", sandbox.file("all.yaml", &space));
    let train = ["train", &recipe, "--data", &data, "--out", text(&run), "--device", "cpu", "--set", &space];
    let collect = next(&train);
    assert_eq!(collect[..2], ["predictor", "collect"]);
    let fit = follow(&with(&collect, &["-n", "30", "--device", "cpu"]));
    let front = follow(&with(&fit, &["--members", "0"]));
    assert_eq!(front[..5], ["search", "--target", "pixel3", "--supernet", text(&run.join("bundle"))]);
    let search = follow(&with(&front, &["--evaluations", "200"]));
    assert_eq!((&*search[0], search.contains(&"--latency".to_owned())), ("search", true));
    let export = follow(&with(&search, &["--device", "cpu"]));
    assert_eq!(export[..5], ["export", "--network", "found", "--to", "onnx"]);
    let verify = follow(&export);
    assert_eq!(verify[..4], ["verify", "found.onnx", "--against", "found"]);
    sandbox.ok(&verify.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn names_in_a_recipe_choose_the_order_and_every_output_has_one() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox);
    let train = |more: &[&str], out: &str| {
        let out = sandbox.path(out);
        let data = "synthetic:60,classes=2";
        let args = ["train", &recipe, "--data", data, "--out", text(&out), "--device", "cpu"];
        let said = sandbox.ok(&[&args[..], more].concat()).stderr;
        let described = fs::read_to_string(out.join("bundle/preprocessing.json")).unwrap();
        (said, serde_json::from_str::<Value>(&described).unwrap()["class_names"].clone())
    };
    let (_, names) = train(&["--set", "class_names=[texture 1, texture 0]"], "other-order");
    assert_eq!(names, serde_json::json!(["texture 1", "texture 0"]));
    let (said, names) = train(&["--set", "class_names=[texture 1, texture 0, texture 7]"], "one-more");
    assert_eq!(names.as_array().unwrap().len(), 3);
    assert!(said.contains("1 of the 3 outputs have no training image and stay untrained: texture 7"), "{said}");
}

/// A table of twelve images of two classes as the folder of a source has them, and one row of a file that is not there.
fn table(sandbox: &Sandbox) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../supernet/src/data/tests/odd");
    let row = |number: usize| format!("{},{}\n", folder.join("rgb.png").display(), ["ant", "bee"][number % 2]);
    let rows: String = (0..12).map(row).collect();
    format!("csv:{}", sandbox.file("list.csv", &format!("path,label\n{rows}none.png,ant\n")))
}

#[test]
fn data_is_checked_before_it_is_trained_on() {
    let sandbox = Sandbox::new();
    let (data, sheet) = (table(&sandbox), sandbox.path("sheet.png"));
    let refused = sandbox.ofa(&["data", "check", &data, "--sheet", text(&sheet)]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    for words in [
        "12, no test part of their own",
        "24×16, 0 of 12 square",
        "11",
        "1 of 13 (7.69 %)",
        "none.png): the file does not exist",
    ] {
        assert!(refused.stdout.contains(words), "{words}: {}", refused.stdout);
    }
    for words in ["error: 1 of 13 training images cannot be used", "--skip-broken 8%"] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    assert!(fs::read(sheet).unwrap().starts_with(b"\x89PNG"));
    let passed = sandbox.ok(&["data", "check", &data, "--skip-broken", "8%"]).stdout;
    assert!(passed.contains(&format!("next: ofa init my-net --data {data},skip-broken=8%")), "{passed}");
    let json = sandbox.ok(&["data", "check", &data, "--skip-broken", "8%", "--format", "json"]).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["parts"][0]["images"], 12);
    assert_eq!(
        json["parts"][0]["classes"],
        serde_json::json!([{"class": "ant", "images": 6}, {"class": "bee", "images": 6}])
    );
    assert_eq!(json["duplicates"]["within_training"], 11);
}

#[test]
fn a_run_on_streamed_images_ends_with_the_same_weights() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("images");
    idx_files(&folder, "train", SIDE, 80, 2);
    idx_files(&folder, "t10k", SIDE, 40, 2);
    let data = format!("idx:{}", folder.display());
    let weights = |data: &str, run: &str| {
        let out = sandbox.path(run);
        let args =
            ["train", &recipe(&sandbox), "--data", data, "--out", text(&out), "--device", "cpu", "--threads", "1"];
        let more = ["--set", "phases=[{name: full, epochs: 2, learning_rate: 0.05, with_largest: true}]"];
        let said = sandbox.ok(&[&args[..], &more[..]].concat()).stderr;
        (said, fs::read(out.join("bundle/supernet.safetensors")).unwrap())
    };
    let (said, held) = weights(&data, "held");
    assert!(!said.contains("decoded as they are needed"), "{said}");
    let (said, streamed) = weights(&format!("{data},memory=10kB"), "streamed");
    assert!(said.contains("images are decoded as they are needed: all of them are"), "{said}");
    assert!(held == streamed);
}
