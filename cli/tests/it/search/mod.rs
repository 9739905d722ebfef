//! `search`: the fixed JSON shape, budgets, determinism.

mod files;

use std::fs;

use serde_json::Value;

use crate::support::Sandbox;

fn search<'a>(predictor: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["search", "--space", "mcu-cifar", "--predictor", predictor, "--evaluations", "2000"];
    args.extend(more);
    args
}

fn without_time(mut result: Value) -> Value {
    result.as_object_mut().unwrap().remove("seconds");
    result
}

#[test]
fn json_has_the_fixed_shape() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let run = sandbox.ok(&search(&predictor, &["--target", "pixel3", "--energy", "2mJ", "--format", "json"]));
    let result = run.json().remove(0);
    assert_eq!(run.json().len(), 1);
    let subnet = &result["subnet"];
    assert_eq!(subnet["schema"], "ofa.subnet/1");
    assert_eq!(subnet["space"], "mcu-cifar");
    let genome = &result["genome"];
    assert_eq!(genome["r"], subnet["resolution"]);
    assert_eq!(genome["ks"].as_array().unwrap().len(), genome["e"].as_array().unwrap().len());
    assert_eq!(genome["d"].as_array().unwrap().len(), subnet["stages"].as_array().unwrap().len());
    let top1 = result["top1"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&top1));
    for key in ["energy_mj", "latency_ms"] {
        let cost = &result["costs"][key];
        assert!(cost["value"].is_number() && cost["std"].is_number(), "{cost}");
        assert!(cost["method"].is_string() && cost["scope"].is_string() && cost["grade"].is_string(), "{cost}");
    }
    assert!(result["costs"]["energy_mj"]["value"].as_f64().unwrap() <= 2.0);
    assert!(result["costs"]["macs"].is_u64() && result["costs"]["params"].is_u64());
    assert_eq!(result["target"], "pixel3");
    assert_eq!(result["evaluations"], 2000);
    assert_eq!(result["distinct"], 2000);
    assert!(result["seconds"].is_number());
    assert_eq!(result["seed"], 0);

    // What is printed can be fed back.
    let file = sandbox.file("found.jsonl", &run.stdout);
    let cost =
        sandbox.ok(&["target", "cost", "pixel3", "--space", "mcu-cifar", "--subnets", &file, "--format", "json"]);
    assert_eq!(cost.json()[0]["energy_mj"]["value"], result["costs"]["energy_mj"]["value"]);
    let predicted =
        sandbox.ok(&["predictor", "predict", "--predictor", &predictor, "--subnets", &file, "--format", "json"]);
    assert_eq!(predicted.json()[0]["top1"], result["top1"]);
}

#[test]
fn the_same_seed_finds_the_same_and_threads_do_not_matter() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let run = |more: &[&str]| {
        let mut args =
            search(&predictor, &["--target", "jetson-tx2", "--energy", "42mJ", "--top", "3", "--format", "json"]);
        args.extend(more);
        let found = sandbox.ok(&args).json();
        assert_eq!(found.len(), 3);
        found.into_iter().map(without_time).collect::<Vec<_>>()
    };
    let found = run(&["--seed", "5", "--threads", "1"]);
    assert_eq!(found, run(&["--seed", "5", "--threads", "2"]));
    let top1: Vec<f64> = found.iter().map(|result| result["top1"].as_f64().unwrap()).collect();
    assert!(top1.is_sorted_by(|a, b| a >= b), "best first: {top1:?}");
}

#[test]
fn more_budget_never_means_less_accuracy() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let json = ["--target", "pixel3", "--format", "json"];
    let free = sandbox.ok(&search(&predictor, &[&json[..], &["--macs", "100M"]].concat())).json().remove(0);
    let dearest = free["costs"]["energy_mj"]["value"].as_f64().unwrap();
    let mut last = 0.0;
    for tenth in 4..=10 {
        let budget = format!("{:.4}mJ", dearest * f64::from(tenth) / 10.0 * 1.0001);
        let result = sandbox.ok(&search(&predictor, &[&json[..], &["--energy", &budget]].concat())).json().remove(0);
        let energy = result["costs"]["energy_mj"]["value"].as_f64().unwrap();
        assert!(energy <= dearest * f64::from(tenth) / 10.0 * 1.001, "{energy} is above {budget}");
        let top1 = result["top1"].as_f64().unwrap();
        assert!(top1 >= last, "{budget}: {top1} after {last}");
        last = top1;
    }
}

