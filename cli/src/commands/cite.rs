//! `ofa cite`.

use anyhow::Result;
use experiments::cite::{Citation, Work, of_bundle, of_target};
use experiments::folders::bundle::Bundle;
use experiments::target::list as targets;

use crate::args::{CiteArgs, CiteForm};
use crate::output::Output;

pub(crate) fn run(args: &CiteArgs, output: &mut Output) -> Result<()> {
    let citations = if args.target.is_empty() && args.supernet.is_empty() { all(output)? } else { of(args)? };
    if args.form == CiteForm::Bibtex {
        let mut papers: Vec<Work> = Vec::new();
        for paper in citations.iter().flat_map(|citation| &citation.papers) {
            if !papers.contains(paper) {
                papers.push(*paper);
            }
        }
        return papers.iter().try_for_each(|paper| output.line(paper.bibtex()));
    }
    for citation in &citations {
        match output.is_json() {
            true => output.json(&serde_json::to_value(citation)?)?,
            false => output.rows(&rows(citation))?,
        }
    }
    Ok(())
}

fn of(args: &CiteArgs) -> Result<Vec<Citation>> {
    let targets = args.target.iter().map(|name| Ok(of_target(&targets::find(name)?)));
    targets.chain(args.supernet.iter().map(|name| Ok(of_bundle(name)?))).collect()
}

/// Everything that can be named; a target of the user's own that cannot be read is said.
fn all(output: &Output) -> Result<Vec<Citation>> {
    let mut citations = Vec::new();
    for entry in targets::list() {
        match entry.state {
            Ok(target) => citations.push(of_target(&target)),
            Err(error) => output.warn(format!("target {} cannot be read: {error}", entry.name)),
        }
    }
    for name in Bundle::names() {
        citations.push(of_bundle(&name)?);
    }
    Ok(citations)
}

fn rows(citation: &Citation) -> Vec<(String, String)> {
    let mut rows = vec![(citation.kind.to_owned(), citation.name.clone())];
    let mut add = |label: &str, words: Option<String>| rows.extend(words.map(|words| (format!("  {label}"), words)));
    let is_target = citation.kind == "target";
    add(if is_target { "device" } else { "images" }, citation.of.clone());
    for answer in &citation.numbers {
        let how = format!("{} [{}, scope {}, grade {}]", answer.explanation, answer.method, answer.scope, answer.grade);
        add(answer.quantity, Some(how));
    }
    let mut by: Vec<&String> = citation.numbers.iter().filter_map(|answer| answer.measured_by.as_ref()).collect();
    by.dedup();
    by.into_iter().for_each(|words| add("measured by", Some(words.clone())));
    add(if is_target { "source" } else { "data" }, citation.source.clone());
    add("commit", citation.commit.clone());
    add("licence", citation.licence.clone());
    citation.papers.iter().for_each(|paper| add("paper", Some(paper.words())));
    rows
}
