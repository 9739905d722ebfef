//! `target fit` and the limit on extrapolation.

use std::collections::BTreeSet;
use std::path::PathBuf;
use storage::failure::Failure;

use hw_targets::library::TargetLibrary;
use hw_targets::table_op::{TableKind, TableOp};
use network::units::Measured;
use serde_json::Value;

use crate::support::{Sandbox, shared};

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is not in {value}"))
}

/// Keeps the operators of `mcu-cifar` that `keep` wants, by kind and input size, as target `name`: MACs and weights at
/// a fixed speed and a floor, so that a fit finds them exactly.
fn board(sandbox: &Sandbox, name: &str, keep: impl Fn(&str, u32) -> bool) -> usize {
    let list = sandbox.ok(&["target", "template", "mcu-cifar"]).stdout;
    let header: Vec<&str> = list.lines().next().unwrap().split(',').collect();
    let at = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let rows = list.lines().skip(1).filter_map(|line| {
        let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        if !keep(&cells[at("op_type")], cells[at("in_h")].parse().unwrap()) {
            return None;
        }
        cells[at("latency_ms")] = (0.05 + cells[at("macs")].parse::<f64>().unwrap() / 1e6).to_string();
        Some(format!("{}\n", cells.join(",")))
    });
    let rows: Vec<String> = rows.collect();
    let table = sandbox.file(&format!("{name}.csv"), &format!("{}\n{}", header.join(","), rows.concat()));
    sandbox.ok(&["target", "add", &table, "--name", name]);
    rows.len()
}

/// A device's table as published, and a model of it for the network resolutions that it lacks.
#[test]
fn a_published_table_is_fitted_kept_and_still_answers_first() {
    let Some(shared) = shared() else { return };
    let sandbox = Sandbox::new();
    let tables = shared.join("data/hw/ofa-note10");
    sandbox.ok(&["target", "import", "ofa-yaml", tables.to_str().unwrap(), "--name", "my-note10"]);
    let args = ["target", "fit", "my-note10", "--space", "mbv3-w1.2", "--keep", "fitted", "--format", "json"];
    let fit = sandbox.ok(&args).json().remove(0);
    assert_eq!((fit["quantity"].as_str(), fit["kept"].as_str()), (Some("latency_ms"), Some("fitted")));
    assert!(number(&fit["classes"]["block"], "loo_mape") <= 0.03, "{fit}");
    assert!(number(&fit["sums"], "mape") <= 0.02 && number(&fit["sums"], "networks") == 1000.0, "{fit}");
    let coverage = |key: &str| fit["coverage"][key].as_u64().unwrap();
    assert_eq!((coverage("measured"), coverage("refused"), coverage("uncovered")), (480, 0, 0));
    let answered = coverage("measured") + coverage("fitted_inside") + coverage("fitted_outside");
    assert_eq!(answered, coverage("operators"));
    let shown = sandbox.ok(&["target", "fit", "my-note10"]).stdout;
    assert!(shown.contains("block") && shown.contains("455") && shown.contains("leave-one-out"), "{shown}");

    // Operator by operator: the table's value where it has one, else the model's, flagged.
    let library = TargetLibrary::new(Some(sandbox.path("home")));
    let (table, fitted) = (library.find("my-note10").unwrap(), library.find("fitted").unwrap());
    let cost = |target: &hw_targets::target::Target, op: &TableOp, resolution| {
        target.cost_in(Measured::Latency, &op.op(), resolution)
    };
    for (op, resolution) in table.operators() {
        let measured = cost(&fitted, &op, resolution).unwrap();
        assert_eq!((measured.fitted, measured), (false, cost(&table, &op, resolution).unwrap()), "{op}");
        let between = TableOp { in_channels: op.in_channels + 1, ..op };
        assert!(cost(&table, &between, resolution).is_err());
        assert!(cost(&fitted, &between, resolution).unwrap().fitted, "{between}");
    }

    // Whole networks: 192 px is in the table, 164 px is not.
    let at = |resolution: u32| {
        let subnet = format!(
            "{{\"ks\":[{}],\"e\":[{}],\"d\":[2,2,2,2,2],\"r\":{resolution}}}\n",
            "5,".repeat(19) + "5",
            "4,".repeat(19) + "4"
        );
        let file = sandbox.file(&format!("{resolution}.jsonl"), &subnet);
        move |target: &str| -> Vec<String> {
            ["target", "cost", target, "--space", "mbv3-w1.2", "--subnets", &file, "--format", "json"]
                .map(str::to_owned)
                .to_vec()
        }
    };
    let run = |args: &[String]| sandbox.ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let latency = |args: &[String]| run(args).json().remove(0)["latency_ms"].clone();
    let (known, unknown) = (at(192), at(164));
    assert_eq!(latency(&known("fitted")), latency(&known("my-note10")));
    assert_eq!(
        (&latency(&known("fitted"))["fitted"], &latency(&known("fitted"))["grade"]),
        (&false.into(), &"B".into())
    );
    let refused: Vec<String> = unknown("my-note10");
    sandbox.refused(&refused.iter().map(String::as_str).collect::<Vec<_>>(), 3, &["164"]);
    let between = latency(&unknown("fitted"));
    assert_eq!((&between["fitted"], &between["grade"]), (&true.into(), &"C".into()), "{between}");
    let (at_160, at_176) = (latency(&at(160)("my-note10")), latency(&at(176)("my-note10")));
    assert!((number(&at_160, "value")..number(&at_176, "value")).contains(&number(&between, "value")), "{between}");
    assert!(run(&unknown("fitted")[..7]).stderr.contains("latency of 1 of 1 networks is fitted"));
}

