//! A network about to be written, or to be held against a file.

use std::path::Path;

use network::folded::Folded;
use network::shape::NetworkShape;
use supernet::data::PreprocessingFile;
use supernet::network::Network;
use tch::{Device, Tensor};

use super::samples::numbers;
use crate::error::{Error, Result};
use crate::folders::names;
use crate::folders::network_folder::NetworkFolder;

/// Images at a time.
const BATCH: i64 = 250;

/// A network about to be written.
pub(crate) struct Source {
    pub(crate) shape: NetworkShape,
    pub(crate) folded: Folded,
    pub(crate) network: Network,
    pub(crate) described: Option<PreprocessingFile>,
    pub(crate) warnings: Vec<String>,
}

impl Source {
    /// The network in `folder`, on `device`.
    ///
    /// # Errors
    /// A damaged folder.
    pub(crate) fn read(folder: &Path, device: Device) -> Result<Source> {
        let NetworkFolder { shape, weights, mixed } = NetworkFolder::read(folder)?;
        let file = folder.join(names::PREPROCESSING);
        let described = if file.exists() { Some(PreprocessingFile::read(&file)?) } else { None };
        let (folded, network) = (Folded::new(&shape, &weights), Network::from_weights(&shape, &weights, device)?);
        Ok(Source { shape, folded, network, described, warnings: mixed })
    }

    /// What says how images become its input.
    ///
    /// # Errors
    /// Nothing says so, or it reads no colour images.
    pub(crate) fn described(&self, folder: &Path) -> Result<&PreprocessingFile> {
        if self.shape.input().channels != 3 {
            let reason = format!(
                "it reads {}, which no colour image is; without --data it is checked with noise",
                self.shape.input()
            );
            return Err(Error::FileInFolder { path: folder.join(names::NETWORK), reason });
        }
        let missing = || {
            let reason = "is missing, so nothing says how images become this network's input";
            Error::FileInFolder { path: folder.join(names::PREPROCESSING), reason: reason.into() }
        };
        self.described.as_ref().ok_or_else(missing)
    }

    /// What LibTorch computes of normalised images.
    pub(crate) fn outputs(&self, images: &Tensor, device: Device) -> Vec<f32> {
        let run = |batch: &Tensor| numbers(&self.network.forward(&batch.to_device(device)));
        images.split(BATCH, 0).iter().flat_map(run).collect()
    }
}
