//! What documents presume: images, tables, recipes and networks, made up and small.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use storage::parquet_file;

use super::commands::{checkout, documents};
use crate::pictures::{idx_files, png};
use crate::support::Sandbox;

/// CIFAR-10's, since documents that name no other images use the shipped bundles.
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
/// Images of each class to train on, a multiple of the five files of CIFAR-10, and to test with.
const COUNTS: [(&str, usize); 2] = [("train", 15), ("test", 2)];
const SIDE: u32 = 32;

/// What stands in every folder: `ofa` itself, recipes, and images as `FOLDER` and `img`.
pub(super) fn prepare(sandbox: &Sandbox) {
    fs::create_dir(sandbox.path("scripts")).unwrap();
    symlink(env!("CARGO_BIN_EXE_ofa"), sandbox.path("scripts/ofa")).unwrap();
    symlink(checkout().join("scripts/time-operators"), sandbox.path("scripts/time-operators")).unwrap();
    for entry in fs::read_dir(checkout().join("experiments/recipes")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("experiments/recipes/{}", path.file_name().unwrap().display());
        sandbox.file(&name, &shortened(&fs::read_to_string(path).unwrap()));
    }
    class_folders(&sandbox.path("FOLDER"), &CLASSES);
    cifar(&sandbox.path("FOLDER"));
    rows(&sandbox.path("FOLDER"));
    for ((_, count), part) in COUNTS.into_iter().zip(["train", "t10k"]) {
        idx_files(&sandbox.path("FOLDER"), part, 28, count * CLASSES.len(), CLASSES.len());
    }
    sandbox.file("FOLDER/160_lookup_table.yaml", PUBLISHED_TABLE);
    class_folders(&sandbox.path("img"), &["ant", "bee", "cat"]);
}

/// What a command names that is not there yet.
pub(super) fn prepare_for(sandbox: &Sandbox, command: &str) {
    let built = command.split_once("ofa build ").and_then(|(_, words)| words.split_whitespace().next());
    if let Some(folder) = built {
        shorten_build(sandbox, folder);
    }
    for (words, file, make) in NAMED {
        if command.contains(words) && !sandbox.path(file).exists() {
            make(sandbox);
        }
    }
}

/// Makes a file in a folder.
type Make = fn(&Sandbox);

/// Words of a command, the file that they presume, and what makes it.
const NAMED: &[(&str, &str, Make)] = &[
    ("--subnets subnets.jsonl", "subnets.jsonl", subnets),
    ("target add my-board.csv", "my-board.csv", |sandbox| board(sandbox)),
    ("--networks measured.csv", "measured.csv", measured),
    ("--subnet one.json", "one.json", |sandbox| {
        let one = sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "1"]).stdout;
        sandbox.file("one.json", &one);
    }),
    ("layers.csv", "layers.csv", |sandbox| {
        // The first and third convolution of AlexNet.
        let layers = "1,227,227,3,16,0,16,11,11,3,96,0,16,55,55,96,16,0,16,4,4,0,0,0,0\n\
                      2,13,13,256,16,0,16,3,3,256,384,0,16,13,13,384,16,0,16,1,1,1,1,1,1\n";
        sandbox.file("layers.csv", layers);
    }),
    ("mine.yaml", "mine.yaml", |sandbox| {
        let shipped = checkout().join("hw-targets/accelerators/eyeriss.yaml");
        fs::copy(shipped, sandbox.path("mine.yaml")).unwrap();
    }),
    ("phones.yaml", "phones.yaml", |sandbox| {
        // The whole sweep, but short searches.
        sandbox.file("phones.yaml", &format!("{}evaluations: 3000\n", block("name: phones")));
    }),
    ("--network found", "found", found),
    ("--subnet found/", "found", found),
    ("run found", "found", found),
    ("run found", "run", |sandbox| {
        sandbox.ok(&["train", "experiments/recipes/mcu-cifar.yaml", "--data", "cifar:FOLDER", "--out", "run"]);
    }),
    ("all part-1 part-2", "part-1", |sandbox| {
        for part in ["1", "2"] {
            let (shard, out) = (format!("{part}/2"), format!("part-{part}"));
            sandbox.ok(&["sweep", "run", "phones.yaml", "--out", &out, "--shard", &shard]);
        }
    }),
    ("--against phone", "phone.onnx", |sandbox| {
        search(sandbox, "3mJ", "phone");
        sandbox.ok(&["export", "--network", "phone", "--to", "onnx", "--out", "phone.onnx"]);
    }),
    ("small/subnet.json", "small", |sandbox| {
        for (name, budget) in [("small", "1mJ"), ("middle", "2mJ"), ("large", "3mJ")] {
            search(sandbox, budget, name);
        }
    }),
];

