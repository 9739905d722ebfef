//! A network with every shape known and no search space: named operators and what each of them reads.
//!
//! A subnet of a space is one way to come by a [`NetworkShape`]; a file ([`crate::shape_file`]), a published network
//! ([`crate::published`]) and a pruned one are others. Past [`NetworkShape::new`] everything meets: code has nothing left
//! to check.

use std::collections::{BTreeMap, HashMap, HashSet};

use storage::failure::{Failure, FailureKind};
use storage::names::nearest;

use crate::layers::{Format, Layer, Read, append};
use crate::op::{Map, Op, Workload};
use crate::op_check::{MOST_MACS, check_op, is_map};
use crate::units::{Macs, Params};

/// The word for the image among the names that an operator reads.
pub const IMAGE: &str = "image";

/// Where an operator's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The image.
    Image,
    /// The output of an earlier operator.
    Node(usize),
}

/// Widths and densities of one layer's numbers, where they are not the ordinary ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerFormat {
    /// Of its weights.
    pub weights: Format,
    /// Of what it reads.
    pub inputs: Format,
}

/// One operator of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name, which its weights begin with.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// What it reads, one for each input.
    pub reads: Vec<Source>,
    /// By the part of the operator; what is not there is [`Format::DENSE`].
    pub formats: BTreeMap<String, LayerFormat>,
}

/// An operator as somebody wrote it down: reads by name, in any order.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Names of what it reads ([`IMAGE`] for the image); `None` for what stands before it.
    pub reads: Option<Vec<String>>,
    /// By the part of the operator.
    pub formats: BTreeMap<String, LayerFormat>,
}

impl Draft {
    /// An operator that reads what stands before it.
    pub fn new(name: impl Into<String>, op: Op) -> Self {
        Self { name: name.into(), op, reads: None, formats: BTreeMap::new() }
    }

    /// This operator reading the layers of these names.
    pub fn reading(self, names: &[&str]) -> Self {
        Self { reads: Some(names.iter().map(|name| (*name).to_owned()).collect()), ..self }
    }
}

/// A network: operators in an order in which they can run, each reading only what stands before it.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkShape {
    input: Map,
    nodes: Vec<Node>,
    batch_norm_eps: f64,
}

/// A layer of a network with its own name and the places of what it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedLayer {
    /// Operator and part: `blocks.3.expand.conv`. Its weights are `NAME.weight`, `NAME.bias` and so on.
    pub name: String,
    /// The layer, reading [`Read::Layer`]s of the network or the image.
    pub layer: Layer,
}

/// Operators that make no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Nothing to run.
    #[error("there is no layer")]
    Empty,
    /// Two of one name.
    #[error("two layers are named `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name that weights cannot begin with.
    #[error("`{name}` cannot be the name of a layer")]
    BadName {
        /// The name.
        name: String,
    },
    /// A layer reads something that is not there.
    #[error("layer `{name}` reads `{unknown}`, which is no layer")]
    UnknownLayer {
        /// Who reads.
        name: String,
        /// What it reads.
        unknown: String,
        /// The most similar names.
        nearest: Vec<String>,
    },
    /// Layers that wait for each other.
    #[error("layer `{}` reads itself by way of {}", names[0], way(names))]
    Cycle {
        /// The circle, each reading the next, the last reading the first.
        names: Vec<String>,
    },
    /// Not as many inputs as the operator takes.
    #[error("layer `{name}` reads {got} maps and takes {wanted}")]
    Inputs {
        /// The layer.
        name: String,
        /// Those it reads.
        got: usize,
        /// Those it takes.
        wanted: usize,
    },
    /// A map that is not the one taken.
    #[error("layer `{name}` takes {wanted} from `{from}`, which makes {got}")]
    DoNotMeet {
        /// The layer.
        name: String,
        /// What it reads.
        from: String,
        /// What that makes.
        got: Map,
        /// What is taken.
        wanted: Map,
    },
    /// Numbers of one operator that contradict each other.
    #[error("layer `{name}`: {problem}")]
    Inside {
        /// The layer.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A layer whose output nobody reads, beside the last.
    #[error("nothing reads layer `{name}`, and it is not the last")]
    Unread {
        /// The layer.
        name: String,
    },
    /// A format for a part that the operator does not have.
    #[error("layer `{name}` has no part `{part}`")]
    UnknownPart {
        /// The layer.
        name: String,
        /// The part.
        part: String,
        /// Parts that it has.
        known: Vec<String>,
    },
}

fn way(names: &[String]) -> String {
    match names {
        [_] => "nothing else".to_owned(),
        [_, rest @ ..] => rest.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        [] => String::new(),
    }
}

