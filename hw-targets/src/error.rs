//! Everything that can go wrong in this crate, with fields for the place and a hint for the way out.

use std::io;
use std::path::PathBuf;

use network::units::{Quantity, UnitError};
use storage::failure::{Failure, FailureKind, Located, Setting};

/// Where in a table something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Line of a text file, from 1.
    Line(u64),
    /// Row of a binary table, from 1.
    Row(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum HwError {
    /// A text that is no quantity.
    #[error(transparent)]
    Unit(#[from] UnitError),
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
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A file or folder named by the user that is not there.
    #[error("{path}: there is no such file or folder")]
    NotFound {
        /// The file or folder.
        path: PathBuf,
    },
    /// Not a file of the format it claims to be.
    #[error("{path}: not a readable {format} file: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// CSV, Parquet, YAML, JSON.
        format: &'static str,
        /// What the reader said.
        problem: String,
    },
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
    /// A table without a column it must have.
    #[error("{path}: column {column:?} is missing")]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The columns it has.
        found: Vec<String>,
    },
    /// A cell that cannot be used.
    #[error("{path}, {place}, column {column:?}: {value:?} {problem}")]
    BadCell {
        /// The file.
        path: PathBuf,
        /// Its line or row.
        place: Place,
        /// Its column.
        column: String,
        /// What it holds.
        value: String,
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
            BadBudget { .. }
            | UnknownQuantity { .. }
            | UnknownTarget { .. }
            | UnknownAccelerator { .. }
            | ReservedName { .. }
            | BadName { .. }
            | UnknownFormat { .. }
            | UnknownDevice { .. }
            | NotFound { .. }
            | NoHome => FailureKind::Usage,
            Io { .. } => FailureKind::Io,
            Malformed { .. }
            | BadField { .. }
            | MissingColumn { .. }
            | BadCell { .. }
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
            ReservedName { .. } => {
                format!("choose another name, with {} or, where a fit is kept, {}", Setting("name"), Setting("keep"))
            }
            BadName { .. } => "use lower-case letters, digits, '-', '_' and '.', starting with a letter".to_string(),
            UnknownFormat { known, .. } => format!("formats: {known}"),
            UnknownDevice { known, .. } if known.is_empty() => format!("leave {} out", Setting("device")),
            UnknownDevice { known, .. } => {
                format!("name one with {}: {}", Setting("device"), known.join(", "))
            }
            NoHome => "set OFA_HOME to a folder".to_string(),
            MissingColumn { found, .. } => format!("its columns are: {}", found.join(", ")),
            BadCell { .. } => "correct the cell; leave it empty if the value is not known".to_string(),
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
            Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space on that disk".to_string()
            }
            Io { .. }
            | NotFound { .. }
            | Malformed { .. }
            | BadField { .. }
            | EmptyTable { .. }
            | NotALayer { .. }
            | NoNetworks { .. } => return None,
        })
    }

    /// `table.csv:14: latency_ms`, and the message without it.
    fn place(&self) -> Option<Located> {
        let at = |place: &Place| match place {
            Place::Line(line) => format!(":{line}"),
            Place::Row(row) => format!(": row {row}"),
        };
        let (place, message) = match self {
            HwError::BadCell { path, place, column, value, problem } => (
                format!("{}{}: {column}", path.display(), at(place)),
                format!("{column} is {value:?}, which {problem}"),
            ),
            HwError::BadLayer { path, line, field, problem, .. } => {
                (format!("{}:{line}: {field}", path.display()), format!("{field}: {problem}"))
            }
            HwError::EmptyLayers { path } => (path.display().to_string(), "there is no layer in it".to_owned()),
            HwError::BadField { path, field, problem } => {
                (format!("{}: {field}", path.display()), format!("{field}: {problem}"))
            }
            HwError::MissingColumn { path, column, .. } => {
                (path.display().to_string(), format!("column {column:?} is missing"))
            }
            HwError::Duplicate { path, place, first, op } => {
                (format!("{}{}", path.display(), at(place)), format!("the same operator as in {first}: {op}"))
            }
            HwError::Defect { path, place, op, problem } => {
                (format!("{}{}", path.display(), at(place)), format!("{op}: {problem}"))
            }
            HwError::NoNetworks { path } => (path.display().to_string(), "no measured network is in it".to_owned()),
            HwError::Malformed { path, format, problem } => {
                (path.display().to_string(), format!("not a readable {format} file: {}", problem.trim()))
            }
            HwError::EmptyTable { path } => (path.display().to_string(), "no operator in it could be used".to_owned()),
            _ => return None,
        };
        Some(Located { place, message })
    }
}
