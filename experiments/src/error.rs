//! What can go wrong in a verb beyond what the libraries report.

use std::io;
use std::path::PathBuf;

use network::units::Quantity;
use search::error::SearchError;
use storage::failure::{Failure, FailureKind};

/// Errors of the verbs themselves.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each field is")]
pub enum AppError {
    #[error("{path} already holds a run", path = path.display())]
    RunExists { path: PathBuf },
    #[error("{path} holds pairs of other subnets than this seed chooses", path = path.display())]
    OtherPairs { path: PathBuf },
    #[error("{path} was begun for other measurements", path = path.display())]
    OtherMeasurements { path: PathBuf },
    #[error("{path}: {reason}", path = path.display())]
    FileInFolder { path: PathBuf, reason: String },
    #[error("{path} is for space `{made_for}`, not `{asked}`", path = path.display())]
    OtherSpace { path: PathBuf, made_for: String, asked: String },
    #[error("`{given}` is no source of batch-norm statistics")]
    BatchNormSource { given: String },
    #[error("{path}: there is no such file or folder", path = path.display())]
    NotFound { path: PathBuf },
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the result: {source}")]
    Write { source: io::Error },
    /// A space or subnet read from a file; [`AppError::place`] says where.
    #[error("{}", innermost(problem))]
    InFile { path: PathBuf, problem: Box<SearchError> },
    #[error("{path} holds {got} subnets, where one is wanted", path = path.display())]
    NotOneSubnet { path: PathBuf, got: usize },
    #[error("there is no bundle `{name}`")]
    UnknownBundle { name: String, known: Vec<String> },
    #[error("none of the bundles that {asked} can use is in the zoo: {}", wanted.join(", "))]
    NoDefaultBundle { asked: String, wanted: Vec<String>, known: Vec<String> },
    #[error("bundle {bundle} lacks {file}", bundle = bundle.display())]
    BundleLacks { bundle: PathBuf, file: &'static str },
    #[error("a budget for {quantity} needs a target")]
    NeedsTarget { quantity: Quantity },
    #[error("there is neither a target nor a budget to search for")]
    NothingToSearchFor,
    #[error(
        "space `{space}`, predictor and target have no resolution in common: the space offers {}, the predictor knows \
         {}{}",
        list(offered), list(predicted),
        target.as_ref().map_or(String::new(), |known| format!(", the target's tables hold {}", list(known)))
    )]
    NoCommonResolution { space: String, offered: Vec<u32>, predicted: Vec<u32>, target: Option<Vec<u32>> },
    #[error("neither the recipe {recipe} nor the command line says where the images are", recipe = recipe.display())]
    NoData { recipe: PathBuf },
    #[error(
        "an exact search needs {}", if *additive { "one ceiling or one cost as an objective" } else { "a predictor that is a sum" }
    )]
    NotExact { additive: bool },
    #[error("algorithm {algorithm} does not take these objectives")]
    Objectives { algorithm: &'static str },
    #[error("algorithm {algorithm} does not begin with given subnets")]
    NoStart { algorithm: &'static str },
    #[error("a space and a predictor have no weights to verify with")]
    NothingToVerify,
    #[error("the front from {from} to {to} is upside down")]
    UpsideDown { from: String, to: String },
    #[error("space `{space}` does not offer resolution {got}")]
    NotOffered { space: String, got: u32, offered: Vec<u32> },
    #[error("{path}, {place}: nothing says which search space the network is of", path = path.display())]
    NoSpace { path: PathBuf, place: String },
    #[error("{path} has batches of {measured}, and the target answers for batches of {target}", path = path.display())]
    OtherBatch { path: PathBuf, measured: u32, target: u32 },
    #[error("{path} measures nothing that the target knows", path = path.display())]
    NothingMeasured { path: PathBuf },
    #[error("the measured networks leave the correction open")]
    NoCorrection,
    #[error("{target} has no table of measured operators that a model could be fitted to")]
    NoTable { target: String },
    #[error("{target} has no model fitted to operators whose terms could be taken over")]
    NothingToTransfer { target: String },
    #[error("neither {a} nor {b} has a table whose operators could be compared")]
    NoOperators { a: String, b: String },
    #[error("{a} and {b} have no operator and no quantity in common")]
    NothingInCommon { a: String, b: String },
    #[error("stopped on request")]
    Interrupted,
    #[error("{what} needs LibTorch, and this build has none")]
    NoTorch { what: &'static str },
}

impl AppError {
    /// For the exit code.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::RunExists { .. }
            | Self::BatchNormSource { .. }
            | Self::NotFound { .. }
            | Self::UnknownBundle { .. }
            | Self::NoDefaultBundle { .. }
            | Self::NeedsTarget { .. }
            | Self::NothingToSearchFor
            | Self::NotExact { .. }
            | Self::NothingToVerify
            | Self::NoStart { .. }
            | Self::UpsideDown { .. }
            | Self::Objectives { .. }
            | Self::NoData { .. }
            | Self::NoCommonResolution { .. }
            | Self::NotOffered { .. }
            | Self::NoSpace { .. }
            | Self::NoTable { .. }
            | Self::NothingToTransfer { .. }
            | Self::NoOperators { .. }
            | Self::NothingInCommon { .. }
            | Self::NoTorch { .. } => FailureKind::Usage,
            Self::OtherPairs { .. }
            | Self::OtherMeasurements { .. }
            | Self::FileInFolder { .. }
            | Self::OtherSpace { .. }
            | Self::NotOneSubnet { .. }
            | Self::OtherBatch { .. }
            | Self::NothingMeasured { .. }
            | Self::NoCorrection
            | Self::BundleLacks { .. } => FailureKind::Content,
            Self::InFile { problem, .. } => problem.kind(),
            Self::Read { .. } | Self::Write { .. } | Self::Interrupted => FailureKind::Io,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<String> {
        let bundles = |known: &[String]| match known {
            [] => "the zoo is empty; name a bundle folder with --supernet, or a space and a predictor".to_owned(),
            known => format!("there are {}; a path to a bundle folder works too", known.join(", ")),
        };
        Some(match self {
            Self::RunExists { .. } => "add --resume to go on with it, or name another folder with --out".into(),
            Self::OtherPairs { .. } => "give the seed it was begun with, or another file with --out".into(),
            Self::OtherMeasurements { .. } => {
                "give the space and settings it was begun with, or another name, or remove that file".into()
            }
            Self::OtherSpace { made_for, .. } => format!("give it with space `{made_for}`"),
            Self::NotOneSubnet { .. } => "give a file with one line".into(),
            Self::BatchNormSource { .. } => "write `stored` or `calibrate:FILE.npz`".into(),
            Self::NotFound { .. } => "check the path".into(),
            Self::InFile { problem, .. } => return problem.hint(),
            Self::UnknownBundle { known, .. } | Self::NoDefaultBundle { known, .. } => bundles(known),
            Self::BundleLacks { file: "calibration", .. } => {
                "give training images with --data, or name a bundle that has images of its own".into()
            }
            Self::BundleLacks { .. } => {
                "copy the whole folder again, or name another bundle with --supernet; `ofa train` makes new ones".into()
            }
            Self::NeedsTarget { .. } => "add --target; `ofa target list` names them".into(),
            Self::NothingToSearchFor => "add --target, or a budget: --macs 5M, --params 500K".into(),
            Self::NotExact { additive: true } => "give one of --energy, --latency, --macs, --params, --flash".into(),
            Self::NotExact { additive: false } => "fit one with `ofa predictor fit --model additive`".into(),
            Self::NoStart { .. } => "leave out --start, or search with --algorithm evolution or local".into(),
            Self::UpsideDown { .. } => "give the smaller cost with --from".into(),
            Self::NotOffered { offered, .. } => {
                let offered: Vec<String> = offered.iter().map(u32::to_string).collect();
                format!("offered: {}", offered.join(", "))
            }
            Self::NothingToVerify => "name a bundle with --supernet".into(),
            Self::Objectives { .. } => {
                "--algorithm nsga2 takes several (accuracy,energy), exact accuracy and one cost, the others accuracy alone".into()
            }
            Self::NoCommonResolution { .. } => "choose a predictor or a target of another bundle".into(),
            Self::NoData { .. } => {
                "add --data parquet:PATH, cifar:FOLDER, folder:FOLDER, idx:FOLDER or synthetic".into()
            }
            Self::NoSpace { .. } => "name it with --space, or in a column `space`".into(),
            Self::OtherBatch { .. } => "state `batch` in the target's manifest, or give networks of its batch".into(),
            Self::NothingMeasured { .. } => "its columns are latency_ms and energy_mJ".into(),
            Self::NoCorrection => "it takes at least four networks whose computed costs differ".into(),
            Self::NoTable { .. } => {
                "`ofa target import`, `add` and `measure` make targets with tables; --networks fits networks measured whole".into()
            }
            Self::NothingToTransfer { .. } => "name another with --transfer, such as note10".into(),
            Self::NoOperators { .. } => "name a space whose operators are compared with --space".into(),
            Self::NothingInCommon { .. } => "`ofa target show` says what each one knows".into(),
            Self::Interrupted => "run the same command again: the same seed gives the same result".into(),
            Self::NoTorch { .. } => "build it with LibTorch: `scripts/ofa` does".into(),
            Self::Write { source } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space on that disk".into()
            }
            Self::FileInFolder { .. } | Self::Read { .. } | Self::Write { .. } => return None,
        })
    }

    /// The file, and the line in it where that is known: `subnets.jsonl:14`.
    pub fn place(&self) -> Option<String> {
        let Self::InFile { path, problem } = self else { return None };
        let mut place = path.display().to_string();
        if let SearchError::At { place: within, .. } = &**problem {
            match within.strip_prefix("line ") {
                Some(line) => place.push_str(&format!(":{line}")),
                None => place.push_str(&format!(": {within}")),
            }
        }
        Some(place)
    }

    /// `problem`, found in the file at `path`.
    pub fn in_file(path: impl Into<PathBuf>, problem: SearchError) -> Self {
        Self::InFile { path: path.into(), problem: Box::new(problem) }
    }
}

/// The error without the line that [`AppError::place`] names.
fn innermost(problem: &SearchError) -> &SearchError {
    match problem {
        SearchError::At { source, .. } => innermost(source),
        other => other,
    }
}

fn list(numbers: &[u32]) -> String {
    if numbers.is_empty() {
        return "none".into();
    }
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