/// The devices are compared on the plain blocks of the table that terms come from, as for the targets that ship; a
/// shipped target has no table, and then those of the table fitted to have to do.
#[test]
fn terms_are_transferred_as_for_the_targets_that_ship() {
    let Some(shared) = shared() else { return };
    let sandbox = Sandbox::new();
    let path = |name: &str| shared.join("data/hw").join(name).to_str().unwrap().to_owned();
    sandbox.ok(&["target", "import", "ofa-yaml", &path("ofa-note10"), "--name", "note10-table"]);
    sandbox.ok(&["target", "fit", "note10-table", "--keep", "note10-fitted"]);
    let lut = path("hw-nas-bench-fbnet");
    sandbox.ok(&["target", "import", "hw-nas-bench", &lut, "--name", "mine", "--device", "pixel3"]);
    let ratio = |from: &str| {
        let fit = sandbox.ok(&["target", "fit", "mine", "--transfer", from, "--format", "json"]).json().remove(0);
        number(&fit["transferred"], "ratio")
    };
    let shipped = TargetLibrary::new(None::<PathBuf>).find("pixel3").unwrap();
    let shipped = shipped.manifest().latency.clone().unwrap().fitted.unwrap().transferred.unwrap().ratio;
    let (with_table, without) = (ratio("note10-fitted"), ratio("note10"));
    assert!((with_table / shipped - 1.0).abs() < 1e-4, "{with_table} {shipped}");
    assert!((without / shipped - 1.0).abs() < 0.05 && without != with_table, "{without} {shipped}");
}

#[test]
fn a_fit_says_what_it_is_worth_and_what_it_lacks() {
    let sandbox = Sandbox::new();
    let rows = board(&sandbox, "board", |_, _| true);
    let fit = |more: &[&str]| {
        let args = [&["target", "fit", "board", "--format", "json"], more].concat();
        sandbox.ok(&args).json().remove(0)
    };
    let fitted = fit(&["--space", "mcu-cifar"]);
    assert_eq!(fitted["coverage"]["measured"].as_u64(), Some(rows as u64));
    assert!(number(&fitted["classes"]["block"], "loo_mape") < 0.01, "{fitted}");
    assert!(number(&fitted["sums"], "mape") < 0.01 && number(&fitted, "extrapolation") == 3.0, "{fitted}");
    assert_eq!(fit(&["--space", "mbv3-w1.2"])["sums"], Value::Null, "the table has no network of that space");
    let transferred = fit(&["--transfer", "note10"]);
    assert_eq!(transferred["transferred"]["from"], "note10");
    let terms = &transferred["transferred"]["terms"];
    for term in ["se_elements", "se_weights", "hswish_elements", "depthwise_macs_7"] {
        assert!(terms.as_array().unwrap().contains(&term.into()), "{terms}");
        assert!(number(&transferred["classes"]["block"]["coefficients"], term) > 0.0);
    }
    assert!(fitted.get("transferred").is_none());

    board(&sandbox, "few", |kind, size| kind == "mbconv" && size == 32);
    board(&sandbox, "none", |kind, _| kind == "linear" || kind == "conv");
    let refused = |args: &[&str], code, words: &[&str]| {
        sandbox.refused(&[&["target", "fit"], args].concat(), code, words);
    };
    refused(&["few"], 3, &["the latency of few", "class block", "coefficients open", "target template"]);
    refused(&["none"], 3, &["the latency of none", "no inverted-bottleneck block"]);
    refused(&["pixel3"], 2, &["pixel3 has no table", "target import", "--networks"]);
    refused(&["board", "--transfer", "eyeriss"], 2, &["eyeriss has no model", "note10"]);
    refused(&["board", "--keep", "pixel3"], 2, &["pixel3", "shipped", "--keep"]);
    refused(&["board", "--extrapolation", "-1"], 2, &["0 to 64"]);
    refused(&["board", "--networks", "n.csv"], 2, &["--networks", "cannot be used with"]);
    refused(&[], 2, &["TARGET"]);
}

