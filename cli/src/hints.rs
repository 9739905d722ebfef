//! The words of the command line for what libraries name in brackets: `‹device›` is `--device`.

use storage::failure::Setting;

/// What a [`Setting`] is called here.
const WORDS: [(&str, &str); 55] = [
    ("accelerator", "--accelerator"),
    ("algorithm", "--algorithm"),
    ("build", "ofa build"),
    ("calibration make", "ofa calibration make"),
    ("confidence", "--confidence"),
    ("data", "--data"),
    ("data check", "ofa data check"),
    ("device", "--device"),
    ("doctor", "ofa doctor"),
    ("energy", "--energy"),
    ("evaluations", "--evaluations"),
    ("extrapolate", "--extrapolate"),
    ("flash", "--flash"),
    ("from", "--from"),
    ("import ofa-mbv3", "ofa import ofa-mbv3"),
    ("import ofa-proxyless", "ofa import ofa-proxyless"),
    ("init", "ofa init"),
    ("initial-reduction", "--initial-reduction"),
    ("iterations", "--iterations"),
    ("keep", "--keep"),
    ("keep-float", "--keep-float"),
    ("latency", "--latency"),
    ("macs", "--macs"),
    ("measured", "--measured"),
    ("model", "--model"),
    ("name", "--name"),
    ("near-front", "--near-front"),
    ("network show", "ofa network show"),
    ("networks", "--networks"),
    ("out", "--out"),
    ("params", "--params"),
    ("part", "--part"),
    ("predictor collect", "ofa predictor collect"),
    ("predictor fit", "ofa predictor fit"),
    ("predictor import", "ofa predictor import"),
    ("replace", "--replace"),
    ("resolutions", "--resolutions"),
    ("resume", "--resume"),
    ("search", "ofa search"),
    ("set", "--set"),
    ("skip-broken", "--skip-broken"),
    ("space", "--space"),
    ("space list", "ofa space list"),
    ("start", "--start"),
    ("subnet", "--subnet"),
    ("supernet", "--supernet"),
    ("sweep run", "ofa sweep run"),
    ("target", "--target"),
    ("target cost", "ofa target cost"),
    ("target import", "ofa target import"),
    ("target list", "ofa target list"),
    ("target show", "ofa target show"),
    ("target template", "ofa target template"),
    ("train", "ofa train"),
    ("transfer", "--transfer"),
];

/// `text` with the words of the command line in place of those in brackets.
pub(crate) fn worded(text: &str) -> String {
    let mut worded = text.to_owned();
    for (setting, word) in WORDS {
        worded = worded.replace(&Setting(setting).to_string(), word);
    }
    worded
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use clap::error::ErrorKind;
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Cli;

    #[test]
    fn every_setting_that_a_library_names_has_its_word() {
        let mut named = 0;
        for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")) {
            let text = fs::read_to_string(&file).unwrap();
            for rest in text.split("Setting(\"").skip(1) {
                let setting = rest.split('"').next().unwrap();
                let known = WORDS.iter().any(|(known, _)| *known == setting);
                assert!(known, "{}: no word for {setting:?}", file.display());
                named += 1;
            }
        }
        assert!(named > 20, "only {named} were found");
    }

    /// Long options of all verbs, and the verbs with theirs: `target list`.
    fn known() -> (BTreeSet<String>, BTreeSet<String>) {
        fn visit(command: &clap::Command, name: &str, known: &mut (BTreeSet<String>, BTreeSet<String>)) {
            let options = command.get_arguments().flat_map(|option| option.get_long_and_visible_aliases());
            known.0.extend(options.flatten().map(str::to_owned));
            for verb in command.get_subcommands() {
                let name = format!("{name} {}", verb.get_name()).trim().to_owned();
                visit(verb, &name, known);
                known.1.insert(name);
            }
        }
        let mut known = (BTreeSet::new(), BTreeSet::new());
        let mut command = Cli::command();
        command.build();
        visit(&command, "", &mut known);
        known.0.extend(["help", "version"].map(str::to_owned));
        known
    }

    /// The options of a text: words of small letters and digits after two dashes.
    fn options(text: &str) -> impl Iterator<Item = &str> {
        let starts = text.match_indices("--").filter(|(at, _)| {
            let before = text[..*at].chars().next_back();
            before.is_none_or(|before| !before.is_alphanumeric() && before != '-')
        });
        starts.filter_map(|(at, _)| {
            let rest = &text[at + 2..];
            let end = rest
                .find(|letter: char| !letter.is_ascii_lowercase() && !letter.is_ascii_digit() && letter != '-')
                .unwrap_or(rest.len());
            (end > 1).then(|| rest[..end].trim_end_matches('-'))
        })
    }

    #[test]
    fn every_word_is_an_option_or_a_verb_that_there_is() {
        let (options, verbs) = known();
        for (setting, word) in WORDS {
            let is_known = match word.strip_prefix("--") {
                Some(option) => options.contains(option),
                None => verbs.contains(word.strip_prefix("ofa ").unwrap_or(word)),
            };
            assert!(is_known, "{setting} is {word:?}, which there is not");
        }
    }

    #[test]
    fn no_message_names_an_option_that_there_is_not() {
        let (known, _) = known();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut named = 0;
        for file in sources(&root).into_iter().chain(sources_of(vec![root.join("cli/src")])) {
            let text = fs::read_to_string(&file).unwrap();
            // Tests make up options, comments talk of other programs.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            // A line about another program has that one's.
            let is_ours = |line: &&str| !line.trim_start().starts_with("//") && !line.contains("`cargo ");
            for line in code.lines().filter(is_ours).filter(|line| line.contains('"')) {
                for option in options(line) {
                    assert!(known.contains(option), "{}: --{option} is no option: {line}", file.display());
                    named += 1;
                }
            }
        }
        assert!(named > 30, "only {named} were found");
    }

    #[test]
    fn every_command_of_the_documentation_can_be_given() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let documents = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let documents = documents.filter(|path| path.extension().is_some_and(|end| end == "md"));
        let mut given = 0;
        for path in documents.chain([root.join("README.md")]) {
            for line in fs::read_to_string(&path).unwrap().lines() {
                let Some(command) = line.trim().strip_prefix("$ scripts/ofa ") else { continue };
                let command = command.split("  #").next().unwrap_or_default();
                let words = command.split_whitespace().take_while(|word| !["|", ">", "&&", ";"].contains(word));
                let words = std::iter::once("ofa").chain(words);
                if let Err(error) = Cli::try_parse_from(words) {
                    let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
                    assert!(is_answer, "{}: {line}: {error}", path.display());
                }
                given += 1;
            }
        }
        assert!(given > 10, "only {given} were found");
    }

    /// The sources of the crates beside this one.
    fn sources(root: &Path) -> Vec<PathBuf> {
        let crates = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path().join("src"));
        sources_of(crates.filter(|source| source.is_dir() && !source.starts_with(root.join("cli"))).collect())
    }

    fn sources_of(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    files.push(path);
                }
            }
        }
        files
    }

    #[test]
    fn words_stand_in_place_of_brackets_and_other_brackets_stay() {
        assert_eq!(
            worded("add ‹resume›, or see `‹target list›`: {\"ks\":[3]}, [data].csv"),
            "add --resume, or see `ofa target list`: {\"ks\":[3]}, [data].csv"
        );
    }
}