impl Failure for ShapeError {
    fn kind(&self) -> FailureKind {
        FailureKind::Content
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ShapeError::Empty => "write at least one layer".into(),
            ShapeError::Duplicate { .. } => "give each layer a name of its own: weights are found by it".into(),
            ShapeError::BadName { .. } => {
                format!("use letters, digits, '.', '_' and '-'; `{IMAGE}` is the word for what the network reads")
            }
            ShapeError::UnknownLayer { nearest, .. } if nearest.is_empty() => {
                format!("name a layer, or `{IMAGE}`; without `reads` a layer reads the one before it")
            }
            ShapeError::UnknownLayer { nearest, .. } => format!("did you mean {}?", nearest.join(" or ")),
            ShapeError::Cycle { .. } => "a layer may read only what does not need it".into(),
            ShapeError::Inputs { .. } => "name one layer for each input in `reads`".into(),
            ShapeError::DoNotMeet { .. } => "correct the shape on one of the two sides".into(),
            ShapeError::Inside { .. } => return None,
            ShapeError::Unread { .. } => "take it out, or let a later layer read it: a network has one output".into(),
            ShapeError::UnknownPart { known, .. } => format!("its parts: {}", known.join(", ")),
        })
    }
}

impl NetworkShape {
    /// Puts operators in an order in which they can run, and checks that everything meets.
    ///
    /// # Errors
    /// Whatever is wrong, with the layer's name.
    pub fn new(input: Map, drafts: Vec<Draft>, batch_norm_eps: f64) -> Result<Self, ShapeError> {
        if drafts.is_empty() {
            return Err(ShapeError::Empty);
        }
        let reads = reads_of(&drafts)?;
        let order = order(&drafts, &reads)?;
        let mut place = vec![0; drafts.len()];
        order.iter().enumerate().for_each(|(at, draft)| place[*draft] = at);
        let mut drafts: Vec<Option<(Draft, Vec<Option<usize>>)>> = drafts.into_iter().zip(reads).map(Some).collect();
        let mut nodes = Vec::with_capacity(drafts.len());
        for at in order {
            let Some((Draft { name, op, formats, .. }, reads)) = drafts[at].take() else { continue };
            let source = |read: Option<usize>| read.map_or(Source::Image, |at| Source::Node(place[at]));
            nodes.push(Node { name, op, reads: reads.into_iter().map(source).collect(), formats });
        }
        let shape = Self { input, nodes, batch_norm_eps };
        shape.check()?;
        Ok(shape)
    }

    /// Operators that follow on each other.
    ///
    /// # Errors
    /// As [`NetworkShape::new`].
    pub fn chain(input: Map, ops: Vec<(String, Op)>, batch_norm_eps: f64) -> Result<Self, ShapeError> {
        Self::new(input, ops.into_iter().map(|(name, op)| Draft::new(name, op)).collect(), batch_norm_eps)
    }

    fn check(&self) -> Result<(), ShapeError> {
        if !is_map(self.input) {
            let problem = format!("an image of {} is none", self.input);
            return Err(ShapeError::Inside { name: IMAGE.into(), problem });
        }
        let mut macs: u64 = 0;
        let mut unread: Vec<usize> = (0..self.nodes.len() - 1).collect();
        for node in &self.nodes {
            let inside = |problem| ShapeError::Inside { name: node.name.clone(), problem };
            check_op(&node.op).map_err(inside)?;
            macs = macs.saturating_add(node.op.macs().0);
            if macs > MOST_MACS {
                return Err(inside("with it the network has more than 2^53 multiply-accumulates".into()));
            }
            let wanted = node.op.inputs();
            if wanted.len() != node.reads.len() {
                let (got, wanted) = (node.reads.len(), wanted.len());
                return Err(ShapeError::Inputs { name: node.name.clone(), got, wanted });
            }
            for (source, wanted) in node.reads.iter().zip(wanted) {
                let (from, got) = match source {
                    Source::Image => (IMAGE, self.input),
                    Source::Node(at) => {
                        unread.retain(|other| other != at);
                        (self.nodes[*at].name.as_str(), self.nodes[*at].op.output())
                    }
                };
                if got != wanted {
                    return Err(ShapeError::DoNotMeet { name: node.name.clone(), from: from.into(), got, wanted });
                }
            }
            let parts = node.op.layers();
            for (part, format) in &node.formats {
                if !parts.iter().any(|layer| layer.part == *part) {
                    let known = parts.iter().map(|layer| format!("\"{}\"", layer.part)).collect();
                    return Err(ShapeError::UnknownPart { name: node.name.clone(), part: part.clone(), known });
                }
                for Format { bits, density } in [format.weights, format.inputs] {
                    if !(0.0..=1.0).contains(&density) || bits.is_some_and(|bits| !(1..=64).contains(&bits)) {
                        return Err(inside(format!(
                            "part \"{part}\": a density is from 0 to 1, bits are from 1 to 64"
                        )));
                    }
                }
            }
        }
        match unread.first() {
            Some(at) => Err(ShapeError::Unread { name: self.nodes[*at].name.clone() }),
            None => Ok(()),
        }
    }