#[test]
fn networks_measured_whole_become_a_target() {
    let sandbox = Sandbox::new();
    let sample = sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "60"]).stdout;
    let subnets = sandbox.file("subnets.jsonl", &sample);
    let args = ["space", "cost", "mcu-cifar", "--subnets", &subnets, "--format", "json"];
    // A device that takes 1 ms for a batch of 4, 1 ms more for every million MACs and 0.1 ms for every block; at about 3 W.
    let macs = sandbox.ok(&args).json().into_iter().map(|cost| number(&cost, "macs") / 1e6);
    let blocks = sample.lines().map(|subnet| subnet.matches("kernel").count() as f64);
    let milliseconds: Vec<f64> = macs.zip(blocks).map(|(macs, blocks)| 1.0 + macs + 0.1 * blocks).collect();
    let file = |name: &str, count: usize| {
        let row = |(at, (subnet, ms)): (usize, (&str, &f64))| {
            let watts = 3.0 + 0.01 * (at % 3) as f64;
            format!("\"{}\",4,{ms},{}\n", subnet.replace('"', "\"\""), watts * ms)
        };
        let rows: String = sample.lines().zip(&milliseconds).take(count).enumerate().map(row).collect();
        sandbox.file(name, &format!("subnet,batch,latency_ms,energy_mJ\n{rows}"))
    };
    let networks = file("networks.csv", 60);
    let fit = sandbox.ok(&["target", "fit", "--networks", &networks, "--keep", "whole", "--format", "json"]).json();
    assert_eq!(
        fit.iter().map(|fit| fit["quantity"].as_str().unwrap()).collect::<Vec<_>>(),
        ["latency_ms", "energy_mj"]
    );
    for fit in &fit {
        assert_eq!((&fit["networks"], &fit["batch"], &fit["kept"]), (&60.into(), &4.into(), &"whole".into()));
        assert!(number(fit, "loo_mape") < 0.02 && number(fit, "constant") >= 0.0, "{fit}");
    }
    let args = ["target", "cost", "whole", "--space", "mcu-cifar", "--subnets", &subnets, "--format", "json"];
    for (cost, ms) in sandbox.ok(&args).json().iter().zip(&milliseconds) {
        let (latency, energy) = (&cost["latency_ms"], &cost["energy_mj"]);
        assert!((number(latency, "value") / ms - 1.0).abs() < 0.05, "{cost}");
        assert!((number(energy, "value") / (3.0 * ms) - 1.0).abs() < 0.05, "{cost}");
        assert_eq!((&latency["fitted"], &latency["method"]), (&true.into(), &"fitted".into()));
    }
    let shown = sandbox.ok(&["target", "show", "whole"]).stdout;
    assert!(shown.contains("60 networks measured whole (leave-one-out") && shown.contains("batch    4"), "{shown}");
    let compared = sandbox.ok(&["target", "validate", "whole", "--networks", &networks]).stderr;
    assert!(compared.contains("latency was fitted to 60 networks (each judged without itself: "), "{compared}");
    let printed = sandbox.ok(&["target", "fit", "--networks", &networks, "--space", "mcu-cifar"]).stdout;
    assert!(printed.contains("batch 4") && printed.contains("constant") && printed.contains("per count"), "{printed}");
    let few = file("few.csv", 3);
    sandbox.refused(
        &["target", "fit", "--networks", &few],
        3,
        &["few.csv", "3 whole networks", "too few", "at least 12"],
    );
    let refused = sandbox.ofa(&["target", "fit", "--networks", &few]);
    assert!(!refused.stderr.contains("template"), "{}", refused.stderr);
    sandbox.refused(&["target", "fit", "--networks", "absent.csv"], 2, &["absent.csv"]);
}

