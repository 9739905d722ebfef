//! The words of the command line for what libraries name in brackets: `‹device›` is `--device`.

use storage::failure::Setting;

/// What a [`Setting`] is called here.
const WORDS: [(&str, &str); 41] = [
    ("accelerator", "--accelerator"),
    ("algorithm", "--algorithm"),
    ("calibration make", "ofa calibration make"),
    ("confidence", "--confidence"),
    ("data", "--data"),
    ("device", "--device"),
    ("doctor", "ofa doctor"),
    ("energy", "--energy"),
    ("evaluations", "--evaluations"),
    ("extrapolate", "--extrapolate"),
    ("flash", "--flash"),
    ("from", "--from"),
    ("keep", "--keep"),
    ("latency", "--latency"),
    ("macs", "--macs"),
    ("model", "--model"),
    ("name", "--name"),
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
    ("space", "--space"),
    ("space list", "ofa space list"),
    ("start", "--start"),
    ("supernet", "--supernet"),
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
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

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

    /// The sources of the crates beside this one.
    fn sources(root: &Path) -> Vec<PathBuf> {
        let crates = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path().join("src"));
        let mut folders: Vec<PathBuf> =
            crates.filter(|source| source.is_dir() && !source.starts_with(root.join("cli"))).collect();
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
