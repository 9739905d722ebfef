//! YAML whose every value knows where it stands, and a reader that goes on after a mistake.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use storage::failure::Failure;
use storage::names::nearest;

use crate::error::Error;
use crate::sweep::error::Mistake;
use crate::sweep::matrix::{Axis, Place};

/// A value with its place.
pub(crate) type Node<'t> = MarkedYaml<'t>;

/// Line and column of a value, from 1.
pub(crate) fn place(node: &Node<'_>) -> Place {
    (node.span.start.line(), node.span.start.col() + 1)
}

/// The one document of `text`.
///
/// # Errors
/// Where it is no YAML.
pub(crate) fn parse(text: &str) -> Result<Node<'_>, Mistake> {
    let mut documents = MarkedYaml::load_from_str(text).map_err(|error| {
        let at = error.marker();
        Mistake { line: at.line(), column: at.col() + 1, problem: error.info().to_owned() }
    })?;
    match documents.len() {
        1 => Ok(documents.remove(0)),
        0 => Err(Mistake { line: 0, column: 0, problem: "the file is empty".into() }),
        count => Err(Mistake { line: 0, column: 0, problem: format!("it holds {count} documents, not one") }),
    }
}

/// The mistake that something named at a place turned out to be.
pub(crate) fn mistake((line, column): Place, error: &Error) -> Mistake {
    let mut problem = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !problem.contains(&more) {
            problem = format!("{problem}: {more}");
        }
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        problem = format!("{problem}; {hint}");
    }
    Mistake { line, column, problem }
}

/// Collects mistakes.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) mistakes: Vec<Mistake>,
}

impl Reader {
    pub(crate) fn wrong(&mut self, (line, column): Place, problem: impl Into<String>) {
        self.mistakes.push(Mistake { line, column, problem: problem.into() });
    }

    /// The fields of a mapping, which is `what`; those that are not `known` are mistakes.
    pub(crate) fn fields<'n, 't>(
        &mut self,
        node: &'n Node<'t>,
        what: &str,
        known: &[&'static str],
    ) -> Vec<(&'static str, &'n Node<'t>)> {
        let YamlData::Mapping(mapping) = &node.data else {
            self.wrong(place(node), format!("{what} has fields: {}", known.join(", ")));
            return Vec::new();
        };
        let mut fields: Vec<(&'static str, &Node<'t>)> = Vec::new();
        for (key, value) in mapping {
            let Some(name) = text(key) else {
                self.wrong(place(key), format!("the fields of {what} are {}", known.join(", ")));
                continue;
            };
            match known.iter().find(|known| **known == name) {
                Some(known) => fields.push((known, value)),
                None => {
                    let meant = nearest(&name, known.iter().copied());
                    let hint = match meant.first() {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!("there are {}", known.join(", ")),
                    };
                    self.wrong(place(key), format!("{what} has no field `{name}`; {hint}"));
                }
            }
        }
        fields
    }

    /// The entries of a list, which may not be empty; a single value is a list of one.
    pub(crate) fn list<'n, 't>(&mut self, node: &'n Node<'t>, field: &str) -> Vec<&'n Node<'t>> {
        match &node.data {
            YamlData::Sequence(entries) if entries.is_empty() => {
                self.wrong(place(node), format!("`{field}` is empty"));
                Vec::new()
            }
            YamlData::Sequence(entries) => entries.iter().collect(),
            YamlData::Value(Scalar::Null) => {
                self.wrong(place(node), format!("`{field}` is empty"));
                Vec::new()
            }
            _ => vec![node],
        }
    }

    /// The values of a list, each once, as `read` reads them.
    pub(crate) fn distinct<T: PartialEq>(
        &mut self,
        node: &Node<'_>,
        field: &str,
        mut read: impl FnMut(&mut Reader, &Node<'_>) -> Option<T>,
    ) -> Axis<T> {
        let mut values: Axis<T> = Vec::new();
        for entry in self.list(node, field) {
            let Some(value) = read(self, entry) else { continue };
            match values.iter().find(|(other, _)| *other == value) {
                Some((_, (line, _))) => {
                    self.wrong(place(entry), format!("this stands in `{field}` twice, first in line {line}"))
                }
                None => values.push((value, place(entry))),
            }
        }
        values
    }

    /// A word or a number, as text.
    pub(crate) fn text(&mut self, node: &Node<'_>, field: &str) -> Option<String> {
        let text = text(node);
        if text.is_none() {
            self.wrong(place(node), format!("`{field}` takes a word"));
        }
        text
    }

    /// A whole number from `least` up.
    pub(crate) fn whole(&mut self, node: &Node<'_>, field: &str, least: u64) -> Option<u64> {
        let number = match &node.data {
            YamlData::Value(Scalar::Integer(number)) => u64::try_from(*number).ok().filter(|number| *number >= least),
            _ => None,
        };
        if number.is_none() {
            self.wrong(place(node), format!("`{field}` takes a whole number from {least} up"));
        }
        number
    }
}

/// What a scalar says.
pub(crate) fn text(node: &Node<'_>) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
        _ => None,
    }
}
