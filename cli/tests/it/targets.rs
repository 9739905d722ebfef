//! `target`: imports, defects, and the loop from a work list to a validated target.

use std::fs;

use serde_json::Value;

use crate::support::{Sandbox, shared};

const COLUMNS: &str = "op_type,in_h,in_w,in_c,out_h,out_w,out_c,kernel,stride,groups,mid_c,se,se_mid_c,activation,\
                       residual,latency_ms,energy_mJ";

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is not in {value}"))
}

/// A test of the readers, not of accuracy: both published files are sums over one table.
#[test]
fn sums_over_hw_nas_bench_are_the_sums_that_help_publishes() {
    let Some(shared) = shared() else { return };
    let sandbox = Sandbox::new();
    let path = |name: &str| shared.join("data/hw").join(name).to_str().unwrap().to_owned();
    let lut = path("hw-nas-bench-fbnet");
    sandbox.refused(&["target", "import", "hw-nas-bench", &lut, "--name", "mine"], 2, &["--device", "raspberry-pi-4"]);
    let help = path("help-latency/help_fbnet_cifar100_latency_ms.csv.gz");
    let space = sandbox.ok(&["space", "show", "fbnet-cifar"]).stdout;
    let space = sandbox.file("fbnet-cifar100.yaml", &space.replace("classes: 10\n", "classes: 100\n"));
    for (device, column) in [("pixel3", "pixel3"), ("raspberry-pi-4", "raspi4")] {
        let name = format!("lut-{device}");
        sandbox.ok(&["target", "import", "hw-nas-bench", &lut, "--name", &name, "--device", device]);
        let import = ["target", "import", "help", &help, "--name", "sums", "--device", column, "--replace"];
        let said = sandbox.ok(&import).stderr;
        assert!(said.contains("not a run") && said.contains("100 classes"), "{said}");
        let args = ["target", "validate", &name, "--networks", "sums", "--space", &space, "--format", "json"];
        let validated = sandbox.ok(&args).json().remove(0);
        assert_eq!(validated["networks"], 3000);
        assert!(number(&validated, "max_error") < 1e-9, "{validated}");
        assert_eq!((number(&validated, "within_5"), number(&validated, "spearman")), (1.0, 1.0));
    }
    // The fit that ships against the table it was made from.
    let differ = sandbox.ok(&["target", "diff", "pixel3", "lut-pixel3", "--format", "json"]).json().remove(0);
    assert!((number(&differ, "median_ratio") - 1.0).abs() < 0.05, "{differ}");
}

#[test]
fn every_format_is_in_the_help() {
    let sandbox = Sandbox::new();
    let help = sandbox.ok(&["target", "import", "--help"]).stdout;
    for format in [
        "ofa-yaml",
        "proxyless-yaml",
        "hw-nas-bench",
        "single-path-nas",
        "netadapt",
        "help",
        "tflite-benchmark",
        "ort-profile",
    ] {
        assert!(help.contains(&format!("  {format} ")), "{format}: {help}");
        sandbox.refused(&["target", "import", format, "no/such/file", "--name", "mine"], 2, &["no/such/file"]);
        let wrong = sandbox.file("wrong.txt", "what is this?");
        let run = sandbox.ofa(&["target", "import", format, &wrong, "--name", "my-pixel3"]);
        assert_eq!(run.code, 3, "{format}: {}", run.stderr);
        assert!(run.stderr.contains("wrong.txt"), "{format}: {}", run.stderr);
    }
}

#[test]
fn defects_are_said_when_a_table_is_added() {
    let sandbox = Sandbox::new();
    let conv = |out: u32, latency: &str, energy: &str| {
        format!("conv,16,16,8,16,16,{out},3,1,1,0,0,0,relu,0,{latency},{energy}\n")
    };
    let rows = |latencies: [&str; 6], energies: [&str; 6]| -> String {
        let rows = latencies.iter().zip(energies).zip(8..).map(|((latency, energy), out)| conv(out, latency, energy));
        format!("{COLUMNS}\n{}", rows.collect::<String>())
    };
    let energies = ["1.1", "1.3", "1.4", "1.7", "1.9", "2.2"];
    let table = sandbox.file("slip.csv", &rows(["0.51", "0.62", "0.71", "830", "0.92", "1.03"], energies));
    sandbox.refused(&["target", "add", &table, "--name", "mine"], 3, &["slip.csv:5", "slip of unit", "hint"]);
    let table = sandbox.file("falls.csv", &rows(["0.51", "0.62", "0.71", "0.4", "0.92", "1.03"], energies));
    let added = sandbox.ok(&["target", "add", &table, "--name", "mine"]);
    assert!(added.stderr.contains("warning: latency falls where an operator grows"), "{}", added.stderr);
    let modes = fs::read_to_string(&table).unwrap();
    let modes: String = modes
        .lines()
        .zip(["power_mode", "MAXN", "MAXN", "30W", "MAXN", "MAXN", "MAXN"])
        .map(|(line, mode)| format!("{line},{mode}\n"))
        .collect();
    let table = sandbox.file("modes.csv", &modes);
    sandbox.refused(&["target", "add", &table, "--name", "modes"], 3, &["modes.csv:4", "power_mode", "MAXN", "30W"]);
}

