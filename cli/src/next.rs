//! The command that usually comes next, in the words of the one before it, so that it can be copied.
//!
//! What nobody can know yet is a word in capitals that can be given all the same: `folder:FOLDER`.

use std::path::Path;

use network::units::Quantity;

/// The words of a command line after `ofa`.
pub(crate) type Words = Vec<String>;

/// Images where none were named.
const IMAGES: &str = "folder:FOLDER";
/// A device that costs of most networks are known of.
const TARGET: &str = "pixel3";
/// Where results go that nobody has named a place for.
const FOUND: &str = "found";

fn words<const N: usize>(words: [&str; N]) -> Words {
    words.map(str::to_owned).to_vec()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn images(data: Option<&str>) -> &str {
    data.unwrap_or(IMAGES)
}

/// A trained supernet has no predictor yet: it is fitted to measured subnets.
pub(crate) fn collect(bundle: &str, data: Option<&str>, pairs: &Path) -> Words {
    words(["predictor", "collect", "--supernet", bundle, "--data", images(data), "--out", &shown(pairs)])
}

/// A predictor beside the measured subnets.
pub(crate) fn fit(pairs: &Path) -> Words {
    let predictor = pairs.with_file_name("predictor.safetensors");
    words(["predictor", "fit", "--pairs", &shown(pairs), "--out", &shown(&predictor)])
}

/// What can be searched in: the words that name it.
pub(crate) enum SearchIn<'a> {
    Bundle(&'a str),
    Predictor { file: &'a str, space: Option<&'a str> },
    DefaultOf { space: Option<&'a str> },
}

/// The front of a device shows which budgets matter.
pub(crate) fn front(of: &SearchIn<'_>, target: Option<&str>, along: Quantity) -> Words {
    let mut line = words(["search", "--target", target.unwrap_or(TARGET)]);
    line.extend(match of {
        SearchIn::Bundle(bundle) => words(["--supernet", bundle]),
        SearchIn::Predictor { file, space: Some(space) } => words(["--space", space, "--predictor", file]),
        SearchIn::Predictor { file, space: None } => words(["--predictor", file]),
        SearchIn::DefaultOf { space: Some(space) } => words(["--space", space]),
        SearchIn::DefaultOf { space: None } => Words::new(),
    });
    line.extend(words(["--objectives", &format!("accuracy,{}", along.name())]));
    line
}

/// What networks cost on a device.
pub(crate) fn range(target: &str, space: &str) -> Words {
    words(["target", "range", target, "--space", space])
}

/// The same search again, written to a folder that is not there yet. A bundle without images of its own is calibrated
/// with others.
pub(crate) fn again_written(
    line: impl Iterator<Item = String>,
    has_images: bool,
    is_there: impl Fn(&str) -> bool,
) -> Words {
    let mut again: Words = line.filter(|word| !is_verbose(word)).collect();
    let names = std::iter::once(FOUND.to_owned()).chain((2..).map(|number| format!("{FOUND}-{number}")));
    let free = names.take(1000).find(|name| !is_there(name));
    again.extend(words(["--out", &free.unwrap_or_else(|| FOUND.to_owned())]));
    if !has_images {
        again.extend(words(["--data", IMAGES]));
    }
    again
}

fn is_verbose(word: &str) -> bool {
    word == "--verbose" || word.strip_prefix("-v").is_some_and(|rest| rest.chars().all(|letter| letter == 'v'))
}

/// From a front to one of its subnets: without the objectives, within a budget.
pub(crate) fn within(line: impl Iterator<Item = String>, limited: Quantity, limit: f64) -> Words {
    let mut words = Words::new();
    let mut line = line.skip_while(|word| word.is_empty());
    while let Some(word) = line.next() {
        match word.as_str() {
            "--objectives" | "--algorithm" => {
                line.next();
            }
            word if word.starts_with("--objectives=") || word.starts_with("--algorithm=") => {}
            _ => words.push(word),
        }
    }
    // As it is printed, and one word.
    let limit: String = limited.format(limit).split_whitespace().collect();
    words.extend([format!("--{}", limited.name()), limit]);
    words
}

/// A network as a file that others run.
pub(crate) fn export(network: &Path, data: Option<&str>, int8: bool) -> Words {
    let (form, end) = if int8 { ("tflite", "tflite") } else { ("onnx", "onnx") };
    let folder = shown(network);
    let file = format!("{}.{end}", folder.trim_end_matches('/'));
    let mut line = words(["export", "--network", &folder, "--to", form]);
    if int8 {
        line.extend(words(["--int8", "--data", images(data)]));
    } else if let Some(data) = data {
        line.extend(words(["--data", data]));
    }
    line.extend(words(["--out", &file]));
    line
}

/// A sweep whose file is right.
pub(crate) fn sweep_run(sweep: &Path, out: Option<&Path>) -> Words {
    let folder = out.map_or_else(|| sweep.with_extension(""), Path::to_path_buf);
    words(["sweep", "run", &shown(sweep), "--out", &shown(&folder)])
}

/// Images that are fine.
pub(crate) fn init(data: &str) -> Words {
    words(["init", "my-net", "--data", data])
}

/// The files of a build are written.
pub(crate) fn build(folder: &Path) -> Words {
    words(["build", &shown(folder)])
}

/// A sweep that is computed.
pub(crate) fn report(folder: &Path) -> Words {
    words(["report", &shown(folder)])
}

/// How good a network is.
pub(crate) fn eval(network: &Path, data: Option<&str>) -> Words {
    words(["eval", "--network", &shown(network), "--data", images(data)])
}

/// Whether a file computes what its network does.
pub(crate) fn verify(file: &Path, against: &Path, data: Option<&str>) -> Words {
    let mut line = words(["verify", &shown(file), "--against", &shown(against)]);
    line.extend(data.into_iter().flat_map(|data| words(["--data", data])));
    line
}

/// Random weights are trained.
pub(crate) fn finetune(network: &Path) -> Words {
    let run = format!("{}-trained", shown(network).trim_end_matches('/'));
    words(["finetune", "--network", &shown(network), "--data", IMAGES, "--out", &run])
}

/// A table that was filled in.
pub(crate) fn add(table: &Path) -> Words {
    words(["target", "add", &shown(table), "--name", "my-board"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;

    fn check(words: &Words, expected: &str) {
        let read = Cli::read(std::iter::once("ofa".to_owned()).chain(words.iter().cloned()));
        assert!(read.is_ok(), "{words:?}: {}", read.unwrap_err());
        assert_eq!(words.join(" "), expected);
    }

    fn line(text: &str) -> impl Iterator<Item = String> {
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn every_next_command_can_be_given() {
        let pairs = Path::new("a run/bundle/accuracy.parquet");
        let expected = "predictor collect --supernet a run --data folder:img --out a run/bundle/accuracy.parquet";
        check(&collect("a run", Some("folder:img"), pairs), expected);
        check(&collect("b", None, Path::new("p")), "predictor collect --supernet b --data folder:FOLDER --out p");
        check(&fit(Path::new("b/p.parquet")), "predictor fit --pairs b/p.parquet --out b/predictor.safetensors");
        let bundle = front(&SearchIn::Bundle("run"), None, Quantity::Latency);
        check(&bundle, "search --target pixel3 --supernet run --objectives accuracy,latency");
        let file = SearchIn::Predictor { file: "p.safetensors", space: Some("mbv3-w1.2") };
        let expected = "search --target note10 --space mbv3-w1.2 --predictor p.safetensors --objectives accuracy,macs";
        check(&front(&file, Some("note10"), Quantity::Macs), expected);
        let own = front(&SearchIn::DefaultOf { space: Some("mcu-cifar") }, Some("here"), Quantity::Energy);
        check(&own, "search --target here --space mcu-cifar --objectives accuracy,energy");
        let own = front(&SearchIn::DefaultOf { space: None }, Some("here"), Quantity::Energy);
        check(&own, "search --target here --objectives accuracy,energy");
        check(&range("here", "mine.yaml"), "target range here --space mine.yaml");
        let found = Path::new("found/");
        check(&export(found, None, false), "export --network found/ --to onnx --out found.onnx");
        let expected = "export --network found --to onnx --data cifar:C --out found.onnx";
        check(&export(Path::new("found"), Some("cifar:C"), false), expected);
        let expected = "export --network found/ --to tflite --int8 --data folder:FOLDER --out found.tflite";
        check(&export(found, None, true), expected);
        check(&eval(found, Some("synthetic")), "eval --network found/ --data synthetic");
        let expected = "verify a.onnx --against found/ --data folder:img";
        check(&verify(Path::new("a.onnx"), found, Some("folder:img")), expected);
        let expected = "finetune --network resnet8 --data folder:FOLDER --out resnet8-trained";
        check(&finetune(Path::new("resnet8")), expected);
        check(&sweep_run(Path::new("phones.yaml"), None), "sweep run phones.yaml --out phones");
        check(&sweep_run(Path::new("p.yaml"), Some(Path::new("a b"))), "sweep run p.yaml --out a b");
        check(&report(Path::new("phones")), "report phones");
        check(&init("csv:list.csv,label=breed"), "init my-net --data csv:list.csv,label=breed");
        check(&build(Path::new("my-net")), "build my-net");
        check(&add(Path::new("o.csv")), "target add o.csv --name my-board");
    }

    #[test]
    fn a_search_is_asked_again_with_a_place_for_its_files() {
        let again = |text: &str, has_images, there: &[&str]| {
            again_written(line(text), has_images, |name| there.contains(&name))
        };
        check(&again("search -t pixel3 --energy 2mJ", true, &[]), "search -t pixel3 --energy 2mJ --out found");
        let expected = "search --macs 3M --out found-3 --data folder:FOLDER";
        check(&again("search -v --macs 3M -vv --verbose", false, &["found", "found-2"]), expected);
    }

    #[test]
    fn a_front_is_followed_by_a_search_within_one_of_its_costs() {
        let front = "search --target pixel3 --objectives accuracy,latency --seed 3 --algorithm=nsga2";
        check(&within(line(front), Quantity::Latency, 0.0203), "search --target pixel3 --seed 3 --latency 20.3ms");
        let small = within(line("search --objectives=accuracy,latency -t pixel3"), Quantity::Latency, 665e-6);
        check(&small, "search -t pixel3 --latency 665µs");
        check(&within(line("search"), Quantity::Flash, 204_800.0), "search --flash 200KiB");
        check(&within(line("search"), Quantity::Macs, 5.0e6), "search --macs 5M");
    }
}
