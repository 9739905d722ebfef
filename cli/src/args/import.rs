//! `ofa import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// A checkpoint of the published once-for-all MobileNetV3 supernets
    OfaMbv3(ImportArgs),
    /// A checkpoint of the published once-for-all ProxylessNAS supernet
    OfaProxyless(ImportArgs),
}

/// `ofa import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The checkpoint; tensors are read, nothing in it is executed
    #[arg(value_name = "CHECKPOINT.pth")]
    pub(crate) checkpoint: PathBuf,
    /// The space of the weights
    #[arg(long)]
    pub(crate) space: String,
    /// Folder of the bundle
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) out: PathBuf,
    /// Height and width that images are brought to; the space's largest resolution without it
    #[arg(long, value_name = "PIXELS")]
    pub(crate) image_size: Option<usize>,
    /// Mean of R, G and B in 0 to 1, for example 0.485,0.456,0.406; ImageNet's without it
    #[arg(long, value_name = "R,G,B", value_parser = parse_rgb)]
    pub(crate) mean: Option<[f64; 3]>,
    /// Standard deviation of R, G and B; ImageNet's without it
    #[arg(long, value_name = "R,G,B", value_parser = parse_rgb)]
    pub(crate) std: Option<[f64; 3]>,
    /// A file with one name of a class per line, in the order of the outputs; numbers without it
    #[arg(long, value_name = "NAMES.txt")]
    pub(crate) class_names: Option<PathBuf>,
}

/// One number per channel.
fn parse_rgb(word: &str) -> Result<[f64; 3], String> {
    let numbers: Result<Vec<f64>, _> = word.split(',').map(|number| number.trim().parse()).collect();
    let channels = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    channels.ok_or_else(|| format!("`{word}` is not three numbers such as 0.485,0.456,0.406"))
}