#[test]
fn a_name_is_replaced_only_when_asked_and_can_be_freed() {
    let sandbox = Sandbox::new();
    let rows = "conv,16,16,8,16,16,8,3,1,1,0,0,0,relu,0,0.5,1.1\n";
    let table = sandbox.file("t.csv", &format!("{COLUMNS}\n{rows}"));
    let add = ["target", "add", &table, "--name", "mine"];
    sandbox.ok(&add);
    sandbox.refused(&add, 2, &["\"mine\"", "a table of 1 operators", "--replace"]);
    let replaced = sandbox.ok(&[&add[..], &["--replace"]].concat()).stderr;
    assert!(replaced.contains("replaced target mine (a table of 1 operators)"), "{replaced}");
    // Nothing is said to be lost before there is something in its place.
    let bad = sandbox.file("bad.csv", "op_type\nconv\n");
    let refused = ["target", "add", &bad, "--name", "mine", "--replace"];
    let said = sandbox.refused(&refused, 3, &["bad.csv"]);
    assert!(!said.stderr.contains("replaced"), "{}", said.stderr);
    sandbox.ok(&["target", "rename", "mine", "yours"]);
    sandbox.refused(&["target", "show", "mine"], 2, &["mine"]);
    sandbox.ok(&add);
    for taken in ["yours", "pixel3"] {
        let said = sandbox.refused(&["target", "rename", "mine", taken], 2, &[taken, "hint: choose another name"]);
        assert!(!said.stderr.contains("--"), "options that it does not have: {}", said.stderr);
    }
    let removed = sandbox.ok(&["target", "rm", "yours"]).stdout;
    assert!(removed.contains("target yours is removed"), "{removed}");
    sandbox.refused(&["target", "rm", "yours"], 2, &["you have no target"]);
    sandbox.refused(&["target", "rm", "pixel3"], 2, &["only your own can be removed", "target list"]);
}

#[test]
fn a_number_of_a_batch_says_so() {
    let sandbox = Sandbox::new();
    let rows = "conv,16,16,8,16,16,8,3,1,1,0,0,0,relu,0,0.5,1.1,8\n";
    let table = sandbox.file("t.csv", &format!("{COLUMNS},batch\n{rows}"));
    sandbox.ok(&["target", "add", &table, "--name", "eight"]);
    assert!(sandbox.ok(&["target", "list"]).stdout.contains("per batch of 8"));
    let shown = sandbox.ok(&["target", "show", "eight", "--format", "json"]).json().remove(0);
    assert_eq!(shown["answers"]["latency"]["batch"], 8, "{shown}");
    let diff = ["target", "diff", "eight", "pixel3", "--space", "mcu-cifar"];
    sandbox.refused(&diff, 2, &["per batch of 8", "per batch of 1"]);
}

#[test]
fn a_range_is_from_the_cheapest_to_the_dearest() {
    let sandbox = Sandbox::new();
    let args = ["target", "range", "pixel3", "--space", "mcu-cifar", "--format", "json"];
    for range in sandbox.ok(&args).json() {
        let [cheapest, median, dearest] = ["cheapest", "median", "dearest"].map(|name| number(&range, name));
        assert!(0.0 < cheapest && cheapest < median && median < dearest, "{range}");
    }
}