fn found(sandbox: &Sandbox) {
    search(sandbox, "3mJ", "found");
}

fn search(sandbox: &Sandbox, energy: &str, out: &str) {
    let args = ["search", "--supernet", "mcu-cifar", "--target", "pixel3", "--evaluations", "500"];
    sandbox.ok(&[&args[..], &["--energy", energy, "--out", out]].concat());
}

fn subnets(sandbox: &Sandbox) {
    let sample = sandbox.ok(&["space", "sample", "mcu-cifar", "-n", "30"]).stdout;
    sandbox.file("subnets.jsonl", &sample);
}

/// The operators of `mcu-cifar` at a fixed speed and a floor.
fn board(sandbox: &Sandbox) {
    let list = sandbox.ok(&["target", "template", "mcu-cifar"]).stdout;
    let header: Vec<&str> = list.lines().next().unwrap().split(',').collect();
    let at = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let rows = list.lines().skip(1).map(|line| {
        let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        cells[at("latency_ms")] = (0.05 + cells[at("macs")].parse::<f64>().unwrap() / 1e6).to_string();
        format!("{}\n", cells.join(","))
    });
    let rows: String = rows.collect();
    sandbox.file("my-board.csv", &format!("{}\n{rows}", header.join(",")));
}

/// Networks measured whole on it: a little less than the sums of their operators, and a little more for each.
fn measured(sandbox: &Sandbox) {
    subnets(sandbox);
    let args = ["target", "cost", "my-board", "--space", "mcu-cifar", "--subnets", "subnets.jsonl", "--format", "json"];
    let costs = sandbox.ok(&args).json();
    let sample = fs::read_to_string(sandbox.path("subnets.jsonl")).unwrap();
    let rows = sample.lines().zip(&costs).map(|(subnet, cost)| {
        let ms = 0.9 * cost["latency_ms"]["value"].as_f64().unwrap() + 0.2;
        format!("\"{}\",{ms}\n", subnet.replace('"', "\"\""))
    });
    sandbox.file("measured.csv", &format!("subnet,latency_ms\n{}", rows.collect::<String>()));
}

/// The block of a document that holds `words`.
fn block(words: &str) -> String {
    let found = documents().into_iter().find_map(|document| {
        let mut blocks = document.text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        blocks.find(|block| block.contains(words)).map(str::to_owned)
    });
    found.unwrap_or_else(|| panic!("no document shows a file with `{words}`"))
}

/// What `ofa init` wrote, for little time: fewer budgets, evaluations and images for calibration.
fn shorten_build(sandbox: &Sandbox, folder: &str) {
    let short = |name: &str, line: fn(&str) -> Option<String>, more: &str| {
        let name = format!("{folder}/{name}");
        let text = fs::read_to_string(sandbox.path(&name)).unwrap();
        let lines: Vec<String> = text.lines().filter_map(line).filter(|line| line != more).collect();
        sandbox.file(&name, &format!("{}\n{more}\n", lines.join("\n")));
    };
    let calibrate = |line: &str| (!line.starts_with("calibrate:")).then(|| line.to_owned());
    short("build.yaml", calibrate, "calibrate: { steps: 2 }");
    let budgets = |line: &str| {
        let is_kept = !line.starts_with("  - ") || line.contains(" 2%") || line.contains(" 35%");
        is_kept.then(|| line.to_owned())
    };
    short("sweep.yaml", budgets, "evaluations: 500");
}

