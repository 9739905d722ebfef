//! `ofa report` of folders that are no sweeps.

use std::fs;
use std::path::Path;

use crate::support::Sandbox;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_bundle_and_a_search_are_shown_on_one_page() {
    let sandbox = Sandbox::new();
    let front = sandbox.path("front");
    let search = ["search", "--supernet", "mcu-cifar", "--target", "pixel3", "--objectives", "accuracy,energy"];
    sandbox.ok(&[&search[..], &["--evaluations", "2000", "--out", text(&front)]].concat());
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/zoo/mcu-cifar");
    let page = sandbox.path("page.html");
    sandbox.ok(&["report", text(&bundle), text(&front), "--out", text(&page)]);
    let html = fs::read_to_string(&page).unwrap();
    let data = html.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let [bundle_shown, front_shown] = &data["folders"].as_array().unwrap()[..] else { panic!("two folders") };
    assert_eq!((&bundle_shown["name"], &front_shown["name"]), (&"mcu-cifar".into(), &"front".into()));
    assert!(bundle_shown["calibration"]["pairs"].as_array().unwrap().len() > 100);
    let found = front_shown["found"].as_array().unwrap();
    let lines = fs::read_to_string(front.join("top.jsonl")).unwrap().lines().count();
    assert_eq!(found.len(), lines);
    assert!(found.iter().all(|one| one["energy_mJ"].as_f64().is_some() && one["top1"].as_f64().is_some()));
    assert!(front_shown["evaluations"].as_array().unwrap().len() > 1000);
    // Tables of what is in the page; nothing of a sweep, whose program stays out.
    let table = sandbox.ok(&["report", text(&bundle), text(&front), "--as", "md"]).stdout;
    assert!(table.contains("mcu-cifar, on test images:") && table.contains("front, found:"), "{table}");
    assert!(!html.contains("Where the numbers come from"));
    // Nothing is written over that is no page.
    let (weights, link) = (sandbox.file("weights.safetensors", "dear"), sandbox.path("link.html"));
    std::os::unix::fs::symlink(&weights, &link).unwrap();
    for (form, out) in [("html", &*weights), ("md", &weights), ("latex", &weights), ("html", text(&link))] {
        sandbox.refused(&["report", text(&front), "--as", form, "--out", out], 2, &["another kind of file", "hint: "]);
    }
    assert_eq!(fs::read_to_string(&weights).unwrap(), "dear");
    for out in [&*sandbox.file("table.csv", ""), text(&page)] {
        sandbox.ok(&["report", text(&front), "--as", "md", "--out", out]);
    }
}

#[test]
fn a_folder_without_results_is_refused() {
    let sandbox = Sandbox::new();
    let empty = sandbox.path("empty");
    fs::create_dir(&empty).unwrap();
    sandbox.refused(&["report", text(&empty)], 2, &["holds nothing that a report shows", "hint: name a folder of"]);
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

#[test]
fn what_a_search_and_a_sweep_found_becomes_runs_for_trackers() {
    let sandbox = Sandbox::new();
    let front = sandbox.path("front");
    let search = ["search", "--supernet", "mcu-cifar", "--target", "pixel3", "--objectives", "accuracy,energy"];
    sandbox.ok(&[&search[..], &["--evaluations", "2000", "--out", text(&front)]].concat());
    let found = fs::read_to_string(front.join("top.jsonl")).unwrap().lines().count();
    let sweep = "name: s\nschema: ofa.sweep/1\ntargets: [pixel3]\nbundles: [mcu-cifar]\nevaluations: 200\n\
                 budgets: [{energy: 50%}, {energy: 1uJ}]\nbaselines: [largest]\n";
    let (file, swept) = (sandbox.file("s.yaml", sweep), sandbox.path("swept"));
    sandbox.ok(&["sweep", "run", &file, "--out", text(&swept)]);
    let (mlruns, tracked) = (sandbox.path("mlruns"), sandbox.path("tracked"));
    for _ in 0..2 {
        let export = |form: &str, out: &Path| {
            sandbox.ok(&["report", text(&front), text(&swept), "--as", form, "--out", text(out)]).stdout
        };
        let said = export("mlflow", &mlruns);
        assert!(said.starts_with(&format!("{} runs for MLflow written to ", found + 4)), "{said}");
        assert!(export("trackio", &tracked).contains("for Trackio"));
    }
    // Beside the experiment that MLflow expects.
    let folders = |path: &Path| -> Vec<std::path::PathBuf> {
        let all = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.is_dir()).collect()
    };
    let named = |name: &str| {
        let is_it = |path: &&std::path::PathBuf| {
            fs::read_to_string(path.join("meta.yaml")).unwrap().contains(&format!("name: \"{name}\""))
        };
        folders(&mlruns).iter().find(is_it).unwrap_or_else(|| panic!("no experiment {name}")).clone()
    };
    assert_eq!(folders(&mlruns).len(), 3);
    assert_eq!(folders(&named("front")).len(), found);
    let points = folders(&named("swept"));
    let tags = points.iter().map(|run| fs::read_to_string(run.join("tags/ofa.status")).unwrap());
    let infeasible = tags.filter(|status| status == "infeasible").count();
    // Neither budget has room for the largest subnet. What nothing fits has a time, and no accuracy.
    assert_eq!((points.len(), infeasible), (4, 3));
    assert_eq!(points.iter().filter(|run| run.join("metrics/top1").exists()).count(), 1);
    assert!(points.iter().all(|run| run.join("metrics/seconds").exists() && run.join("params/budget").exists()));
    assert_eq!(folders(&tracked.join("inbox")).len(), found + 4);
}

#[test]
fn runs_for_a_tracker_need_a_folder_that_is_theirs() {
    let sandbox = Sandbox::new();
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/zoo/mcu-cifar");
    let mine = sandbox.path("mine");
    sandbox.file("mine/notes.txt", "mine");
    sandbox.file("run/metrics.jsonl", "{\"global_step\":5,\"loss\":2.5,\"time\":1795901787.975}\n");
    let run = sandbox.path("run");
    for (form, tracker) in [("mlflow", "MLflow"), ("trackio", "Trackio")] {
        let hint = "hint: name one with --out";
        sandbox.refused(&["report", text(&run), "--as", form], 2, &["is a folder, and nothing says which", hint]);
        let refused = ["report", text(&run), "--as", form, "--out", text(&mine)];
        sandbox.refused(&refused, 2, &["holds other files", tracker, "hint: name a new folder"]);
        let out = sandbox.path(form);
        let no_run = ["report", text(&bundle), "--as", form, "--out", text(&out)];
        sandbox.refused(&no_run, 2, &["holds no run that a tracker would show", "hint: name a folder of"]);
        assert!(!out.exists());
        sandbox.ok(&["report", text(&run), "--as", form, "--out", text(&out)]);
    }
    assert_eq!(fs::read_dir(&mine).unwrap().count(), 1);
}