#[test]
fn a_unit_slip_of_whole_networks_is_not_corrected_away() {
    let sandbox = Sandbox::new();
    let sample = sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "30"]).stdout;
    let subnets = sandbox.file("s.jsonl", &sample);
    let args = ["target", "cost", "pixel3", "--space", "mcu-cifar", "--subnets", &subnets, "--format", "json"];
    let costs = sandbox.ok(&args).json();
    let rows = sample.lines().zip(&costs).map(|(subnet, cost)| {
        format!("\"{}\",{}\n", subnet.replace('"', "\"\""), number(&cost["latency_ms"], "value") / 1e3)
    });
    let networks = sandbox.file("secs.csv", &format!("subnet,latency_ms\n{}", rows.collect::<String>()));
    let validate = ["target", "validate", "pixel3", "--networks", &networks, "--correct"];
    let said = sandbox.ok(&validate).stderr;
    assert!(said.contains("warning: measured latency is 0.00100 × computed"), "{said}");
    sandbox.refused(&[&validate[..], &["--keep", "vsec"]].concat(), 3, &["no target is kept", "another unit"]);
    // A handful of networks stands behind this one's numbers.
    let said = sandbox.ok(&["target", "validate", "stm32l4r5", "--networks", &networks]).stderr;
    assert!(said.contains("stm32l4r5's latency was fitted to 4 networks (each judged without itself: "), "{said}");
    // Whoever insists gets it, but never as validated.
    sandbox.ok(&[&validate[..], &["--keep", "vsec", "--implausible"]].concat());
    let shown = sandbox.ok(&["target", "show", "vsec"]).stdout;
    assert!(!shown.contains("grade A"), "{shown}");
}

#[test]
fn the_formats_have_schemas() {
    let sandbox = Sandbox::new();
    for (of, field) in [("row", "latency_ms"), ("manifest", "energy_scope")] {
        let schema: serde_json::Value = serde_json::from_str(&sandbox.ok(&["target", "schema", of]).stdout).unwrap();
        assert!(schema["properties"][field]["description"].is_string(), "{of}");
    }
}

