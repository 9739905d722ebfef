//! Logits of given tensors, for comparing with other frameworks (`ofa eval --logits`).

use std::collections::BTreeMap;
use std::path::Path;

use search::arch::ArchSpec;
use supernet::calibrate::calibrate;
use supernet::import::HostArray;
use supernet::npz::{read_npz, write_npz};
use supernet::subnet::Mode;
use supernet::supernet::Supernet;
use supernet::tensors::{from_tensor, to_tensor};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::torch::BatchNormSource;

/// Runs every subnet on the array of its own resolution (`r128`, `r160`, … float32 `[N, 3, r, r]`, equal N) of the file
/// `inputs` and writes `logits` `[subnets, N, classes]` to `out`.
///
/// # Errors
/// A missing or misshapen array, or a file that cannot be read or written.
pub(crate) fn write_logits(
    supernet: &Supernet,
    archs: &[ArchSpec],
    inputs: &Path,
    batch_norm: &BatchNormSource,
    out: &Path,
) -> Result<()> {
    let arrays = read_npz(inputs)?;
    let calibration = match batch_norm {
        BatchNormSource::Stored => None,
        BatchNormSource::Calibrate(path) => {
            let batches = array(&read_npz(path)?, "batches", path, 5)?;
            Some(batches.to_device(supernet.device()).unbind(0))
        }
    };
    let mut rows = Vec::new();
    for arch in archs {
        let name = format!("r{}", arch.resolution());
        let images = array(&arrays, &name, inputs, 4)?.to_device(supernet.device());
        let subnet = supernet.subnet(&supernet.space().resolve(arch));
        let statistics = match &calibration {
            None => subnet.stored_statistics(),
            Some(batches) => calibrate(&subnet, batches),
        };
        rows.push(tch::no_grad(|| subnet.forward(&images, Mode::Eval(&statistics))));
    }
    if let Some(odd) = rows.iter().position(|row| row.size() != rows[0].size()) {
        let reason = format!("`r{}` holds another number of images", archs[odd].resolution());
        return Err(Error::FileInFolder { path: inputs.to_path_buf(), reason });
    }
    let logits = Tensor::stack(&rows, 0).to_kind(Kind::Float);
    Ok(write_npz(out, &[("logits", &from_tensor(&logits))])?)
}

fn array(arrays: &BTreeMap<String, HostArray>, name: &str, path: &Path, dimensions: usize) -> Result<Tensor> {
    let refuse = |reason: String| Error::FileInFolder { path: path.to_path_buf(), reason };
    let found = arrays.get(name).ok_or_else(|| refuse(format!("array `{name}` is missing")))?;
    if found.shape().len() != dimensions {
        return Err(refuse(format!("array `{name}` has shape {:?}, not {dimensions} dimensions", found.shape())));
    }
    Ok(to_tensor(found).to_kind(Kind::Float))
}