#[test]
fn a_budget_that_binds_nothing_says_so() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let run = sandbox.ok(&search(&predictor, &["--target", "pixel3", "--energy", "50mJ"]));
    assert!(run.stderr.contains("no need to economise"), "{}", run.stderr);
    for words in ["predicted", "of 50 mJ", "MACs", "parameters"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    let verbose = sandbox.ok(&search(&predictor, &["--target", "pixel3", "--energy", "50mJ", "-v"])).stdout;
    for words in ["energy", "50 mJ ≡ 41.7 ms here", "latency", "stage 1", "all distinct"] {
        assert!(verbose.contains(words), "{words}: {verbose}");
    }
    let quiet = sandbox.ok(&search(&predictor, &["--target", "pixel3", "--energy", "50mJ", "--quiet"]));
    assert_eq!(quiet.stderr, "");
    let binding = sandbox.ok(&search(&predictor, &["--target", "pixel3", "--energy", "2mJ"]));
    assert!(!binding.stderr.contains("economise"), "{}", binding.stderr);
}

#[test]
fn counts_need_no_target() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let run = sandbox.ok(&search(&predictor, &["--macs", "6M", "--params", "400K", "--format", "json"]));
    let result = run.json().remove(0);
    assert!(result["costs"]["macs"].as_u64().unwrap() <= 6_000_000);
    assert!(result["costs"]["params"].as_u64().unwrap() <= 400_000);
    assert!(result["costs"].get("energy_mj").is_none() && result["costs"].get("latency_ms").is_none());
    sandbox.refused(&search(&predictor, &["--energy", "2mJ"]), 2, &["needs a target", "--target"]);
    sandbox.refused(&search(&predictor, &[]), 2, &["neither a target nor a budget"]);
}

#[test]
fn a_bundle_is_used_by_name_and_its_faults_are_named() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let yaml = sandbox.ok(&["space", "show", "mcu-cifar"]).stdout;
    sandbox.file("home/zoo/mine/space.yaml", &yaml);
    let search = ["search", "--supernet", "mine", "--macs", "5M", "--evaluations", "300", "--format", "json"];
    sandbox.refused(&search, 3, &["lacks predictor.safetensors"]);
    fs::copy(&predictor, sandbox.path("home/zoo/mine/predictor.safetensors")).unwrap();
    assert_eq!(sandbox.ok(&search).json()[0]["bundle"], "mine");
    sandbox.refused(&["search", "--supernet", "yours", "--macs", "5M"], 2, &["no bundle `yours`", "mine"]);
    let yaml = sandbox.ok(&["space", "show", "fbnet-cifar"]).stdout;
    sandbox.file("home/zoo/mine/space.yaml", &yaml);
    sandbox.refused(&search, 3, &["is for space `mcu-cifar`", "fbnet-cifar"]);
}