#[test]
fn a_work_list_becomes_a_target_that_is_validated_and_corrected() {
    let sandbox = Sandbox::new();
    let list = sandbox.path("operators.csv").to_str().unwrap().to_owned();
    let made = sandbox.ok(&["target", "template", "mcu-cifar", "--out", &list, "--format", "json"]).json().remove(0);
    let text = fs::read_to_string(&list).unwrap();
    assert_eq!(text.lines().count() as u64, 1 + made["operators"].as_u64().unwrap());
    assert_eq!(sandbox.ok(&["target", "template", "mcu-cifar"]).stdout, text);
    sandbox.refused(&["target", "add", &list, "--name", "board"], 3, &["no operator"]);

    // Values are filled in: MACs at a fixed speed and a floor.
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let at = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let filled = |keep: usize| -> String {
        let rows = text.lines().skip(1).take(keep).map(|line| {
            let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
            cells[at("latency_ms")] = (0.05 + cells[at("macs")].parse::<f64>().unwrap() / 1e6).to_string();
            format!("{}\n", cells.join(","))
        });
        format!("{}\n{}", header.join(","), rows.collect::<String>())
    };
    let some = sandbox.file("some.csv", &filled(100));
    // What was filled in is not written over.
    let folder = sandbox.path("filled");
    fs::create_dir(&folder).unwrap();
    fs::copy(&some, folder.join("operators.csv")).unwrap();
    for [place, name] in [["--out", &some], ["--models", folder.to_str().unwrap()]] {
        sandbox.refused(&["target", "template", "mcu-cifar", place, name], 2, &["would be lost", name]);
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(&some).unwrap(), filled(100));
    for out in [&*list, &sandbox.file("empty.csv", ""), "/dev/null"] {
        sandbox.ok(&["target", "template", "mcu-cifar", "--out", out]);
    }
    sandbox.ok(&["target", "add", &some, "--name", "some"]);
    let args = ["target", "template", "mcu-cifar", "--target", "some", "--format", "json"];
    let missing = sandbox.ok(&args).json().remove(0)["missing"].as_u64().unwrap();
    assert_eq!(missing, made["operators"].as_u64().unwrap() - 100);
    // The rest as models, to be timed elsewhere.
    let models = sandbox.path("models");
    sandbox.ok(&["target", "template", "mcu-cifar", "--target", "some", "--models", models.to_str().unwrap()]);
    let names = fs::read_dir(&models).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".onnx")).count() as u64, missing);
    assert_eq!(fs::read_to_string(models.join("operators.csv")).unwrap().lines().count() as u64, 1 + missing);
    let all = sandbox.file("all.csv", &filled(usize::MAX));
    sandbox.ok(&["target", "add", &all, "--name", "board"]);
    assert_eq!(sandbox.ok(&["target", "template", "mcu-cifar", "--target", "board"]).stdout, "nothing is missing\n");

    // Searched where nothing is named: the space that it was measured for, and as the line printed says.
    let added = sandbox.ok(&["target", "add", &all, "--name", "other"]);
    let next = added.stderr.lines().chain(added.stdout.lines()).find_map(|line| line.strip_prefix("next: ofa "));
    let next: Vec<&str> = next.expect("a next line").split_whitespace().collect();
    assert!(next.contains(&"other"), "{next:?}");
    let args = [&next[..], &["--evaluations", "300", "--format", "json"]].concat();
    assert_eq!(sandbox.ok(&args).json()[0]["subnet"]["space"], "mcu-cifar");

    // Whole networks take 10 % less and 0.2 ms more than the sums.
    let sample = sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "40"]).stdout;
    let subnets = sandbox.file("subnets.jsonl", &sample);
    let cost = |target: &str| -> Vec<f64> {
        let args = ["target", "cost", target, "--space", "mcu-cifar", "--subnets", &subnets, "--format", "json"];
        sandbox.ok(&args).json().iter().map(|cost| number(&cost["latency_ms"], "value")).collect()
    };
    let sums = cost("board");
    let measured: Vec<f64> = sums.iter().map(|sum| 0.9 * sum + 0.2).collect();
    let rows = sample.lines().zip(&measured).map(|(subnet, ms)| format!("\"{}\",{ms}\n", subnet.replace('"', "\"\"")));
    let networks = sandbox.file("networks.csv", &format!("subnet,latency_ms\n{}", rows.collect::<String>()));
    let validate = |target: &str, more: &[&str]| {
        let args = [&["target", "validate", target, "--networks", &networks, "--format", "json"], more].concat();
        sandbox.ok(&args).json().remove(0)
    };
    let before = validate("board", &["--correct", "--keep", "corrected"]);
    assert!(number(&before, "mape") > 0.01 && number(&before, "kendall") > 0.999, "{before}");
    assert!((number(&before["corrected"], "scale") - 0.9).abs() < 1e-9, "{before}");
    assert!((number(&before["corrected"], "offset") - 0.2).abs() < 1e-9, "{before}");
    assert!(number(&validate("corrected", &[]), "mape") < 1e-9);
    assert!(cost("corrected").iter().zip(&measured).all(|(got, want)| (got - want).abs() < 1e-9));
    let shown = sandbox.ok(&["target", "show", "corrected"]).stdout;
    assert!(shown.contains("corrected on 40 networks") && shown.contains("grade A"), "{shown}");
    assert!(sandbox.ok(&["target", "show", "board"]).stdout.contains("grade B"));
    // Measured again, a network is no other network.
    let again: String =
        fs::read_to_string(&networks).unwrap().lines().skip(1).map(|line| format!("{line}\n")).collect();
    let twice = sandbox.file("twice.csv", &format!("subnet,latency_ms\n{again}{again}"));
    let args = ["target", "validate", "board", "--networks", &twice, "--format", "json"];
    assert_eq!(sandbox.ok(&args).json()[0]["networks"], before["networks"]);
    // Twelve are too few to vouch for it.
    let few: String = fs::read_to_string(&networks).unwrap().lines().take(13).map(|line| format!("{line}\n")).collect();
    let few = sandbox.file("few.csv", &few);
    sandbox.ok(&["target", "validate", "board", "--networks", &few, "--correct", "--keep", "few"]);
    assert!(sandbox.ok(&["target", "show", "few"]).stdout.contains("grade B"));
    let differ = sandbox.ok(&["target", "diff", "board", "corrected", "--format", "json"]).json().remove(0);
    assert!((number(&differ, "median_ratio") - 0.9).abs() < 1e-9 && number(&differ, "log_spread") < 1e-9, "{differ}");
    assert!(sandbox.ok(&["target", "diff", "board", "some"]).stdout.contains("100 operators both know"));

    let refused = |args: &[&str], code, words: &[&str]| {
        sandbox.refused(&[&["target"], args].concat(), code, words);
    };
    refused(&["validate", "board", "--networks", "no.csv"], 2, &["no.csv"]);
    refused(
        &["validate", "board", "--networks", &networks, "--correct", "--keep", "pixel3"],
        2,
        &["pixel3", "shipped"],
    );
    let batch = sandbox.file("batch.csv", "subnet,latency_ms,batch\n{},1,32\n");
    refused(&["validate", "board", "--networks", &batch], 3, &["32"]);
    let nameless = sandbox
        .file("nameless.csv", "subnet,latency_ms\n\"{\"\"ks\"\":[3],\"\"e\"\":[2],\"\"d\"\":[1],\"\"r\"\":32}\",1\n");
    refused(&["validate", "board", "--networks", &nameless], 2, &["line 2", "--space"]);
    refused(&["diff", "pixel3", "note10"], 2, &["--space"]);
    assert!(sandbox.ok(&["target", "diff", "pixel3", "note10", "--space", "mcu-cifar"]).stdout.contains("median"));
}

