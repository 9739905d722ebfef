//! Who measured, made or published what a number stands on, under which licence, and how far it is to be trusted: of
//! devices by what their targets state, of bundles by their model cards.
//!
//! Nothing is said here that a target or a card does not say, but for the papers' identifiers, which [`WORKS`] holds once
//! for all that name a work.

use std::fs;

use hw_targets::target::Target;
use network::units::Measured;
use serde::Serialize;

use crate::error::Result;
use crate::folders::bundle::Bundle;
use crate::folders::names;

/// A publication that targets and bundles name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Work {
    /// What it is called, and how others name it.
    pub title: &'static str,
    /// The first author, and the others' number: `Li et al.`.
    pub authors: &'static str,
    /// Where it appeared.
    pub venue: &'static str,
    /// When.
    pub year: u32,
    /// Its number on arXiv, if that is known here.
    pub arxiv: Option<&'static str>,
}

const fn work(
    title: &'static str,
    authors: &'static str,
    venue: &'static str,
    year: u32,
    arxiv: Option<&'static str>,
) -> Work {
    Work { title, authors, venue, year, arxiv }
}

/// The publications behind devices, search spaces and predictors that ship.
const WORKS: [Work; 7] = [
    work("HW-NAS-Bench", "Li et al.", "ICLR", 2021, Some("2103.10584")),
    work("Once-for-All", "Cai et al.", "ICLR", 2020, Some("1908.09791")),
    work("ProxylessNAS", "Cai et al.", "ICLR", 2019, Some("1812.00332")),
    work("HELP", "Lee et al.", "NeurIPS", 2021, None),
    work("MCUNet", "Lin et al.", "NeurIPS", 2020, Some("2007.10319")),
    work("MLPerf Tiny", "Banbury et al.", "", 2021, Some("2106.07597")),
    work("FBNet", "", "", 0, Some("1812.03443")),
];

impl Work {
    /// The works that `words` name, or whose number they give.
    fn named_in(words: &str) -> Vec<Work> {
        let lower = words.to_lowercase();
        let is_named = |work: &Work| {
            // Upper case matters: help is no paper.
            let by_title = work.title.len() > 4 && lower.contains(&work.title.to_lowercase());
            by_title
                || words.contains(&format!("{} (", work.title))
                || work.arxiv.is_some_and(|number| words.contains(number))
        };
        WORKS.into_iter().filter(is_named).collect()
    }

    /// `HW-NAS-Bench (Li et al., ICLR 2021), arXiv:2103.10584`.
    pub fn words(&self) -> String {
        let place = [self.authors.to_owned(), format!("{} {}", self.venue, self.dated()).trim().to_owned()];
        let place: Vec<String> = place.into_iter().filter(|part| !part.is_empty()).collect();
        let place = if place.is_empty() { String::new() } else { format!(" ({})", place.join(", ")) };
        let number = self.arxiv.map_or(String::new(), |number| format!(", arXiv:{number}"));
        format!("{}{place}{number}", self.title)
    }

    fn dated(&self) -> String {
        if self.year == 0 { String::new() } else { self.year.to_string() }
    }

    /// An entry of BibTeX with what is known.
    pub fn bibtex(&self) -> String {
        let key: String = self.title.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        let author = self.authors.replace(" et al.", " and others");
        let fields = [
            ("title", format!("{{{}}}", self.title)),
            ("author", author),
            ("year", self.dated()),
            ("note", self.venue.to_owned()),
            ("eprint", self.arxiv.unwrap_or_default().to_owned()),
            ("archiveprefix", self.arxiv.map_or(String::new(), |_| "arXiv".to_owned())),
        ];
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let lines: Vec<String> = fields.map(|(name, value)| format!("  {name} = {{{value}}},\n")).collect();
        format!("@misc{{{key},\n{}}}", lines.concat())
    }
}

/// How one quantity of a device is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// `latency` or `energy`.
    pub quantity: &'static str,
    /// How it came about.
    pub method: &'static str,
    /// What it includes.
    pub scope: &'static str,
    /// How far to trust it.
    pub grade: &'static str,
    /// The sentence that is printed with every number.
    pub explanation: String,
    /// Who measured it.
    pub measured_by: Option<String>,
}