/// Rows that cannot all be of one device, or not of these networks.
#[test]
fn networks_that_do_not_fit_together_are_not_kept() {
    let sandbox = Sandbox::new();
    let sample = sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "40"]).stdout;
    let subnets = sandbox.file("subnets.jsonl", &sample);
    let args = ["space", "cost", "mcu-cifar", "--subnets", &subnets, "--format", "json"];
    let macs: Vec<f64> = sandbox.ok(&args).json().iter().map(|cost| number(cost, "macs") / 1e6).collect();
    let honest: Vec<f64> = macs.iter().enumerate().map(|(at, macs)| macs * (1.0 + 0.01 * (at % 5) as f64)).collect();
    let fit = |header: &str, cells: &dyn Fn(usize) -> String| {
        let row = |(at, subnet): (usize, &str)| format!("\"{}\",{}\n", subnet.replace('"', "\"\""), cells(at));
        let rows: String = sample.lines().enumerate().map(row).collect();
        let file = sandbox.file("networks.csv", &format!("subnet,{header}\n{rows}"));
        sandbox.ofa(&["-q", "target", "fit", "--networks", &file, "--keep", "board", "--replace"])
    };
    let refused = |header: &str, cells: &dyn Fn(usize) -> String, words: &[&str]| {
        let run = fit(header, cells);
        assert_eq!(run.code, 3, "{words:?}: {}{}", run.stdout, run.stderr);
        words.iter().for_each(|word| assert!(run.stderr.contains(word), "{word}: {}", run.stderr));
    };
    assert_eq!(fit("latency_ms", &|at| honest[at].to_string()).code, 0);
    let mut sorted = honest.clone();
    sorted.sort_by(f64::total_cmp);
    let of_others = |at: usize| sorted[(at * 17 + 5) % sorted.len()].to_string();
    refused("latency_ms", &of_others, &["one number for all networks", "do the rows belong to these networks"]);
    let two_modes = |at: usize| (honest[at] * if at.is_multiple_of(2) { 8.0 } else { 1.0 }).to_string();
    refused("latency_ms", &two_modes, &["a slip of unit, or of the point"]);
    refused("latency_ms", &|_| "2.5".into(), &["every latency is 2.5 ms", "nothing was measured"]);
    let derived = |at: usize| format!("{:.4},{:.4}", honest[at], 1.3 * honest[at]);
    refused("latency_ms,energy_mJ", &derived, &["networks.csv:2", "was not measured"]);
    refused("latency_ms,bs", &|at| format!("{},8", honest[at]), &["\"bs\"", "did you mean batch?"]);
    let comma = |at: usize| format!("\"{}\"", honest[at].to_string().replace('.', ","));
    refused("latency_ms", &comma, &["write a point before decimals"]);
    // A network that was measured again, and took half of the time or less.
    let (first, rest) = sample.split_once('\n').unwrap();
    let row = |subnet: &str, ms: f64| format!("\"{}\",{ms}\n", subnet.replace('"', "\"\""));
    let file = |again: f64| {
        let rows: String = rest.lines().zip(&honest[1..]).map(|(subnet, ms)| row(subnet, *ms)).collect();
        let text = format!("subnet,latency_ms\n{}{}{rows}", row(first, honest[0]), row(first, again * honest[0]));
        sandbox.file("networks.csv", &text)
    };
    sandbox.refused(
        &["target", "fit", "--networks", &file(2.5)],
        3,
        &["networks.csv:3", "in line 2", "one device in one state"],
    );
    let warned = sandbox.ok(&["-q", "target", "fit", "--networks", &file(1.3)]);
    assert!(warned.stderr.contains("warning: the latency of 1 networks differs between rows"), "{}", warned.stderr);
}

