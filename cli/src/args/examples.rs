//! Two command lines or more for every verb, at the end of its help.

use clap::Command;

use super::WIDTH;

/// Each verb, by the words that call it, with its examples; `ofa ` stands before each of them.
const EXAMPLES: [(&str, &[&str]); 65] = [
    (
        "",
        &[
            "search --target pixel3 --energy 2mJ --supernet mcu-cifar --out found",
            "eval --network found --data folder:img",
            "train my-net/recipe.yaml --data folder:img --out run",
        ],
    ),
    ("doctor", &["doctor", "doctor --format json"]),
    ("data", &["data check folder:img", "data check csv:list.csv --format json"]),
    (
        "data check",
        &["data check folder:img --sheet sheet.png", "data check csv:list.csv,label=breed --skip-broken 2%"],
    ),
    (
        "init",
        &[
            "init my-net --data folder:img --minutes 20",
            "init my-net --data parquet:digits --like fbnet-cifar --target note10",
        ],
    ),
    ("build", &["build my-net", "build my-net --data folder:elsewhere/img"]),
    ("space", &["space list", "space show mcu-cifar > mine.yaml"]),
    ("space list", &["space list", "space list --format json"]),
    ("space show", &["space show mcu-cifar", "space show mcu-cifar > mine.yaml"]),
    ("space count", &["space count mcu-cifar", "space count mine.yaml"]),
    ("space sample", &["space sample mcu-cifar -n 10 > subnets.jsonl", "space sample fbnet-cifar --seed 7"]),
    (
        "space cost",
        &[
            "space cost mcu-cifar --subnets subnets.jsonl",
            "space cost mcu-cifar --subnets found/subnet.json --format json",
        ],
    ),
    ("target", &["target list", "target show pixel3", "target range pixel3 --space mcu-cifar"]),
    ("target list", &["target list", "target list --format json"]),
    ("target show", &["target show pixel3", "target show stm32f746"]),
    (
        "target cost",
        &[
            "target cost pixel3 --space mcu-cifar --subnets subnets.jsonl",
            "target cost jetson-tx2 --space fbnet-cifar --subnets found/subnet.json",
        ],
    ),
    (
        "target energy",
        &[
            "target energy layers.csv --accelerator eyeriss --batch 16",
            "target energy --space mcu-cifar --subnets subnets.jsonl",
        ],
    ),
    (
        "target add",
        &["target add my-board.csv --name my-board", "target add my-board.parquet --name my-board --replace"],
    ),
    (
        "target measure",
        &[
            "target measure --space mcu-cifar --name here --networks 100",
            "target measure --space mcu-cifar --name gpu --device cuda:0",
        ],
    ),
    (
        "target import",
        &[
            "target import ofa-yaml note10_lookup_tables --name my-note10",
            "target import ort-profile operators --name my-phone",
        ],
    ),
    (
        "target fit",
        &[
            "target fit my-board --space mbv3-w1.0 --keep my-board-fitted",
            "target fit --networks measured.csv --space mcu-cifar --keep whole",
        ],
    ),
    (
        "target validate",
        &[
            "target validate my-board --networks measured.csv --space mcu-cifar",
            "target validate my-board --networks measured.csv --correct --keep new",
        ],
    ),
    ("target rm", &["target rm my-board", "target rm my-board --format json"]),
    ("target rename", &["target rename my-board old-board", "target rename here laptop"]),
    (
        "target range",
        &["target range pixel3 --space fbnet-cifar", "target range jetson-tx2 --space mcu-cifar --format json"],
    ),
    ("target diff", &["target diff pixel3 pixel1 --space mcu-cifar", "target diff pixel3 my-board --space mcu-cifar"]),
    ("target schema", &["target schema row", "target schema manifest"]),
    (
        "target template",
        &["target template mcu-cifar --out operators.csv", "target template mcu-cifar --models operators"],
    ),
    (
        "train",
        &[
            "train my-net/recipe.yaml --data folder:img --out run",
            "train recipe.yaml --data parquet:DIR --set phases.0.epochs=5 --out run",
            "train recipe.yaml --data parquet:DIR --out run --dry-run",
            "train recipe.yaml --data parquet:DIR --out run --nproc 2",
            "train recipe.yaml --data parquet:DIR --out run --resume",
        ],
    ),
    (
        "finetune",
        &[
            "finetune --network found --data folder:img --epochs 5 --out tuned",
            "finetune --network found --data folder:img --int8 --out for-int8",
        ],
    ),
    (
        "refine",
        &[
            "refine --network found -t pixel3 --energy 2mJ --data folder:img --out r",
            "refine --supernet mcu-cifar --subnet found/subnet.json --macs 5M --out r",
        ],
    ),
    (
        "eval",
        &[
            "eval --network found --data folder:img",
            "eval --supernet mcu-cifar --subnet found/subnet.json --data parquet:DIR",
        ],
    ),
    (
        "predictor",
        &[
            "predictor predict --predictor mcu-cifar --subnets subnets.jsonl",
            "predictor fit --pairs pairs.parquet --out predictor.safetensors",
        ],
    ),
    (
        "predictor collect",
        &[
            "predictor collect --supernet run --data folder:img --out pairs.parquet",
            "predictor collect --supernet mcu-cifar --data parquet:DIR -n 300 \\
      --near-front 5x40 --target pixel3 --out pairs.parquet",
        ],
    ),
    (
        "predictor fit",
        &[
            "predictor fit --pairs pairs.parquet --out predictor.safetensors",
            "predictor fit --pairs pairs.parquet --model additive --out p.safetensors",
        ],
    ),
    (
        "predictor propose",
        &[
            "predictor propose --pairs pairs.parquet --target pixel3 > next.jsonl",
            "predictor propose --pairs pairs.parquet --along macs -n 100",
        ],
    ),
    (
        "predictor eval",
        &[
            "predictor eval --predictor mcu-cifar --pairs pairs.parquet",
            "predictor eval --predictor predictor.safetensors --pairs pairs.parquet",
        ],
    ),
    (
        "predictor import",
        &[
            "predictor import acc_predictor.pth --space mbv3-w1.2 --out p.safetensors",
            "predictor import published.pth --space mbv3-w1.2 \\
      --resolutions 160,176,192,208,224 --out p.safetensors",
        ],
    ),
    (
        "predictor predict",
        &[
            "predictor predict --predictor mcu-cifar --subnets subnets.jsonl",
            "predictor predict --predictor p.safetensors --subnets found/subnet.json",
        ],
    ),
    (
        "calibration",
        &[
            "calibration make --supernet run --data folder:img",
            "calibration compare --supernet run --data folder:img -n 20",
        ],
    ),
    (
        "calibration make",
        &[
            "calibration make --supernet run --data folder:img",
            "calibration make --supernet run --data parquet:DIR --steps 200",
        ],
    ),
    (
        "calibration compare",
        &[
            "calibration compare --supernet mcu-cifar --data parquet:DIR",
            "calibration compare --supernet run --data folder:img -n 20",
        ],
    ),
    (
        "search",
        &[
            "search --target pixel3 --energy 2mJ --supernet mcu-cifar --out found",
            "search --target jetson-tx2 --objectives accuracy,latency",
            "search --target stm32f746 --supernet mcu-cifar --macs 5M",
            "search --targets pixel3,jetson-tx2,note10 --macs 60M",
        ],
    ),
    ("sweep", &["sweep plan phones.yaml", "sweep run phones.yaml --out phones", "sweep status phones"]),
    ("sweep plan", &["sweep plan phones.yaml", "sweep plan phones.yaml --out phones"]),
    (
        "sweep run",
        &[
            "sweep run phones.yaml --out phones",
            "sweep run phones.yaml --out phones --shard 2/4",
            "sweep run recipes.yaml --out recipes --data parquet:cifar10",
        ],
    ),
    ("sweep status", &["sweep status phones", "sweep status phones --format json"]),
    ("sweep merge", &["sweep merge phones part-1 part-2", "sweep merge phones"]),
    (
        "sweep script",
        &[
            "sweep script slurm phones.yaml --out phones --tasks 8 > phones.sh",
            "sweep script kubernetes phones.yaml --out /data/phones",
        ],
    ),
    (
        "report",
        &[
            "report phones",
            "report run found --out both.html",
            "report phones --as md",
            "report run phones --as mlflow --out mlruns",
        ],
    ),
    ("cite", &["cite --target pixel3", "cite --supernet mcu-cifar --as bibtex > ofa.bib"]),
    ("schema", &["schema", "schema recipe > recipe.schema.json"]),
    ("network", &["network from resnet8 --out resnet8", "network cost resnet8 --target stm32l4r5"]),
    ("network from", &["network from resnet8 --out resnet8", "network from mobilenet-v2 --classes 10 --out small"]),
    ("network show", &["network show found", "network show found/network.json --format json"]),
    ("network cost", &["network cost found --target pixel3", "network cost resnet8 --target stm32l4r5"]),
    ("network arena", &["network arena found", "network arena found --format json"]),
    ("network check", &["network check found", "network check found --format json"]),
    (
        "import",
        &[
            "import ofa-mbv3 ofa_mbv3_d234.pth --space mbv3-w1.0 --out imported",
            "import ofa-proxyless proxyless.pth --space proxyless-w1.3 --out imported",
        ],
    ),
    (
        "import ofa-mbv3",
        &[
            "import ofa-mbv3 ofa_mbv3_d234.pth --space mbv3-w1.0 --out imported",
            "import ofa-mbv3 weights.pth --space mine.yaml --image-size 64 --out mine",
        ],
    ),
    (
        "import ofa-proxyless",
        &[
            "import ofa-proxyless proxyless.pth --space proxyless-w1.3 --out imported",
            "import ofa-proxyless pets.pth --space mine.yaml --image-size 64 --out mine",
        ],
    ),
    (
        "export",
        &[
            "export --network found --to onnx --data folder:img --out found.onnx",
            "export --network found --to tflite --int8 --data folder:img --out a.tflite",
            "export --supernet mcu-cifar --subnet found/subnet.json --out again",
        ],
    ),
    (
        "verify",
        &["verify found.onnx --against found", "verify found.tflite --against found --data folder:img --images 0"],
    ),
    (
        "completions",
        &["completions bash > ~/.local/share/bash-completion/completions/ofa", "completions zsh > ~/.zfunc/_ofa"],
    ),
    ("man", &["man ~/.local/share/man/man1", "man man1"]),
];