#[test]
fn every_algorithm_answers_within_the_budget_and_none_beats_the_certificate() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.fitted("additive");
    let base = ["--target", "pixel3", "--energy", "2mJ", "--format", "json", "--algorithm"];
    let exact = sandbox.ok(&search(&predictor, &[&base[..], &["exact"]].concat())).json();
    assert!(exact.len() > 20, "{}", exact.len());
    let number = |value: &Value| value.as_f64().unwrap();
    let energy = |result: &Value| number(&result["costs"]["energy_mj"]["value"]);
    for pair in exact.windows(2) {
        // Printed costs and scores are added up in another order than those that were compared.
        let (cheap, dear) = (&pair[0], &pair[1]);
        assert!(energy(cheap) < energy(dear) + 1e-9 && number(&cheap["top1"]) < number(&dear["top1"]) + 1e-12);
    }
    let best = exact.last().unwrap();
    assert!(energy(best) <= 2.0 && number(&best["additive"]["gap"]) < 1e-4, "{}", best["additive"]);
    assert!(number(&best["grid"]["step"]) > 0.0 && best["grid"]["quantity"] == "energy_mj");
    let mut top1 = Vec::new();
    for algorithm in ["random", "local", "evolution"] {
        let result = sandbox.ok(&search(&predictor, &[&base[..], &[algorithm]].concat())).json().remove(0);
        assert!(energy(&result) <= 2.0);
        assert!(number(&result["additive"]["gap"]) >= -1e-12, "{algorithm}: {}", result["additive"]);
        assert_eq!(result["algorithm"], algorithm);
        top1.push(number(&result["top1"]));
    }
    assert!(top1[0] < top1[1] && top1[0] < top1[2], "{top1:?}");

    // A ceiling at the least cost, to the last bits that are printed.
    let least = exact[0]["costs"]["energy_mj"]["value"].as_f64().unwrap();
    for budget in [format!("{least}mJ"), format!("{}mJ", least * (1.0 + 1e-9))] {
        let args = ["--target", "pixel3", "--energy", &budget, "--format", "json", "--algorithm", "exact"];
        let run = sandbox.ofa(&search(&predictor, &args));
        assert!(run.code == 4 || (run.code == 0 && run.json().len() == 1), "{budget}: {} {}", run.code, run.stderr);
    }

    // What one search found, another may begin with.
    let start = sandbox.file("start.jsonl", &best["subnet"].to_string());
    let warm = ["--target", "pixel3", "--energy", "2mJ", "--format", "json", "--start", &start];
    let warm = sandbox.ok(&search(&predictor, &warm)).json().remove(0);
    assert!(number(&warm["top1"]) >= number(&best["top1"]));
}

#[test]
fn several_objectives_give_a_front() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let args = ["--target", "pixel3", "--objectives", "accuracy,energy,params", "--format", "json"];
    let found = sandbox.ok(&search(&predictor, &args)).json();
    assert!(found.len() > 20);
    let key = |result: &Value| {
        let costs = &result["costs"];
        [
            -result["top1"].as_f64().unwrap(),
            costs["energy_mj"]["value"].as_f64().unwrap(),
            costs["params"].as_f64().unwrap(),
        ]
    };
    for a in &found {
        assert_eq!(a["front"], found.len());
        for b in &found {
            let (a, b) = (key(a), key(b));
            assert!(a == b || a.iter().zip(&b).any(|(a, b)| a < b), "{b:?} dominates {a:?}");
        }
    }
    let volume = found[0]["hypervolume"].as_f64().unwrap();
    assert!((0.1..1.0).contains(&volume), "{volume}");
    let table = sandbox.ok(&search(&predictor, &["--target", "pixel3", "--objectives", "accuracy,energy"]));
    assert!(table.stdout.contains("top-1") && table.stdout.contains("energy") && table.stderr.contains("hypervolume"));
}

/// The number with its unit that stands before the feature map in a row of a drawn subnet.
fn amount(row: &str) -> f64 {
    let words: Vec<&str> = row.split_whitespace().collect();
    let map = if words[words.len() - 3] == "px," { 4 } else { 2 };
    let (number, unit) = match words[..words.len() - map] {
        [.., number, "ns"] => (number, 1e-6),
        [.., number, "µs"] => (number, 1e-3),
        [.., number, "K"] => (number, 1e3),
        [.., number, "M"] => (number, 1e6),
        [.., number, "ms"] | [.., number] => (number, 1.0),
        [] => panic!("{row}"),
    };
    number.parse::<f64>().unwrap_or_else(|_| panic!("{row}")) * unit
}

