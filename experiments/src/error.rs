//! What can go wrong in a verb: what the libraries report, and what only the verbs can notice.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use hw_targets::error::HwError;
use network::published::UnknownNetwork;
use network::shape_file::ShapeFileError;
use network::units::{Quantity, UnitError};
use predictors::error::PredictorError;
use search::error::{ForeignError, SearchError};
use storage::failure::{Failure, FailureKind, Located, Setting};
use storage::names::nearest;
use supernet::import::TensorFileError;
#[cfg(feature = "torch")]
use supernet::{
    data::DataError, device::DeviceError, error::SupernetError, import::once_for_all::ImportError, train::PlanError,
};

use crate::build::error::BuildError;
use crate::folders::names;
#[cfg(feature = "torch")]
use crate::folders::recipe_error::RecipeError;
use crate::report::error::ReportError;
use crate::shard::ShardError;
use crate::sweep::error::SweepError;

/// What a verb gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of a verb.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each field is")]
pub enum Error {
    /// What happened while something was done, and what it was.
    #[error("{what}")]
    While { what: String, source: Box<Error> },
    #[error(transparent)]
    Unit(#[from] UnitError),
    #[error(transparent)]
    Hw(#[from] HwError),
    #[error(transparent)]
    Search(SearchError),
    #[error(transparent)]
    Published(#[from] UnknownNetwork),
    #[error(transparent)]
    Predictor(#[from] PredictorError),
    /// A `network.json` that makes no network.
    #[error("{path}: {problem}", path = path.display())]
    NetworkFile { path: PathBuf, problem: ShapeFileError },
    #[error(transparent)]
    TensorFile(#[from] TensorFileError),
    #[cfg(feature = "torch")]
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[cfg(feature = "torch")]
    #[error(transparent)]
    Supernet(#[from] SupernetError),
    #[cfg(feature = "torch")]
    #[error(transparent)]
    Data(#[from] DataError),
    #[cfg(feature = "torch")]
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[cfg(feature = "torch")]
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Sweep(#[from] SweepError),
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(
        "the budget was not reached: {reached} after {steps} steps{}",
        if *spent { ", which are all there may be" } else { ", and nothing is left that could give more" }
    )]
    NotReached { steps: usize, reached: String, spent: bool },
    #[error("{path} is a file, or lies below one", path = path.display())]
    NotAFolder { path: PathBuf },
    #[error("{path} already holds a run", path = path.display())]
    RunExists { path: PathBuf },
    #[error("{path} is there already, and is not the list that would be written", path = path.display())]
    OtherList { path: PathBuf },
    #[error("another process is at work in {path}", path = path.display())]
    Busy { path: PathBuf },
    #[error("{path} holds a bundle, a network or a training ({found})", path = path.display(), found = found.display())]
    KeepsOthers { path: PathBuf, found: PathBuf },
    #[error("{path} does not say of which search space it is", path = path.display())]
    UnknownSpace { path: PathBuf },
    #[error("`{a}` and `{b}` are both target {name}")]
    SameTarget { a: String, b: String, name: String },
    #[error("{path} holds pairs of other subnets than this seed chooses", path = path.display())]
    OtherPairs { path: PathBuf },
    #[error("{path} was measured with {what}", path = path.display())]
    OtherOrigin { path: PathBuf, what: &'static str },
    #[error(
        "{path}: the pairs that it is fitted to were measured with other weights than those of bundle {bundle}",
        path = path.display(), bundle = bundle.display()
    )]
    OtherWeights { path: PathBuf, bundle: PathBuf },
    #[error("{data} has no images to test with: the weights were trained on all of them")]
    TrainedOn { data: String },
    #[error("{path} was begun for other measurements", path = path.display())]
    OtherMeasurements { path: PathBuf },
    #[error("{path}: {reason}", path = path.display())]
    FileInFolder { path: PathBuf, reason: String },
    #[error("{path} is for space `{made_for}`, not `{asked}`", path = path.display())]
    OtherSpace { path: PathBuf, made_for: String, asked: String },
    #[error("{path} is for another space that is called `{name}`, too: this one has {what}", path = path.display())]
    OtherDefinition { path: PathBuf, name: String, what: String },
    #[error("{reason}")]
    Preprocessing { reason: String },
    #[error("{run}: this run has made no bundle yet", run = run.display())]
    Unfinished { run: PathBuf },
    #[error("{data}: all training images are of one class, `{class}`: there is nothing to tell apart")]
    OneClass { data: String, class: String },
    #[error("`{given}` is no source of batch-norm statistics")]
    BatchNormSource { given: String },
    #[error("{path}: there is no such file or folder", path = path.display())]
    NotFound { path: PathBuf },
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the result: {source}")]
    Write { source: io::Error },
    /// A space or subnet read from a file; [`Failure::place`] says where.
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
    #[error("no target is kept: {problem}")]
    NotKept { problem: String },
    #[error("{file} is not written: {problem}", file = file.display())]
    NotExported { file: PathBuf, problem: String },
    #[error("there is no layer `{name}` to keep in float32")]
    NoLayer { name: String, nearest: Vec<String> },
    #[error("{problem}")]
    ExportForm { problem: &'static str, hint: String },
    #[error("{file} cannot be compared: {problem}", file = file.display())]
    NotVerified { file: PathBuf, problem: String },
    #[error("{file} is not this network: {problem}", file = file.display())]
    NotTheSame { file: PathBuf, problem: String },
    #[error("nothing here runs {what}: {problem}")]
    NoRuntime { what: &'static str, problem: String },
    #[error("{target} has no table of measured operators that a model could be fitted to")]
    NoTable { target: String },
    #[error("{target} has no model fitted to operators whose terms could be taken over")]
    NothingToTransfer { target: String },
    #[error("{} is per batch of {}, and {} per batch of {}: such costs are not comparable", a.0, a.1, b.0, b.1)]
    DifferentBatches { a: (String, u32), b: (String, u32) },
    #[error("neither {a} nor {b} has a table whose operators could be compared")]
    NoOperators { a: String, b: String },
    #[error("{a} and {b} have no operator and no quantity in common")]
    NothingInCommon { a: String, b: String },
    #[error("stopped on request")]
    Interrupted,
    #[error("{what} needs LibTorch, and this build has none")]
    NoTorch { what: &'static str },
}

impl Failure for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::While { source, .. } => source.kind(),
            Self::Unit(error) => error.kind(),
            Self::Hw(error) => error.kind(),
            Self::Search(error) => error.kind(),
            Self::Published(error) => error.kind(),
            Self::NetworkFile { problem, .. } => problem.kind(),
            Self::Predictor(error) => error.kind(),
            Self::TensorFile(error) => error.kind(),
            Self::Sweep(error) => error.kind(),
            Self::Shard(error) => error.kind(),
            Self::Report(error) => error.kind(),
            Self::Build(error) => error.kind(),
            #[cfg(feature = "torch")]
            Self::Recipe(error) => error.kind(),
            #[cfg(feature = "torch")]
            Self::Supernet(error) => error.kind(),
            #[cfg(feature = "torch")]
            Self::Data(error) => error.kind(),
            #[cfg(feature = "torch")]
            Self::Device(error) => error.kind(),
            #[cfg(feature = "torch")]
            Self::Import(error) => error.kind(),
            Self::NotAFolder { .. }
            | Self::RunExists { .. }
            | Self::OtherList { .. }
            | Self::Busy { .. }
            | Self::SameTarget { .. }
            | Self::UnknownSpace { .. }
            | Self::KeepsOthers { .. }
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
            | Self::DifferentBatches { .. }
            | Self::NothingInCommon { .. }
            | Self::ExportForm { .. }
            | Self::NoLayer { .. }
            | Self::NoTorch { .. } => FailureKind::Usage,
            Self::OtherPairs { .. }
            | Self::OtherOrigin { .. }
            | Self::OtherWeights { .. }
            | Self::TrainedOn { .. }
            | Self::OtherMeasurements { .. }
            | Self::FileInFolder { .. }
            | Self::OtherSpace { .. }
            | Self::OtherDefinition { .. }
            | Self::Preprocessing { .. }
            | Self::Unfinished { .. }
            | Self::OneClass { .. }
            | Self::NotOneSubnet { .. }
            | Self::OtherBatch { .. }
            | Self::NothingMeasured { .. }
            | Self::NoCorrection
            | Self::NotKept { .. }
            | Self::NotExported { .. }
            | Self::NotVerified { .. }
            | Self::NotTheSame { .. }
            | Self::NoRuntime { .. }
            | Self::BundleLacks { .. } => FailureKind::Content,
            Self::NotReached { .. } => FailureKind::Infeasible,
            Self::InFile { problem, .. } => problem.kind(),
            Self::Read { source, .. } => FailureKind::of(source),
            Self::Io(_) | Self::Write { .. } | Self::Interrupted => FailureKind::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        self.own_hint().or_else(|| self.is_disk_full().then(|| "free some space on that disk".to_owned()))
    }

    fn place(&self) -> Option<Located> {
        match self {
            Self::While { what, source } => {
                source.place().map(|at| Located { message: format!("{what}: {}", at.message), ..at })
            }
            Self::InFile { path, problem } => {
                let mut place = path.display().to_string();
                if let SearchError::At { place: within, .. } = &**problem {
                    match within.strip_prefix("line ") {
                        Some(line) => place.push_str(&format!(":{line}")),
                        None => place.push_str(&format!(": {within}")),
                    }
                }
                Some(Located { place, message: self.to_string() })
            }
            Self::Unit(error) => error.place(),
            Self::Hw(error) => error.place(),
            Self::Build(error) => error.place(),
            #[cfg(feature = "torch")]
            Self::Recipe(error) => error.place(),
            _ => None,
        }
    }

    fn places(&self) -> Vec<Located> {
        match self {
            Self::While { source, .. } => source.places(),
            Self::Sweep(error) => error.places(),
            #[cfg(feature = "torch")]
            Self::Data(error) => error.places(),
            _ => Vec::new(),
        }
    }

    fn is_interruption(&self) -> bool {
        match self {
            Self::While { source, .. } => source.is_interruption(),
            Self::Interrupted => true,
            #[cfg(feature = "torch")]
            Self::Supernet(error) => matches!(error, SupernetError::Interrupted),
            // A library may carry a verb's error as the cause of its own.
            other => std::iter::successors(other.source(), |&cause| cause.source())
                .any(|cause| cause.downcast_ref::<Self>().is_some_and(Failure::is_interruption)),
        }
    }
}

impl Error {
    /// `problem`, found in the file at `path`.
    pub(crate) fn in_file(path: impl Into<PathBuf>, problem: SearchError) -> Self {
        Self::InFile { path: path.into(), problem: Box::new(problem) }
    }

    /// This error, which came up while `what` was done.
    pub fn within(self, what: impl Into<String>) -> Self {
        Self::While { what: what.into(), source: Box::new(self) }
    }

    /// As an evaluator or a cost model gives it to a search; [`Error::from`] gets it back.
    pub(crate) fn foreign(self) -> ForeignError {
        ForeignError::new(self.kind(), self)
    }

    /// Whether the operating system found no more room, at the bottom of it.
    fn is_disk_full(&self) -> bool {
        let is_full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        match self {
            Self::While { source, .. } => source.is_disk_full(),
            Self::Io(source) => is_full(source),
            other => {
                let mut cause = StdError::source(other);
                while let Some(error) = cause {
                    if error.downcast_ref().is_some_and(is_full) {
                        return true;
                    }
                    cause = error.source();
                }
                false
            }
        }
    }

    /// What to try, where the error itself says it.
    fn own_hint(&self) -> Option<String> {
        let bundles = |known: &[String]| match known {
            [] => format!(
                "the zoo is empty; name a bundle folder with {}, or a space and a predictor",
                Setting("supernet")
            ),
            known => format!("there are {}; a path to a bundle folder works too", known.join(", ")),
        };
        Some(match self {
            Self::While { source, .. } => return source.own_hint(),
            Self::Unit(error) => return error.hint(),
            Self::Hw(error) => return error.hint(),
            Self::Search(error) => return error.hint(),
            Self::Published(error) => return error.hint(),
            Self::NetworkFile { problem, .. } => return problem.hint(),
            Self::Predictor(error) => return error.hint(),
            Self::TensorFile(error) => return error.hint(),
            Self::Sweep(error) => return error.hint(),
            Self::Shard(error) => return error.hint(),
            Self::Report(error) => return error.hint(),
            Self::Build(error) => return error.hint(),
            #[cfg(feature = "torch")]
            Self::Recipe(error) => return error.hint(),
            #[cfg(feature = "torch")]
            Self::Supernet(error) => return error.hint(),
            #[cfg(feature = "torch")]
            Self::Data(error) => return error.hint(),
            #[cfg(feature = "torch")]
            Self::Device(error) => return error.hint(),
            #[cfg(feature = "torch")]
            Self::Import(error) => return error.hint(),
            Self::RunExists { .. } => {
                format!("add {} to go on with it, or name another folder with {}", Setting("resume"), Setting("out"))
            }
            Self::OtherList { .. } => "what was filled in would be lost: name another place, or remove it".into(),
            Self::Busy { .. } => "wait until it has ended, or end it; or name another folder".into(),
            Self::NotReached { spent: true, .. } => {
                format!(
                    "allow more with {}, or larger steps with {}",
                    Setting("iterations"),
                    Setting("initial-reduction")
                )
            }
            Self::NotReached { .. } => {
                "give a larger budget; the network of every step is in the folder's `steps`".into()
            }
            Self::UnknownSpace { .. } => format!("name it with {}", Setting("space")),
            Self::SameTarget { .. } => "name each target once; one given by a path is named in its file".into(),
            Self::KeepsOthers { .. } | Self::NotAFolder { .. } => {
                format!("name another folder with {}", Setting("out"))
            }
            Self::OtherPairs { .. } => {
                format!("give the seed it was begun with, or another file with {}", Setting("out"))
            }
            Self::OtherOrigin { .. } => {
                format!("give the weights and images it was begun with, or another file with {}", Setting("out"))
            }
            Self::OtherWeights { .. } => format!(
                "measure pairs of this bundle with `{}` and fit to them with `{}`",
                Setting("predictor collect"),
                Setting("predictor fit")
            ),
            Self::TrainedOn { .. } => format!(
                "give images that it has not seen, or measure a bundle on the part it kept apart with {} held-out",
                Setting("part")
            ),
            Self::OtherMeasurements { .. } => {
                "give the space and settings it was begun with, or another name, or remove that file".into()
            }
            Self::OtherSpace { made_for, .. } => format!("give it with space `{made_for}`"),
            Self::Unfinished { .. } => format!("finish it: `{}` with {}", Setting("train"), Setting("resume")),
            Self::OneClass { .. } => "put the images of each class into a folder of its own".into(),
            Self::OtherDefinition { .. } => {
                "give the space that it was made with; a changed one needs its own training".into()
            }
            Self::NotOneSubnet { .. } => "give a file with one line".into(),
            Self::BatchNormSource { .. } => "write `stored` or `calibrate:FILE.npz`".into(),
            Self::NotFound { .. } => "check the path".into(),
            Self::InFile { problem, .. } => return problem.hint(),
            Self::UnknownBundle { name, known } => match nearest(name, known.iter().map(String::as_str)).first() {
                Some(near) => format!("did you mean `{near}`? Known bundles: {}", known.join(", ")),
                None => bundles(known),
            },
            Self::NoDefaultBundle { known, .. } => bundles(known),
            Self::BundleLacks { file: "calibration", .. } => {
                format!("give training images with {}, or name a bundle that has images of its own", Setting("data"))
            }
            Self::BundleLacks { file: names::PREDICTOR, .. } => {
                format!("make one: `{}`, then `{}`", Setting("predictor collect"), Setting("predictor fit"))
            }
            Self::BundleLacks { .. } => {
                format!(
                    "copy the whole folder again, or name another bundle with {}; `{}` makes new ones",
                    Setting("supernet"),
                    Setting("train")
                )
            }
            Self::NeedsTarget { .. } => format!("add {}; `{}` names them", Setting("target"), Setting("target list")),
            Self::NothingToSearchFor => {
                format!("add {}, or a budget: {} 5M, {} 500K", Setting("target"), Setting("macs"), Setting("params"))
            }
            Self::NotExact { additive: true } => {
                let ceilings =
                    [Setting("energy"), Setting("latency"), Setting("macs"), Setting("params"), Setting("flash")];
                format!("give one of {}", ceilings.map(|ceiling| ceiling.to_string()).join(", "))
            }
            Self::NotExact { additive: false } => {
                format!("fit one with `{} {} additive`", Setting("predictor fit"), Setting("model"))
            }
            Self::NoStart { .. } => {
                format!("leave out {}, or search with {} evolution or local", Setting("start"), Setting("algorithm"))
            }
            Self::UpsideDown { .. } => format!("give the smaller cost with {}", Setting("from")),
            Self::NotOffered { offered, .. } => {
                let offered: Vec<String> = offered.iter().map(u32::to_string).collect();
                format!("offered: {}", offered.join(", "))
            }
            Self::NothingToVerify => format!("name a bundle with {}", Setting("supernet")),
            Self::Objectives { .. } => {
                format!(
                    "{} nsga2 takes several (accuracy,energy), exact accuracy and one cost, the others accuracy alone",
                    Setting("algorithm")
                )
            }
            Self::NoCommonResolution { .. } => "choose a predictor or a target of another bundle".into(),
            Self::NoData { .. } => {
                format!("add {} parquet:PATH, cifar:FOLDER, folder:FOLDER, idx:FOLDER or synthetic", Setting("data"))
            }
            Self::NoSpace { .. } => format!("name it with {}, or in a column `space`", Setting("space")),
            Self::OtherBatch { .. } => "state `batch` in the target's manifest, or give networks of its batch".into(),
            Self::NothingMeasured { .. } => "its columns are latency_ms and energy_mJ".into(),
            Self::NoCorrection => {
                "it takes at least four networks whose computed costs differ, and measured costs that grow with them"
                    .into()
            }
            Self::NoLayer { nearest, .. } if nearest.is_empty() => {
                format!("`{}` lists them", Setting("network show"))
            }
            Self::NoLayer { nearest, .. } => format!("did you mean {}?", nearest.join(" or ")),
            Self::ExportForm { hint, .. } => hint.clone(),
            Self::NotTheSame { .. } => "check that the file was made of this network, and not of one before it".into(),
            Self::NoRuntime { .. } => {
                "`pip install onnxruntime ai-edge-litert`; the variable OFA_PYTHON names another Python than python3"
                    .into()
            }
            Self::NotVerified { .. } => "check that it is a whole ONNX or TensorFlow Lite file of this network".into(),
            Self::NotExported { .. } => "`ofa network check` says whether the network's folder is whole".into(),
            Self::NotKept { .. } => {
                "look for rows of another unit, batch or power mode; `latency_ms` is in milliseconds, `energy_mJ` in \
                 millijoules"
                    .into()
            }
            Self::NoTable { .. } => {
                format!(
                    "`{}`, `add` and `measure` make targets with tables; {} fits networks measured whole",
                    Setting("target import"),
                    Setting("networks")
                )
            }
            Self::NothingToTransfer { .. } => format!("name another with {}, such as note10", Setting("transfer")),
            Self::NoOperators { .. } => format!("name a space whose operators are compared with {}", Setting("space")),
            Self::NothingInCommon { .. } => format!("`{}` says what each one knows", Setting("target show")),
            Self::Interrupted => "run the same command again: the same seed gives the same result".into(),
            Self::NoTorch { .. } => "build it with LibTorch: `scripts/ofa` does".into(),
            Self::FileInFolder { .. }
            | Self::Preprocessing { .. }
            | Self::DifferentBatches { .. }
            | Self::Io(_)
            | Self::Read { .. }
            | Self::Write { .. } => return None,
        })
    }
}

/// Adds what was being done to an error.
pub(crate) trait Within<T> {
    /// The value, or the error that came up while `what` was done.
    fn within(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Within<T> for std::result::Result<T, E> {
    fn within(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().within(what()))
    }
}

/// An error of ours that a search passed on comes out as it was.
impl From<SearchError> for Error {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Cost(foreign) | SearchError::Evaluation(foreign) if foreign.source.is::<Error>() => {
                *foreign.source.downcast().expect("the guard looked")
            }
            other => Self::Search(other),
        }
    }
}

#[cfg(feature = "torch")]
impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::Recipe(error.into())
    }
}

/// The error without the line that [`Failure::place`] names.
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
