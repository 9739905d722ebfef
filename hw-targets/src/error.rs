//! Everything that can go wrong in this crate, with fields for the place and a hint for the way out.

use std::path::PathBuf;

use network::units::{Quantity, UnitError};
use storage::failure::{Failure, FailureKind, Located, Setting};
use storage::file::{FileError, Place};
use storage::names::nearest;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum HwError {
    /// A text that is no quantity.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// A file that is not there, cannot be read or written, or is not what it claims to be.
    #[error(transparent)]
    File(#[from] FileError),
    /// A ceiling that nothing can be under.
    #[error("a budget of {value} for {quantity} is {problem}")]
    BadBudget {
        /// What is limited.
        quantity: Quantity,
        /// The limit.
        value: f64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A target was asked for a quantity that it cannot answer.
    #[error("target {target} knows {known}, not {quantity}")]
    UnknownQuantity {
        /// The target.
        target: String,
        /// What was asked.
        quantity: Quantity,
        /// What it knows.
        known: String,
    },
    /// No target of that name, and no such path.
    #[error("there is no target {name:?}")]
    UnknownTarget {
        /// What was asked.
        name: String,
        /// The most similar names.
        nearest: Vec<String>,
        /// All names.
        known: Vec<String>,
    },
    /// The name of a shipped target.
    #[error("the name {name:?} is taken by a shipped target")]
    ReservedName {
        /// The name.
        name: String,
        /// Whether a target that has a name was to get this one.
        renamed: bool,
    },
    /// A shipped target where one of the user's own is meant.
    #[error("{name:?} is a shipped target: only your own can be removed or renamed")]
    Shipped {
        /// The name.
        name: String,
    },
    /// A name under which the user keeps something already.
    #[error("you have a target {name:?} already: {holds}")]
    NameTaken {
        /// The name.
        name: String,
        /// What would be lost.
        holds: String,
        /// Whether a target that has a name was to get this one.
        renamed: bool,
    },
    /// A target of the user's own that is not there.
    #[error("you have no target {name:?}")]
    NotOwn {
        /// The name.
        name: String,
        /// The most similar of the user's own.
        nearest: Vec<String>,
    },
    /// A name that cannot be a folder.
    #[error("{name:?} cannot be the name of a target")]
    BadName {
        /// The name.
        name: String,
    },
    /// An import format nobody knows.
    #[error("there is no import format {name:?}")]
    UnknownFormat {
        /// What was asked.
        name: String,
        /// All formats.
        known: &'static str,
    },
    /// A file of several devices, of which none or one that is not there was asked for.
    #[error("{}", no_device(asked.as_deref(), known))]
    UnknownDevice {
        /// What was asked.
        asked: Option<String>,
        /// All devices; empty where the format has only one.
        known: Vec<String>,
    },
    /// There is no place for the user's own targets.
    #[error("neither OFA_HOME nor a home folder is set, so there is no place for your own targets")]
    NoHome,
    /// A manifest or model file whose content makes no sense.
    #[error("{path}: {field}: {problem}")]
    BadField {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// An operator that stands in a table twice.
    #[error("{path}, {place}: the same operator as in {first}: {op}")]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The second row.
        place: Place,
        /// The first row.
        first: Place,
        /// The operator.
        op: String,
    },
    /// A row whose values cannot be what they claim to be.
    #[error("{path}, {place}: {op}: {problem}")]
    Defect {
        /// The file.
        path: PathBuf,
        /// The row.
        place: Place,
        /// Its operator.
        op: String,
        /// What is wrong.
        problem: String,
    },
    /// A table without a single usable operator.
    #[error("{path}: no operator in it could be used")]
    EmptyTable {
        /// The file or folder.
        path: PathBuf,
    },
    /// A line of an accelerator's layer file that makes no sense.
    #[error("{path}, line {line}: {field}: {problem}")]
    BadLayer {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// The field.
        field: String,
        /// What is wrong.
        problem: String,
        /// What to try.
        hint: String,
    },
    /// A layer file without a layer.
    #[error("{path}: there is no layer in it")]
    EmptyLayers {
        /// The file.
        path: PathBuf,
    },
    /// An operator that is no layer of an accelerator.
    #[error("the operator {op} is no layer of an accelerator: {problem}")]
    NotALayer {
        /// The operator in words.
        op: String,
        /// What is wrong.
        problem: String,
    },
    /// No accelerator of that name, and no such file.
    #[error("there is no accelerator {name:?}")]
    UnknownAccelerator {
        /// What was asked.
        name: String,
        /// The most similar names.
        nearest: Vec<String>,
        /// All names.
        known: Vec<&'static str>,
    },
    /// A layer that has no place on an accelerator.
    #[error("layer {layer} has no place on {accelerator}: {problem}")]
    Unmappable {
        /// The layer's name.
        layer: String,
        /// The accelerator's name.
        accelerator: String,
        /// What does not fit.
        problem: String,
        /// What would fit.
        need: &'static str,
    },
    /// A file without a single measured network.
    #[error("{path}: no measured network is in it")]
    NoNetworks {
        /// The file.
        path: PathBuf,
    },
    /// No model of a target covers an operator.
    #[error("target {target} has no {quantity} for the operator {op} (in a network of {resolution} px)")]
    MissingOperator {
        /// The target.
        target: String,
        /// What was asked.
        quantity: Quantity,
        /// The operator in words.
        op: String,
        /// Input resolution of the network.
        resolution: u32,
        /// Why, or what is near.
        near: String,
    },
    /// A network that comes out at no cost, or at none that is a number.
    #[error("on {target} a network has {quantity} {value}")]
    NoCost {
        /// The target.
        target: String,
        /// What was asked.
        quantity: Quantity,
        /// What came out, in words.
        value: String,
    },
    /// Fewer networks than a model of whole networks needs.
    #[error("no model can be fitted to {networks} whole networks: {problem}")]
    TooFewNetworks {
        /// Those there are.
        networks: usize,
        /// Those it takes.
        least: usize,
        /// Why.
        problem: String,
    },
    /// Measurements that no model can be fitted to.
    #[error("no model can be fitted to {what}: {problem}")]
    NoFit {
        /// The class of operators.
        what: String,
        /// Why.
        problem: String,
    },
}

fn no_device(asked: Option<&str>, known: &[String]) -> String {
    match asked {
        None => "the file holds several devices".to_string(),
        Some(asked) if known.is_empty() => format!("this format holds one device, so there is no {asked:?} to choose"),
        Some(asked) => format!("there is no device {asked:?} in the file"),
    }
}

impl Failure for HwError {
    fn kind(&self) -> FailureKind {
        use HwError::*;
        match self {
            Unit(error) => error.kind(),
            File(error) => error.kind(),
            BadBudget { .. }
            | UnknownQuantity { .. }
            | UnknownTarget { .. }
            | UnknownAccelerator { .. }
            | ReservedName { .. }
            | Shipped { .. }
            | NameTaken { .. }
            | NotOwn { .. }
            | BadName { .. }
            | UnknownFormat { .. }
            | UnknownDevice { .. }
            | NoHome => FailureKind::Usage,
            BadField { .. }
            | Duplicate { .. }
            | Defect { .. }
            | EmptyTable { .. }
            | BadLayer { .. }
            | EmptyLayers { .. }
            | NotALayer { .. }
            | Unmappable { .. }
            | NoNetworks { .. }
            | MissingOperator { .. }
            | NoCost { .. }
            | TooFewNetworks { .. }
            | NoFit { .. } => FailureKind::Content,
        }
    }

    fn hint(&self) -> Option<String> {
        use HwError::*;
        Some(match self {
            Unit(error) => return error.hint(),
            File(error) => return error.hint(),
            BadBudget { quantity, .. } => format!("a budget is above zero, for example {}", quantity.example()),
            UnknownQuantity { known, .. } => format!("limit what it knows ({known}), or choose another target"),
            UnknownTarget { nearest, known, .. } if nearest.is_empty() => {
                format!("known targets: {}; a path to a target folder or table works too", known.join(", "))
            }
            UnknownTarget { nearest, .. } => format!("did you mean {}?", nearest.join(" or ")),
            UnknownAccelerator { nearest, known, .. } if nearest.is_empty() => {
                format!("known accelerators: {}; the path of a YAML file works too", known.join(", "))
            }
            UnknownAccelerator { nearest, .. } => format!("did you mean {}?", nearest.join(" or ")),
            BadLayer { hint, .. } => hint.clone(),
            EmptyLayers { .. } => "write one line of 25 numbers for each layer".to_string(),
            Unmappable { need, .. } => {
                format!("the layer needs {need}; describe one in YAML for {}", Setting("accelerator"))
            }
            ReservedName { renamed: true, .. } | NameTaken { renamed: true, .. } => "choose another name".to_string(),
            ReservedName { .. } => {
                format!("choose another name, with {} or, where a fit is kept, {}", Setting("name"), Setting("keep"))
            }
            NameTaken { .. } => {
                format!("choose another name, or add {} to lose it", Setting("replace"))
            }
            Shipped { .. } => format!("`{}` shows yours", Setting("target list")),
            NotOwn { nearest, .. } if nearest.is_empty() => format!("`{}` shows yours", Setting("target list")),
            NotOwn { nearest, .. } => format!("did you mean {}?", nearest.join(" or ")),
            BadName { .. } => {
                "use lower-case letters, digits, '-', '_' and '.', starting with a letter or digit".to_string()
            }
            UnknownFormat { name, known } => match nearest(name, known.split(", ")).first() {
                Some(near) => format!("did you mean `{near}`? Formats: {known}"),
                None => format!("formats: {known}"),
            },
            UnknownDevice { known, .. } if known.is_empty() => format!("leave {} out", Setting("device")),
            UnknownDevice { known, .. } => {
                format!("name one with {}: {}", Setting("device"), known.join(", "))
            }
            NoHome => "set OFA_HOME to a folder".to_string(),
            Duplicate { .. } => "keep one of the two, or tell them apart by the column network_resolution".to_string(),
            Defect { .. } => "correct the row, or leave it out".to_string(),
            MissingOperator { near, .. } => near.clone(),
            NoCost { .. } => {
                format!("its correction or its model was made for other networks: see `{}`", Setting("target show"))
            }
            TooFewNetworks { least, .. } => format!("measure more networks: at least {least} are needed"),
            NoFit { .. } => {
                format!(
                    "give it more measurements; `{} SPACE` lists the operators of a space",
                    Setting("target template")
                )
            }
            BadField { .. } | EmptyTable { .. } | NotALayer { .. } | NoNetworks { .. } => return None,
        })
    }

    /// `table.csv:14: latency_ms`, and the message without it.
    fn place(&self) -> Option<Located> {
        let (place, message) = match self {
            HwError::File(error) => return error.place(),
            HwError::BadLayer { path, line, field, problem, .. } => {
                (format!("{}:{line}: {field}", path.display()), format!("{field}: {problem}"))
            }
            HwError::EmptyLayers { path } => (path.display().to_string(), "there is no layer in it".to_owned()),
            HwError::BadField { path, field, problem } => {
                (format!("{}: {field}", path.display()), format!("{field}: {problem}"))
            }
            HwError::Duplicate { path, place, first, op } => {
                (place.within(path), format!("the same operator as in {first}: {op}"))
            }
            HwError::Defect { path, place, op, problem } => (place.within(path), format!("{op}: {problem}")),
            HwError::NoNetworks { path } => (path.display().to_string(), "no measured network is in it".to_owned()),
            HwError::EmptyTable { path } => (path.display().to_string(), "no operator in it could be used".to_owned()),
            _ => return None,
        };
        Some(Located { place, message })
    }
}