#[test]
fn a_subnet_is_drawn_block_by_block_and_a_front_as_dots() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    // A device that tells operators apart, then counts alone.
    for (limit, value) in [
        (["--target", "pixel3", "--latency", "1.5ms"], "/costs/latency_ms/value"),
        (["--target", "pixel3", "--macs", "6M"], "/costs/macs"),
    ] {
        let said = sandbox.ok(&search(&predictor, &[&limit[..], &["-v"]].concat())).stdout;
        let found = sandbox.ok(&search(&predictor, &[&limit[..], &["--format", "json"]].concat())).json().remove(0);
        let stages = found["subnet"]["stages"].as_array().unwrap();
        let blocks: usize = stages.iter().map(|blocks| blocks.as_array().unwrap().len()).sum();
        let rows: Vec<&str> = said.lines().filter(|line| line.ends_with(" channels")).collect();
        let is_block = |row: &&&str| [" k3 e", " k5 e", " k7 e"].iter().any(|kernel| row.contains(kernel));
        assert_eq!(rows.iter().filter(is_block).count(), blocks, "{said}");
        assert!(rows[0].starts_with("stem ") && rows[rows.len() - 1].starts_with("classifier "), "{said}");
        // The longest bar is that of the most expensive, and all that they stand for is what the network costs.
        let most = rows.iter().max_by(|a, b| amount(a).total_cmp(&amount(b))).unwrap();
        assert!(most.contains(&"█".repeat(24)), "{said}");
        let (sum, cost) = (rows.iter().map(|row| amount(row)).sum::<f64>(), found.pointer(value).unwrap());
        assert!((sum / cost.as_f64().unwrap() - 1.0).abs() < 0.01, "{sum} of {cost}: {said}");
    }
    let front = sandbox.ok(&search(&predictor, &["--target", "pixel3", "--objectives", "accuracy,latency"])).stdout;
    let drawn: Vec<&str> = front.lines().skip_while(|line| line.trim() != "top-1").collect();
    assert!(drawn[1].contains(" % ┤") && drawn[10].contains(" % ┤") && drawn[11].contains("└──"), "{front}");
    assert!(drawn[12].contains(" latency ") && drawn[12].ends_with("ms"), "{front}");
    assert!(drawn[1..11].concat().chars().filter(|letter| ('⠁'..='⣿').contains(letter)).count() > 10, "{front}");
}

/// They stand beside each other in the order given, each with its scope, and a word says that they are no ranking.
#[test]
fn energies_of_different_scope_are_not_ranked() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let run = |targets: &str| sandbox.ok(&search(&predictor, &["--targets", targets, "--macs", "6M"]));
    let names = |stdout: &str| -> Vec<String> {
        stdout.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    for targets in ["eyeriss,jetson-tx2", "jetson-tx2,eyeriss"] {
        let run = run(targets);
        assert_eq!(names(&run.stdout), targets.split(',').collect::<Vec<_>>(), "{}", run.stdout);
        let row = |name: &str| run.stdout.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(row("eyeriss").contains("chip_and_dram") && row("jetson-tx2").contains("board_dc"), "{}", run.stdout);
        let words = ["different scope are not comparable", "chip_and_dram on eyeriss", "board_dc on jetson-tx2"];
        assert!(words.iter().all(|word| run.stderr.contains(word)), "{}", run.stderr);
    }
    // A chip alone is not the chip and its DRAM; two boards metered alike are the same.
    assert!(run("eyeriss,stm32u575").stderr.contains("different scope"));
    assert!(!run("stm32l4r5,stm32u575").stderr.contains("different scope"));
    let json = search(&predictor, &["--targets", "eyeriss,jetson-tx2", "--macs", "6M", "--format", "json"]);
    assert!(sandbox.ok(&json).stderr.contains("different scope"));
}

#[test]
fn objectives_that_do_not_go_together_are_refused() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let pixel = ["--target", "pixel3", "--objectives"];
    let refused = |more: &[&str], words: &[&str]| {
        sandbox.refused(&search(&predictor, &[&pixel[..], more].concat()), 2, words);
    };
    refused(&["accuracy,power"], &["power", "possible values: accuracy, energy"]);
    refused(&["accuracy,energy", "--algorithm", "evolution"], &["evolution", "nsga2"]);
    let start = sandbox.file("start.jsonl", &sandbox.ok(&["space", "sample", "mcu-cifar"]).stdout);
    refused(&["accuracy", "--algorithm", "random", "--start", &start], &["random", "--start"]);
    refused(&["accuracy,energy", "--algorithm", "exact"], &["a sum", "--model additive"]);
    sandbox.refused(&search(&predictor, &["--objectives", "accuracy,energy"]), 2, &["needs a target"]);
    sandbox.refused(&search(&predictor, &["--target", "note10", "--objectives", "accuracy,energy"]), 2, &["energy"]);
}