/// A recipe for few images and little time: an epoch of two steps for each phase, few images for calibration, and a
/// held-out tenth.
fn shortened(recipe: &str) -> String {
    let mut short = String::from("calibration: { batches: 1, batch_size: 44 }\n");
    for line in recipe.lines().filter(|line| !line.starts_with("held_out:")) {
        let mut line = line.to_owned();
        for (field, value) in
            [("batch_size: ", "44"), ("warm_up_epochs: ", "0.5"), ("ramp_epochs: ", "0.5"), (" epochs: ", "1")]
        {
            let Some(at) = line.find(field).map(|at| at + field.len()) else { continue };
            let rest = &line[at..];
            let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
            line = format!("{}{value}{}", &line[..at], &rest[end..]);
        }
        short += &format!("{line}\n");
    }
    short
}

/// A folder for each class, in parts.
fn class_folders(folder: &Path, classes: &[&str]) {
    for (part, count) in COUNTS {
        for (class, name) in classes.iter().enumerate() {
            let within = folder.join(part).join(name);
            fs::create_dir_all(&within).unwrap();
            for number in 0..count {
                fs::write(within.join(format!("{number}.png")), picture(part, class, number)).unwrap();
            }
        }
    }
}

fn picture(part: &str, class: usize, number: usize) -> Vec<u8> {
    png(SIDE, class, (1000 * usize::from(part == "test") + 100 * class + number) as u32)
}

/// The binary files of CIFAR-10.
fn cifar(folder: &Path) {
    let record = |number: usize| {
        let label = [(number % CLASSES.len()) as u8];
        label.into_iter().chain((0..3072).map(move |at| ((at * 7 + number * 31) % 251) as u8)).collect::<Vec<u8>>()
    };
    let [train, test] = COUNTS.map(|(_, count)| count * CLASSES.len());
    let each = train / 5;
    for file in 0..5 {
        let records: Vec<u8> = (each * file..each * (file + 1)).flat_map(record).collect();
        fs::write(folder.join(format!("data_batch_{}.bin", file + 1)), records).unwrap();
    }
    let records: Vec<u8> = (train..train + test).flat_map(record).collect();
    fs::write(folder.join("test_batch.bin"), records).unwrap();
}

/// The same in Parquet files, as hubs of images have them.
fn rows(folder: &Path) {
    for (part, count) in COUNTS {
        let numbers = || (0..count * CLASSES.len()).map(|at| (at % CLASSES.len(), at / CLASSES.len()));
        parquet_file::write(&folder.join(format!("{part}.parquet")), |file| {
            let schema = "message rows { REQUIRED BYTE_ARRAY image; REQUIRED INT64 label; }";
            let mut writer =
                SerializedFileWriter::new(file, Arc::new(parse_message_type(schema)?), Default::default())?;
            let mut group = writer.next_row_group()?;
            let images = numbers().map(|(class, number)| picture(part, class, number).into());
            parquet_file::column::<ByteArrayType, _>(&mut group, images)?;
            parquet_file::column::<Int64Type, _>(&mut group, numbers().map(|(class, _)| class as i64))?;
            group.close()?;
            writer.close().map(|_| ())
        })
        .unwrap();
    }
}

/// A table as the authors of once-for-all publish theirs.
const PUBLISHED_TABLE: &str = "\
Conv-input:160x160x3-output:80x80x24: {count: 498, mean: 0.5, std: 0.01}
expanded_conv-input:80x80x24-output:80x80x24-expand:24-kernel:3-stride:1-idskip:1-se:0-hs:0: {count: 498, mean: 0.4, std: 0.02}
Conv_1-input:5x5x192-output:5x5x1152: {count: 498, mean: 0.45, std: 0.02}
AvgPool2D-input:5x5x1152-output:1x1x1152: {count: 491, mean: 0.0085, std: 0.0007}
Conv_2-input:1x1x1152-output:1x1x1536: {count: 498, mean: 0.75, std: 0.1}
Logits-input:1x1x1536-output:1000: {count: 499, mean: 0.66, std: 0.08}
";