    /// Size and channels of the image.
    pub fn input(&self) -> Map {
        self.input
    }

    /// What comes out: one position for each class of a classifier.
    pub fn output(&self) -> Map {
        self.nodes.last().map_or(self.input, |node| node.op.output())
    }

    /// Operators in an order in which they can run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Added to the variance by every batch norm.
    pub fn batch_norm_eps(&self) -> f64 {
        self.batch_norm_eps
    }

    /// All layers in order, each reading earlier ones or the image ([`Read::Input`]`(0)`).
    pub fn layers(&self) -> Vec<NamedLayer> {
        let (mut layers, mut names, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for node in &self.nodes {
            let mut parts = node.op.layers();
            for layer in &mut parts {
                names.push(if layer.part.is_empty() {
                    node.name.clone()
                } else {
                    format!("{}.{}", node.name, layer.part)
                });
                if let Some(format) = node.formats.get(&*layer.part) {
                    (layer.weights, layer.inputs) = (format.weights, format.inputs);
                }
            }
            let input = |at: usize| match node.reads[at] {
                Source::Image => Read::Input(0),
                Source::Node(at) => ends[at],
            };
            let end = append(&mut layers, parts, input);
            ends.push(end);
        }
        names.into_iter().zip(layers).map(|(name, layer)| NamedLayer { name, layer }).collect()
    }

    /// The operators alone, as tables price them.
    pub fn workload(&self) -> Workload {
        Workload { resolution: self.input.size, ops: self.nodes.iter().map(|node| node.op.clone()).collect() }
    }

    /// Multiply-accumulates of one image.
    pub fn macs(&self) -> Macs {
        self.nodes.iter().map(|node| node.op.macs()).sum()
    }

    /// Weights, biases, γ and β.
    pub fn params(&self) -> Params {
        self.nodes.iter().map(|node| node.op.params()).sum()
    }
}

/// Places of what each draft reads, `None` for the image.
fn reads_of(drafts: &[Draft]) -> Result<Vec<Vec<Option<usize>>>, ShapeError> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        let name = draft.name.as_str();
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name == IMAGE || !name.chars().all(is_word) {
            return Err(ShapeError::BadName { name: name.into() });
        }
        if places.insert(name, at).is_some() {
            return Err(ShapeError::Duplicate { name: name.into() });
        }
    }
    let one = |at: usize, unknown: &str| match places.get(unknown) {
        Some(place) => Ok(Some(*place)),
        None if unknown == IMAGE => Ok(None),
        None => {
            let known = drafts.iter().map(|draft| draft.name.as_str()).chain([IMAGE]);
            let (name, nearest) = (drafts[at].name.clone(), nearest(unknown, known));
            Err(ShapeError::UnknownLayer { name, unknown: unknown.into(), nearest })
        }
    };
    let of = |(at, draft): (usize, &Draft)| match &draft.reads {
        Some(names) => names.iter().map(|name| one(at, name)).collect(),
        None => Ok(vec![at.checked_sub(1)]),
    };
    drafts.iter().enumerate().map(of).collect()
}

/// An order in which every draft comes after what it reads; the drafts' own wherever that is one.
fn order(drafts: &[Draft], reads: &[Vec<Option<usize>>]) -> Result<Vec<usize>, ShapeError> {
    let (mut order, mut done) = (Vec::with_capacity(drafts.len()), HashSet::new());
    while order.len() < drafts.len() {
        let ready = |at: &usize| !done.contains(at) && reads[*at].iter().flatten().all(|read| done.contains(read));
        let Some(next) = (0..drafts.len()).find(ready) else {
            // Whatever is left waits for something that is left: follow it until a name comes back.
            let mut way: Vec<usize> = (0..drafts.len()).filter(|at| !done.contains(at)).take(1).collect();
            loop {
                let last = way[way.len() - 1];
                let Some(next) = reads[last].iter().flatten().copied().find(|read| !done.contains(read)) else { break };
                if let Some(start) = way.iter().position(|at| *at == next) {
                    way.drain(..start);
                    break;
                }
                way.push(next);
            }
            return Err(ShapeError::Cycle { names: way.into_iter().map(|at| drafts[at].name.clone()).collect() });
        };
        done.insert(next);
        order.push(next);
    }
    Ok(order)
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