/// From 180 networks on the error is that of tenths held out, and from more on coefficients may depend on the input
/// size: then what is printed and emitted is the whole model.
#[test]
fn a_fit_to_many_networks_is_told_whole_and_its_error_by_its_name() {
    let Some(shared) = shared() else { return };
    let sandbox = Sandbox::new();
    let help = shared.join("data/hw/help-latency/help_ofa_mbv3_latency_ms.csv.gz");
    sandbox.ok(&["target", "import", "help", help.to_str().unwrap(), "--name", "sums", "--device", "v100_64"]);
    let fit = ["target", "fit", "--networks", "sums", "--keep", "whole"];
    let json = sandbox.ok(&[&fit[..], &["--format", "json"]].concat()).json().remove(0);
    let sizes: Vec<&str> = json["by_input_size"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(json["error"], "error on held-out tenths", "{json}");
    assert!(sizes.len() == 3 && json["coefficients"].as_object().unwrap().len() == 1, "{json}");
    let yaml = std::fs::read_to_string(sandbox.path("home/targets/whole/target.yaml")).unwrap();
    let kept = TargetLibrary::new(Some(sandbox.path("home"))).find("whole").unwrap();
    let kept = kept.manifest().latency.clone().unwrap().network_fit.unwrap();
    assert_eq!(json["by_input_size"], serde_json::to_value(&kept.by_input_size).unwrap());
    assert!(yaml.contains("networks measured whole (error on held-out tenths"), "{yaml}");
    let printed = sandbox.ok(&fit[..4]).stdout;
    assert!(printed.contains("error on held-out tenths") && !printed.contains("leave-one-out"), "{printed}");
    for size in sizes {
        assert!(printed.contains(&format!(", at {size} px ")), "{size}: {printed}");
    }
}

/// Only blocks of at most 8 px are measured: those of 28 and 32 px are about two doublings outside.
#[test]
fn far_extrapolation_is_refused_unless_told() {
    let sandbox = Sandbox::new();
    board(&sandbox, "small", |kind, size| kind != "mbconv" || size <= 8);
    let keep = |more: &[&str]| {
        let fit = ["target", "fit", "small", "--space", "mcu-cifar", "--keep", "near", "--replace", "--format", "json"];
        let args = [&fit[..], more];
        sandbox.ok(&args.concat()).json().remove(0)["coverage"].clone()
    };
    let predictor = sandbox.predictor();
    let subnets = sandbox.file("subnets.jsonl", &sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "5"]).stdout);
    let cost = ["target", "cost", "near", "--space", "mcu-cifar", "--subnets", &subnets];
    let search = [
        "search",
        "--target",
        "near",
        "--space",
        "mcu-cifar",
        "--predictor",
        &predictor,
        "--latency",
        "20ms",
        "--evaluations",
        "500",
    ];
    let words = ["target near has no latency", "doublings outside the", "--extrapolate", "`extrapolation`"];

    assert!(keep(&["--extrapolation", "1"])["refused"].as_u64().unwrap() > 0);
    let yaml = std::fs::read_to_string(sandbox.path("home/targets/near/target.yaml")).unwrap();
    assert!(yaml.contains("extrapolation: 1"), "{yaml}");
    sandbox.refused(&cost, 3, &words);
    sandbox.refused(&search, 3, &words);
    let lifted = sandbox.ok(&[&cost[..], &["--extrapolate", "--format", "json"]].concat()).json();
    assert!(lifted.iter().all(|cost| number(&cost["latency_ms"], "operators_outside_fit") > 0.0), "{lifted:?}");
    let found = sandbox.ok(&[&search[..], &["--extrapolate", "-v"]].concat()).stdout;
    assert!(
        found.contains("measured, in part fitted, grade C") && found.contains("outside the fitted range"),
        "{found}"
    );

    // The default limit lets this through, and gives the same numbers.
    assert_eq!(keep(&[])["refused"], 0);
    assert_eq!(sandbox.ok(&[&cost[..], &["--format", "json"]].concat()).json(), lifted);
    sandbox.ok(&search);
}

/// What ships answers on every space that ships without a flag, but for phones that were measured with 100 classes at
/// 32 px: a classifier of 1000 is too far away.
#[test]
fn shipped_targets_reach_every_shipped_space() {
    let library = TargetLibrary::new(None::<PathBuf>);
    let small = ["essential-ph1", "pixel2", "samsung-a50", "samsung-s7"];
    let (mut answers, mut refused) = (0, BTreeSet::new());
    for space in search::space::SearchSpace::builtin_names() {
        let space = search::space::SearchSpace::builtin(space).unwrap();
        let operators = experiments::target::work_list::operators(&space).unwrap();
        for (name, _) in hw_targets::library::SHIPPED {
            let target = library.find(name).unwrap();
            let lifted = target.clone().extrapolating();
            for (op, resolution) in &operators {
                for quantity in [Measured::Latency, Measured::Energy] {
                    if let Ok(answer) = lifted.cost_in(quantity, &op.op(), *resolution) {
                        let limited = target.cost_in(quantity, &op.op(), *resolution);
                        if small.contains(&name) && op.kind == TableKind::Linear && op.out_channels == 1000 {
                            assert!(limited.unwrap_err().hint().unwrap().contains("‹extrapolate›"));
                            refused.insert((name, space.id().to_string()));
                            continue;
                        }
                        assert_eq!(limited.map_err(|error| error.hint()), Ok(answer), "{name} {}", space.id());
                        answers += 1;
                    }
                }
            }
        }
    }
    assert!(answers > 100_000, "{answers}");
    // The spaces for ImageNet.
    assert_eq!(refused.len(), small.len() * 4, "{refused:?}");
}