#[test]
fn memory_and_flash_are_ceilings_like_the_others() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let json = ["--format", "json"];
    let run = |more: &[&str]| sandbox.ok(&search(&predictor, &[more, &json[..]].concat())).json().remove(0);
    let value = |found: &Value, key: &str| found["costs"][key].as_u64().unwrap();
    let free = run(&["--macs", "12M"]);
    let tight = run(&["--macs", "12M", "--peak-memory", "24KiB", "--flash", "200kB"]);
    assert!(value(&free, "peak_memory_bytes") > 24 * 1024 && value(&free, "flash_bytes") > 200_000, "{free}");
    assert!(value(&tight, "peak_memory_bytes") <= 24 * 1024 && value(&tight, "flash_bytes") <= 200_000, "{tight}");
    assert_eq!(tight["budgets"]["peak_memory_bytes"]["limit"], 24.0 * 1024.0);
    assert!(tight["budgets"]["flash_bytes"]["binds"].as_bool().unwrap());
    // With a device's costs, as a front, and certified.
    let device = run(&["--target", "pixel3", "--energy", "3mJ", "--peak-memory", "24KiB"]);
    assert!(value(&device, "peak_memory_bytes") <= 24 * 1024, "{device}");
    let front = sandbox
        .ok(&search(&predictor, &[&["--objectives", "accuracy,flash", "--peak-memory", "24KiB"], &json[..]].concat()));
    assert!(front.json().iter().all(|found| value(found, "peak_memory_bytes") <= 24 * 1024));
    let table = sandbox.ok(&search(&predictor, &["--macs", "12M", "--peak-memory", "24KiB"]));
    assert!(table.stdout.contains("peak-memory") && table.stdout.contains("KiB of 24 KiB (int8)"), "{}", table.stdout);

    let refused = |more: &[&str], code: i32, words: &[&str]| sandbox.refused(&search(&predictor, more), code, words);
    refused(&["--peak-memory", "1KiB"], 4, &["peak-memory is at least", "the nearest subnet has peak-memory"]);
    refused(&["--flash", "1kB"], 4, &["flash is at least"]);
    refused(&["--flash", "1mJ"], 2, &["1mJ", "memory"]);
    refused(&["--peak-memory", "100"], 2, &["100KiB"]);
    refused(&["--objectives", "accuracy,peak-memory"], 2, &["flash"]);
}

#[test]
fn confidence_lowers_the_ceiling_by_the_errors() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let run = sandbox.ok(&search(
        &predictor,
        &["--target", "pixel3", "--energy", "3mJ", "--confidence", "0.9", "--format", "json", "--top", "5"],
    ));
    for found in run.json() {
        let energy = &found["costs"]["energy_mj"];
        let (value, std) = (energy["value"].as_f64().unwrap(), energy["std"].as_f64().unwrap());
        // Quantile of the normal distribution.
        assert!(value + 1.28155 * std <= 3.0 * 1.0001, "{energy}");
        assert_eq!(found["budgets"]["energy_mj"]["limit"], 3.0);
    }
    assert!(run.stderr.contains("probability 0.9") && run.stderr.contains("common to all networks"), "{}", run.stderr);
    // What is left of a tight budget is said with the reason.
    let tight = ["--target", "pixel3", "--energy", "0.7mJ", "--confidence", "0.99"];
    sandbox.refused(&search(&predictor, &tight), 4, &["--confidence 0.99", "energy within", "energy is at least"]);
    for time in ["-1s", "nan", "1e400s", "5mJ"] {
        sandbox.refused(&search(&predictor, &["--macs", "3M", &format!("--time={time}")]), 2, &["--time"]);
    }
    sandbox.refused(
        &search(&predictor, &["--target", "pixel3", "--energy", "3mJ", "--confidence", "95"]),
        2,
        &["0.95"],
    );
}