/// The command with its examples at the end of each help.
pub(super) fn added(command: Command) -> Command {
    added_below(command, "")
}

fn added_below(mut command: Command, path: &str) -> Command {
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for verb in verbs {
        let below = format!("{path} {verb}").trim_start().to_owned();
        command = command.mut_subcommand(verb, |command| added_below(command, &below));
    }
    command = with_narrow_usage(command, path);
    let Some((_, examples)) = EXAMPLES.iter().find(|(verb, _)| *verb == path) else { return command };
    let lines: Vec<String> = examples.iter().map(|example| format!("  ofa {example}")).collect();
    let own = command.get_after_help().map_or(String::new(), |text| format!("{text}\n\n"));
    command.after_help(format!("{own}Examples:\n{}", lines.join("\n")))
}

/// Clap never breaks the line that says how a verb is used.
fn with_narrow_usage(command: Command, path: &str) -> Command {
    let usage = command.clone().bin_name(format!("ofa {path}")).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    if "Usage: ".len() + usage.chars().count() <= WIDTH {
        return command;
    }
    let (verb, options) = usage.split_once("[OPTIONS] ").unwrap_or((usage, ""));
    command.override_usage(format!("{verb}[OPTIONS]\n           {options}"))
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;
    use crate::args::{Cli, definition};

    /// Each verb by the words that call it, groups of verbs among them; not the `help` that clap adds.
    fn verbs(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
        found.push((path.to_owned(), command.clone()));
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            verbs(verb, format!("{path} {}", verb.get_name()).trim(), found);
        }
    }

    fn all() -> Vec<(String, Command)> {
        let mut definition = definition();
        definition.build();
        let mut found = Vec::new();
        verbs(&definition, "", &mut found);
        found
    }

    #[test]
    fn every_verb_has_two_examples_and_every_example_a_verb() {
        let known: Vec<String> = all().into_iter().map(|(path, _)| path).collect();
        let of = |path: &str| EXAMPLES.iter().filter(|(verb, _)| *verb == path).collect::<Vec<_>>();
        for path in &known {
            let found = of(path);
            assert_eq!(found.len(), 1, "{path:?}");
            assert!(found[0].1.len() >= 2, "{path:?} has fewer than two examples");
            let of_it = |example: &&str| example.starts_with(path.as_str());
            assert!(found[0].1.iter().all(of_it), "{path:?} has an example of another verb");
        }
        for (verb, _) in EXAMPLES {
            assert!(known.iter().any(|path| path == verb), "{verb:?} is no verb");
        }
    }

    #[test]
    fn every_example_can_be_given() {
        for (verb, examples) in EXAMPLES {
            for example in examples {
                let words = example.split_whitespace().filter(|word| *word != "\\").take_while(|word| *word != ">");
                let given = Cli::read(std::iter::once("ofa").chain(words));
                assert!(given.is_ok(), "{verb}: ofa {example}: {}", given.unwrap_err());
            }
        }
    }

    #[test]
    fn help_keeps_to_its_width_and_ends_with_global_options_and_whole_examples() {
        for (path, mut command) in all() {
            for help in [command.render_help().to_string(), command.render_long_help().to_string()] {
                for line in help.lines() {
                    assert!(line.chars().count() <= WIDTH, "{path:?} is wider than {WIDTH}: {line}");
                }
                let (_, examples) = EXAMPLES.iter().find(|(verb, _)| *verb == path).unwrap();
                let (options, shown) = help.rsplit_once("\nExamples:\n").expect("examples come last");
                let lines: Vec<String> = examples.iter().map(|example| format!("  ofa {example}")).collect();
                assert_eq!(shown.trim_end(), lines.join("\n"), "{path:?}");
                let (own, global) = options.split_once("\nGlobal options:\n").expect("global options are apart");
                for option in ["--format", "-q, --quiet", "-v, --verbose", "-h, --help"] {
                    let defines = |part: &str| part.lines().any(|line| line.trim_start().starts_with(option));
                    assert!(defines(global) && !defines(own), "{path:?}: {option}");
                }
                assert!(!global.contains("\nOptions:\n"), "{path:?}: options come after the global ones");
            }
        }
    }

    /// A placeholder is a word: `<N>` and `<F>` say nothing.
    #[test]
    fn placeholders_say_what_they_are() {
        fn visit(command: &Command) {
            for option in command.get_arguments() {
                for name in option.get_value_names().into_iter().flatten() {
                    let is_letter = name.split(['.', ',']).next().is_none_or(|word| word.chars().count() < 2);
                    let is_rgb = name.as_str() == "R,G,B";
                    assert!(!is_letter || is_rgb, "{} {}: <{name}>", command.get_name(), option.get_id());
                }
            }
            command.get_subcommands().for_each(visit);
        }
        let mut command = Cli::command();
        command.build();
        visit(&command);
    }
}