/// Where numbers of one device or bundle come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Citation {
    /// `target` or `bundle`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The device in words, or the images that a bundle was trained on.
    pub of: Option<String>,
    /// Which numbers it gives, and how they are known.
    pub numbers: Vec<Answer>,
    /// Where the measurements are published.
    pub source: Option<String>,
    /// Revision of that.
    pub commit: Option<String>,
    /// Its licence, as stated.
    pub licence: Option<String>,
    /// Publications that these name.
    pub papers: Vec<Work>,
}

/// Of a device.
pub fn of_target(target: &Target) -> Citation {
    let manifest = target.manifest();
    let answer = |quantity: Measured| {
        let (method, scope, grade) = target.provenance(quantity)?;
        Some(Answer {
            quantity: quantity.name(),
            method: method.name(),
            scope: scope.name(),
            grade: grade.name(),
            explanation: target.explanation(quantity).unwrap_or_default().to_owned(),
            measured_by: manifest.measured_by(quantity).map(str::to_owned),
        })
    };
    let numbers: Vec<Answer> = Measured::ALL.into_iter().filter_map(answer).collect();
    let by = numbers.iter().filter_map(|answer| answer.measured_by.clone());
    let words: Vec<String> = by.chain(manifest.source.clone()).collect();
    Citation {
        kind: "target",
        name: target.name().to_owned(),
        of: manifest.device.clone(),
        source: manifest.source.clone(),
        commit: manifest.commit.clone(),
        licence: manifest.licence.clone(),
        papers: Work::named_in(&words.join("; ")),
        numbers,
    }
}

/// Of a bundle: what its model card says of images and methods.
///
/// # Errors
/// An unknown bundle.
pub fn of_bundle(name: &str) -> Result<Citation> {
    let bundle = Bundle::find(name)?;
    let card = fs::read_to_string(bundle.folder().join(names::MODEL_CARD)).unwrap_or_default();
    // The card's tables of results name what they are compared with, too.
    let made = card.split("\n## What it is worth").next().unwrap_or_default();
    let data = made.split_once("\n## Data\n").map(|(_, section)| section.trim_start());
    let paragraph = data.and_then(|data| data.split("\n\n").next()).map(|text| text.trim().replace('\n', " "));
    let space = bundle.space()?;
    Ok(Citation {
        kind: "bundle",
        name: bundle.name(),
        of: bundle.data_set(),
        numbers: Vec::new(),
        source: paragraph,
        commit: None,
        licence: None,
        papers: Work::named_in(&format!("{made} {}", space.id())),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::target::list;

    /// What stands here is what documents and targets say.
    #[test]
    fn works_are_as_documents_and_targets_state_them() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut said = String::new();
        for folder in ["", "docs", "hw-targets/targets", "hw-targets/src/import", "search/spaces", "network/src"] {
            for entry in fs::read_dir(root.join(folder)).unwrap() {
                said += &fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            }
        }
        for work in WORKS {
            assert!(said.to_lowercase().contains(&work.title.to_lowercase()), "{work:?}");
            assert!(work.arxiv.is_none_or(|number| said.contains(number)), "{work:?}");
            let place = format!("{}, {} {}", work.authors, work.venue, work.year);
            assert!(work.venue.is_empty() || said.contains(&place), "{work:?}");
        }
    }

    #[test]
    fn every_shipped_target_has_a_source_and_a_licence() {
        for entry in list::list() {
            let citation = of_target(&entry.state.unwrap());
            assert!(citation.source.is_some() && citation.licence.is_some(), "{citation:?}");
        }
        let pixel = of_target(&list::find("pixel3").unwrap());
        assert_eq!(pixel.papers.iter().map(|work| work.title).collect::<Vec<_>>(), ["HW-NAS-Bench", "FBNet"]);
        assert_eq!(pixel.papers[0].words(), "HW-NAS-Bench (Li et al., ICLR 2021), arXiv:2103.10584");
        let entry = pixel.papers[0].bibtex();
        assert!(
            entry.starts_with("@misc{hwnasbench,\n  title = {{HW-NAS-Bench}},\n  author = {Li and others},"),
            "{entry}"
        );
        let bundle = of_bundle("fbnet-cifar").unwrap();
        assert!(bundle.source.unwrap().starts_with("CIFAR-10 (Krizhevsky 2009)"));
        assert!(bundle.papers.iter().any(|work| work.title == "FBNet"));
        assert!(Work::named_in("no help; help (us)").is_empty());
    }
}