/// With no budget at all, the board's memory is the budget.
#[test]
fn a_board_limits_a_search_by_its_memory() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let found = |target: &str, more: &[&str]| {
        let args = [&["--target", target, "--format", "json"], more].concat();
        let run = sandbox.ok(&search(&predictor, &args));
        (run.json().remove(0), run.stderr)
    };
    let value = |found: &Value, key: &str| found["costs"][key].as_u64().unwrap();
    let (large, said) = found("stm32f746", &[]);
    assert!(said.contains("peak-memory is kept within the 320 KiB of stm32f746"), "{said}");
    assert!(said.contains("flash is kept within the 1 MiB of stm32f746"), "{said}");
    assert_eq!(large["budgets"]["peak_memory_bytes"]["limit"], 320.0 * 1024.0);
    assert_eq!(large["budgets"]["flash_bytes"]["limit"], 1024.0 * 1024.0);
    assert!(large["costs"].get("latency_ms").is_none() && large["costs"].get("energy_mj").is_none(), "{large}");

    // A board smaller than what is best without it.
    let own = sandbox.file("tiny.yaml", "schema: ofa.target/1\nsram: 24KiB\nflash: 200kB\n");
    let (small, _) = found(&own, &[]);
    assert!(value(&large, "peak_memory_bytes") > 24 * 1024 && value(&large, "flash_bytes") > 200_000, "{large}");
    assert!(value(&small, "peak_memory_bytes") <= 24 * 1024 && value(&small, "flash_bytes") <= 200_000, "{small}");
    assert!(small["top1"].as_f64().unwrap() < large["top1"].as_f64().unwrap());

    // Of two ceilings the smaller one counts.
    let (both, said) = found(&own, &["--peak-memory", "20KiB", "--flash", "1MiB"]);
    assert_eq!(both["budgets"]["peak_memory_bytes"]["limit"], 20.0 * 1024.0);
    assert_eq!(both["budgets"]["flash_bytes"]["limit"], 200_000.0);
    assert!(said.contains("within 20 KiB; tiny has 24 KiB") && said.contains("below the 1 MiB given"), "{said}");
    let words = sandbox.ok(&search(&predictor, &["--target", &own])).stdout;
    assert!(words.contains("KiB of 24 KiB (int8)"), "{words}");
    let many = sandbox.ok(&search(&predictor, &["--targets", "stm32f412,pixel3", "--macs", "6M"])).stdout;
    assert!(many.contains("peak-memory") && many.contains("not known"), "{many}");

    sandbox.refused(&search(&predictor, &["--target", "stm32f746", "--energy", "1mJ"]), 2, &["stm32f746", "energy"]);
    let none = sandbox.file("none.yaml", "schema: ofa.target/1\nsram: 1KiB\n");
    sandbox.refused(&search(&predictor, &["--target", &none]), 4, &["peak-memory is at least", "1 KiB of none"]);
}

/// Energy that is counted on a description of an accelerator limits a search as a measured one does.
#[test]
fn an_accelerator_limits_a_search_by_its_energy() {
    let sandbox = Sandbox::new();
    let predictor = sandbox.predictor();
    let found = |energy: &str| {
        let args = ["--target", "eyeriss", "--energy", energy, "--format", "json"];
        sandbox.ok(&search(&predictor, &args)).json().remove(0)
    };
    let value = |found: &Value| found["costs"]["energy_mj"]["value"].as_f64().unwrap();
    let (free, tight) = (found("1J"), found("1mJ"));
    assert!(value(&tight) <= 1.0 && value(&tight) > 0.8 && value(&free) > 1.0, "{tight} {free}");
    let energy = &tight["costs"]["energy_mj"];
    assert_eq!(
        (&energy["grade"], &energy["method"], &energy["scope"]),
        (&"D".into(), &"simulated".into(), &"chip_and_dram".into())
    );
    assert!(tight["costs"].get("latency_ms").is_none(), "{tight}");

    // The same network counted by the verb that knows nothing of targets.
    let file = sandbox.file("found.jsonl", &tight.to_string());
    let args = ["target", "energy", "--space", "mcu-cifar", "--subnets", &file, "--format", "json"];
    let counted = sandbox.ok(&args).json().remove(0)["energy_mj"].as_f64().unwrap();
    assert!((counted / value(&tight) - 1.0).abs() < 1e-9, "{counted} {tight}");

    let refused = |more: &[&str], code: i32, words: &[&str]| sandbox.refused(&search(&predictor, more), code, words);
    refused(&["--target", "eyeriss", "--latency", "1ms"], 2, &["eyeriss knows energy", "not latency"]);
    refused(&["--target", "eyeriss", "--energy", "1uJ"], 4, &["energy is at least"]);
}
