//! The names of the files that folders hold: nowhere else are they spelled out.
#![cfg_attr(not(feature = "torch"), allow(dead_code, reason = "verbs that need LibTorch write them"))]

/// The search space.
pub const SPACE: &str = "space.yaml";
/// The weights of all subnets.
pub(crate) const SUPERNET: &str = supernet::WEIGHTS_FILE;
/// Key of the weights' own digest in the metadata of that file.
pub(crate) const WEIGHTS_DIGEST: &str = "weights_digest";
/// The predictor.
pub(crate) const PREDICTOR: &str = "predictor.safetensors";
/// How good it is, beside it.
pub(crate) const PREDICTOR_REPORT: &str = "predictor.report.json";
/// Normalisation, resize rule and class names.
pub(crate) const PREPROCESSING: &str = "preprocessing.json";
/// The folder of calibration images.
pub(crate) const CALIBRATION: &str = "calibration";
/// The images in that folder.
pub(crate) const CALIBRATION_IMAGES: &str = "images.safetensors";
/// Where a making of them that was stopped goes on, in that folder.
pub(crate) const CALIBRATION_STATE: &str = "unfinished.safetensors";
/// The measured pairs.
pub(crate) const ACCURACY: &str = "accuracy.parquet";
/// The recipe of a training.
pub const RECIPE: &str = "recipe.yaml";
/// Data, commands, hardware, results, for people.
pub const MODEL_CARD: &str = "MODEL_CARD.md";
/// What training cost in energy.
pub const ENERGY: &str = "energy.json";
/// Which program made a run, on what, and with which seed.
pub const RUN: &str = "run.json";
/// One line for each epoch.
pub(crate) const METRICS: &str = "metrics.jsonl";
/// Accuracy on the test set at the end of a training.
pub(crate) const TEST_REPORT: &str = "report.json";
/// What a refinement was begun with.
pub(crate) const ADAPTATION: &str = "adaptation.json";
/// The folder of checkpoints of a training.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// The folder of the bundle that a training ends with.
pub const BUNDLE: &str = "bundle";
/// The settings of a build.
pub const BUILD: &str = "build.yaml";
/// A sweep's file in the folder of its results.
pub const SWEEP: &str = "sweep.yaml";
/// The folder of the training of a build, and of its bundle.
pub const TRAINED: &str = "supernet";
/// The best subnet of a search, with costs and provenance.
pub(crate) const RESULT: &str = "result.json";
/// The subnet alone.
pub(crate) const SUBNET: &str = "subnet.json";
/// The subnets found, where several were asked for.
pub(crate) const TOP: &str = "top.jsonl";
/// Every evaluation of a search.
pub(crate) const HISTORY: &str = "history.parquet";
/// What a search under way has evaluated; gone when it has ended.
pub(crate) const SEARCH_JOURNAL: &str = "search.journal";
/// The folder of the network that a fine-tuning ends with.
pub const NETWORK_FOLDER: &str = "network";
/// The layers of a network, which needs no search space.
pub(crate) const NETWORK: &str = "network.json";
/// The weights of a network.
pub const WEIGHTS: &str = "weights.safetensors";
/// The bundle that has the weights of a subnet, in a folder without weights of its own.
pub(crate) const PARENT: &str = "parent.json";
/// The batch-norm statistics of such a subnet.
pub(crate) const STATISTICS: &str = "statistics.safetensors";
/// An extracted network as a TorchScript module.
pub(crate) const TORCHSCRIPT: &str = "module.pt";
/// The visits of a measurement under way.
pub(crate) const MEASURING_JOURNAL: &str = "measuring.jsonl";
/// The table of a measured target.
pub const TABLE: &str = "table.csv";
/// The list of operators to measure.
pub const OPERATORS: &str = "operators.csv";
