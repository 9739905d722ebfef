//! `ofa sweep`: killed, shared between processes, asked again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::Sandbox;

const SWEEP: &str = "schema: ofa.sweep/1
name: phones
targets: [pixel3, jetson-tx2]
budgets:
  - {latency: 40%}
  - {latency: 1us}
seeds: [0, 1, 2, 3]
evaluations: 3000
baselines: [random-1000, uniform, largest]
";
/// Two targets, two budgets, four seeds of the search and of random subnets, one of each other baseline.
const POINTS: usize = 2 * 2 * (4 + 4 + 2);

/// What every point ended with, by its words.
fn results(folder: &Path) -> BTreeMap<String, Value> {
    let entries = fs::read_dir(folder.join("points")).unwrap().map(|entry| entry.unwrap().path());
    let whole = entries.filter(|path| path.extension().is_some_and(|end| end == "json"));
    whole
        .map(|path| {
            let mut record: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            // Of the seconds, too.
            record["seconds"].take();
            record["digest"].take();
            (record["point"].to_string(), record)
        })
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_sweep_ends_alike_undisturbed_killed_and_shared() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("phones.yaml", SWEEP);
    let [whole, killed, shared] = ["whole", "killed", "shared"].map(|name| sandbox.path(name));
    let run = |folder: &Path| {
        let mut command = sandbox.command();
        command.args(["sweep", "run", &file, "--out", text(folder), "--format", "json", "--quiet"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let made = sandbox.ok(&["sweep", "run", &file, "--out", text(&whole), "--format", "json"]).json().remove(0);
    assert_eq!((made["points"].as_u64(), made["computed"].as_u64()), (Some(POINTS as u64), Some(POINTS as u64)));
    assert_eq!(
        made["infeasible"].as_u64(),
        Some(POINTS as u64 / 2 + 1),
        "nothing fits 1 µs, nor the largest jetson-tx2"
    );
    let expected = results(&whole);
    assert_eq!(expected.len(), POINTS);

    // What people look at.
    sandbox.ok(&["report", text(&whole)]);
    let page = fs::read_to_string(whole.join("report.html")).unwrap();
    assert!(page.contains("<title>phones</title>") && page.contains("HW-NAS-Bench"));
    let table = sandbox.ok(&["report", text(&whole), "--as", "md"]).stdout;
    assert_eq!(table.lines().count(), POINTS + 2, "{table}");
    assert!(sandbox.ok(&["report", text(&whole), text(&whole), "--as", "latex"]).stdout.lines().count() > 2 * POINTS);

    // Another sweep has a folder of its own.
    let other =
        sandbox.file("other.yaml", &SWEEP.replace("phones", "boards").replace("40%", "50%").replace("1us", "2us"));
    sandbox.refused(
        &["sweep", "run", &other, "--out", text(&whole)],
        2,
        &["holds the results of sweep phones", "--out"],
    );
    assert_eq!(fs::read_to_string(whole.join("sweep.yaml")).unwrap(), SWEEP);

    // Killed twenty times, at moments that move on.
    for kill in 0..20 {
        let mut child = run(&killed).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + 11 * kill));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    sandbox.ok(&["sweep", "run", &file, "--out", text(&killed)]);
    assert_eq!(results(&killed), expected);
    assert_eq!(fs::read_dir(killed.join("claims")).unwrap().count(), 0);

    // Four processes in one folder: nothing is computed twice.
    let children: Vec<_> = (0..4).map(|_| run(&shared).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(results(&shared), expected);
    let status = sandbox.ok(&["sweep", "status", text(&shared), "--format", "json"]).json().remove(0);
    assert_eq!((status["computed"].as_u64(), status["computed_twice"].as_u64()), (Some(POINTS as u64), Some(0)));

    // Four shards, in folders of their own, merged.
    let parts: Vec<_> = (1..=4).map(|part| sandbox.path(&format!("part-{part}"))).collect();
    for (part, folder) in parts.iter().enumerate() {
        let shard = format!("{}/4", part + 1);
        sandbox.ok(&["sweep", "run", &file, "--out", text(folder), "--shard", &shard]);
        assert!(!folder.join("sweep.parquet").exists(), "a part is no table");
    }
    let merged = sandbox.path("merged");
    let folders: Vec<&str> = parts.iter().map(|folder| text(folder)).collect();
    sandbox.ok(&[&["sweep", "merge", text(&merged)][..], &folders].concat());
    assert_eq!(results(&merged), expected);
    assert!(merged.join("sweep.parquet").exists());
    // As an array's task says.
    let mut task = run(&sandbox.path("task"));
    task.env("SLURM_ARRAY_TASK_ID", "1").env("SLURM_ARRAY_TASK_COUNT", "4").env("SLURM_ARRAY_TASK_MIN", "1");
    assert!(task.status().unwrap().success());
    assert_eq!(results(&sandbox.path("task")).len(), POINTS / 4);
}

#[test]
fn what_changed_is_computed_again_and_named_and_nothing_else() {
    let sandbox = Sandbox::new();
    let bundle = sandbox.path("mine");
    fs::create_dir(&bundle).unwrap();
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/zoo/mcu-cifar");
    for file in ["space.yaml", "predictor.safetensors"] {
        fs::copy(zoo.join(file), bundle.join(file)).unwrap();
    }
    let text_of = |evaluations: u32| {
        format!(
            "schema: ofa.sweep/1\ntargets: [pixel3]\nbundles: [default, {}]\nbudgets: [{{energy: 30%}}]\nevaluations: {evaluations}\n",
            text(&bundle)
        )
    };
    let file = sandbox.file("two.yaml", &text_of(500));
    let out = sandbox.path("out");
    let run = || {
        let run = sandbox.ok(&["sweep", "run", &file, "--out", text(&out), "--format", "json"]);
        (run.json().remove(0)["computed"].as_u64().unwrap(), run.stderr)
    };
    assert_eq!(run().0, 2);
    assert_eq!(run().0, 0);
    fs::copy(sandbox.fitted("additive"), bundle.join("predictor.safetensors")).unwrap();
    let plan = sandbox.ok(&["sweep", "plan", &file, "--out", text(&out), "--format", "json"]).json().remove(0);
    assert_eq!(plan["points"][0]["state"], "found");
    assert_eq!(
        (&plan["points"][1]["state"], &plan["points"][1]["changed"][0]),
        (&"changed".into(), &"predictor".into())
    );
    let (computed, said) = run();
    assert!(computed == 1 && said.contains("1 again: predictor changed"), "{computed} {said}");
    // What was changed by hand is no result.
    let first = fs::read_dir(out.join("points")).unwrap().next().unwrap().unwrap().path();
    let record = fs::read_to_string(&first).unwrap();
    fs::write(&first, record.replace("\"top1\": 0.", "\"top1\": 0.9")).unwrap();
    let warned = sandbox.ok(&["report", text(&out), "--as", "md"]).stderr;
    let is_current = warned.contains("1 of 2 points");
    assert_eq!(run().0, u64::from(is_current), "{warned}");
    // Folders of other sweeps are not merged, and nothing is written.
    let other =
        sandbox.file("other.yaml", "schema: ofa.sweep/1\ntargets: pixel3\nbudgets: {macs: 3M}\nevaluations: 50\n");
    sandbox.ok(&["sweep", "run", &other, "--out", text(&sandbox.path("other"))]);
    let merge =
        ["sweep", "merge", text(&sandbox.path("all")), text(&out), text(&sandbox.path("other"))].map(str::to_owned);
    sandbox.refused(&merge.each_ref().map(String::as_str), 3, &["has no point of sweep"]);
    assert!(!sandbox.path("all").exists());
    // Another setting of all.
    fs::write(&file, text_of(600)).unwrap();
    let (computed, said) = run();
    assert!(computed == 2 && said.contains("2 again: evaluations changed"), "{computed} {said}");
}

#[test]
fn the_cheapest_subnet_is_found_and_baselines_keep_a_board_s_memory() {
    let sandbox = Sandbox::new();
    let run = |name: &str, sweep: &str| {
        let file = sandbox.file(&format!("{name}.yaml"), sweep);
        sandbox.ok(&["sweep", "run", &file, "--out", text(&sandbox.path(name)), "--format", "json"]).json().remove(0)
    };
    // 0 % of the way is the cheapest, whose cost is added up in another order.
    let cheapest = "schema: ofa.sweep/1
targets: [pixel3, jetson-tx2, raspberry-pi-4]
bundles: mcu-cifar
budgets: {latency: 0%}
algorithms: [evolution, local, random]
baselines: [uniform, random-1000]
evaluations: 500
";
    let made = run("cheapest", cheapest);
    assert_eq!((made["points"].as_u64(), made["infeasible"].as_u64()), (Some(15), Some(0)), "{made}");
    let board = "schema: ofa.sweep/1
targets: stm32f746
bundles: mcu-cifar
budgets: [{macs: 100%}, {peak-memory: 13160B}]
baselines: [uniform, largest]
evaluations: 500
";
    // Beside a search: the smallest subnet needs 13,160 bytes, and the largest do not fit into that.
    let made = run("board", board);
    assert_eq!((made["points"].as_u64(), made["infeasible"].as_u64()), (Some(6), Some(1)), "{made}");
}

#[test]
fn ten_mistakes_are_ten_messages_and_nothing_runs() {
    let sandbox = Sandbox::new();
    let file = sandbox.file(
        "wrong.yaml",
        "schema: ofa.sweep/1
targets: [pixl3, pixel3, stm32f746]
budgets: [{energy: 40%}, {latency: 30mJ}, {latency: 200%}, {}]
seeds: [-1]
algorithms: [genetic]
baselines: [best]
bundles: [default, mcu-cifr]
evaluatons: 100
confidence: 1.5
exclude: [{sed: 1}]
include: [{target: pixel3}]
",
    );
    let out = sandbox.path("out");
    let places = [
        "wrong.yaml has 10 mistakes; nothing was run",
        "wrong.yaml:3:36: 30mJ",
        "wrong.yaml:4:9: ",
        "wrong.yaml:5:14: ",
        "wrong.yaml:6:13: ",
        "wrong.yaml:8:1: a sweep has no field `evaluatons`; did you mean `evaluations`?",
        "wrong.yaml:11:11: ",
    ];
    let told = sandbox.refused_in_places(&["sweep", "run", &file, "--out", text(&out)], &places).stderr;
    assert_eq!(told.lines().filter(|line| line.starts_with("  --> ")).count(), 10, "{told}");
    // What only shows when everything is looked up.
    let named = sandbox.file(
        "names.yaml",
        "schema: ofa.sweep/1
targets: [pixl3, pixel3, note10]
bundles: [default, mcu-cifr]
budgets:
  - {latency: 30ms}
  - {energy: 40%}
",
    );
    let words = ["yaml:2:11: ", "pixl3", "pixel3", "yaml:3:20: ", "mcu-cifr", "yaml:6:5: ", "note10"];
    sandbox.refused_in_places(&["sweep", "run", &named, "--out", text(&out)], &words);
    assert!(!out.exists(), "nothing was run");
    // Folders that are no sweep's.
    let good =
        sandbox.file("good.yaml", "schema: ofa.sweep/1\ntargets: pixel3\nbudgets: {latency: 30ms}\nevaluations: 10\n");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    sandbox.refused(&["sweep", "run", &good, "--out", text(&out)], 2, &["no sweep", "--out"]);
    // Somebody's draft, and what `ofa init` wrote.
    fs::remove_file(out.join("notes.txt")).unwrap();
    fs::write(out.join("sweep.yaml"), "schema: ofa.sweep/1\n").unwrap();
    sandbox.refused(&["sweep", "run", &good, "--out", text(&out)], 2, &["no sweep", "--out"]);
    assert_eq!(fs::read_to_string(out.join("sweep.yaml")).unwrap(), "schema: ofa.sweep/1\n");
    fs::remove_file(out.join("sweep.yaml")).unwrap();
    sandbox.refused(&["sweep", "run", &good, "--out", text(&sandbox.path("o")), "--shard", "5/4"], 2, &["5/4"]);
    sandbox.refused(&["sweep", "run", text(&sandbox.path("gone.yaml")), "--out", text(&out)], 2, &["gone.yaml"]);
    sandbox.refused(&["sweep", "merge", text(&sandbox.path("m")), text(&out)], 2, &["sweep.yaml"]);
}