#[test]
fn a_board_shows_its_memory_and_has_everything_else_to_be_measured() {
    let sandbox = Sandbox::new();
    let list = sandbox.ok(&["target", "list"]).stdout;
    assert!(
        list.lines().any(|line| line.starts_with("stm32f412") && line.contains("256 KiB SRAM, 1 MiB flash")),
        "{list}"
    );
    let json = sandbox.ok(&["target", "list", "--format", "json"]).json();
    let board = json.iter().find(|entry| entry["name"] == "stm32h743").unwrap();
    assert_eq!(
        (&board["memory"]["peak_memory_bytes"], &board["memory"]["flash_bytes"]),
        (&524_288.into(), &2_097_152.into())
    );
    let shown = sandbox.ok(&["target", "show", "stm32f765"]).stdout;
    assert!(shown.contains("512 KiB SRAM, 1 MiB flash") && shown.contains("not known"), "{shown}");
    let all = sandbox.ok(&["target", "template", "mcu-cifar"]).stdout;
    assert_eq!(sandbox.ok(&["target", "template", "mcu-cifar", "--target", "stm32f746"]).stdout, all);
}

/// One row for each quantity that stands on something, in the width of a terminal.
#[test]
fn the_list_says_where_every_number_comes_from() {
    let sandbox = Sandbox::new();
    let list = sandbox.ok(&["target", "list"]).stdout;
    assert!(list.lines().all(|line| line.chars().count() <= 160), "{list}");
    let has = |target: &str, words: &[&str]| {
        let of_target = |line: &&str| line.split_whitespace().next() == Some(target);
        let found = list.lines().filter(of_target).any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "{target} {words:?}: {list}");
    };
    has("pixel1", &["latency", "fitted on measured", "72 operators, 7 networks", "C", "5.7 %", "10 %", "ProxylessNAS"]);
    has("pixel3", &["energy", "derived_power on fitted", "above_idle", "30 %, ×/÷ 1.6", "× 1.2 W", "HW-NAS-Bench"]);
    has("stm32u575", &["energy", "fitted on measured_rail", "4 networks", "chip", "47.9 %", "STMicroelectronics"]);
    has("eyeriss", &["energy", "simulated", "D", "chip_and_dram", "×/÷ 2"]);
    has("raspberry-pi-4", &["energy", "measured_wall", "wall_ac", "CTuning"]);
    has("stm32f412", &["memory", "256 KiB SRAM, 1 MiB flash", "sizes of the memories"]);
    let json = sandbox.ok(&["target", "list", "--format", "json"]).json();
    for target in &json {
        let answers = target["answers"].as_object().unwrap();
        assert!(!answers.is_empty() || !target["memory"].as_object().unwrap().is_empty(), "{target}");
        assert!(target["source"].is_string() && target["licence"].is_string(), "{target}");
        for answer in answers.values() {
            assert!(["A", "B", "C", "D"].contains(&answer["grade"].as_str().unwrap()), "{target}");
            assert!(number(answer, "common_rel") > 0.0 && answer["scope"] != "unstated", "{target}");
            let simulated = answer["method"] == "simulated";
            assert!(simulated || number(answer, "left_out") > 0.0, "{target}");
            assert!(simulated || number(answer, "operators") + number(answer, "networks") > 0.0, "{target}");
        }
    }
    let pixel1 = json.iter().find(|target| target["name"] == "pixel1").unwrap();
    let correction = &pixel1["answers"]["latency"]["correction"];
    assert!(correction["networks"] == 7 && number(correction, "left_out") < 0.02, "{pixel1}");
    // One's own are marked, and one that cannot be read is listed with the reason.
    let table = format!("{COLUMNS}\nconv,16,16,8,16,16,8,3,1,1,0,0,0,relu,0,1.5,2.5\n");
    let table = sandbox.file("board.csv", &table);
    sandbox.ok(&["target", "add", &table, "--name", "board"]);
    let broken = sandbox.path("home/targets/broken");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("target.yaml"), "schema: ofa.target/9\n").unwrap();
    let list = sandbox.ok(&["target", "list"]).stdout;
    assert!(list.contains("board (yours)") && list.contains("1 operator ") && list.contains("unstated"), "{list}");
    assert!(list.contains("broken (yours)") && list.contains("cannot be read"), "{list}");
}
