//! A static network as a TorchScript module that plain PyTorch runs: `torch.jit.load(path)(images)`.
//!
//! The forward pass is traced once, so the file holds the operators and weights themselves and nothing of this engine.
//! It takes float32 `[N, 3, R, R]`, any N, normalised as the files beside it say, and gives `[N, classes]`.

use std::fs::File;
use std::io;
use std::path::Path;

use storage::atomic::write_atomically;
use tch::{CModule, Device, Kind, Tensor};

use crate::error::SupernetError;
use crate::forward::extract::StaticSubnet;

/// Writes `network` to `path`, atomically. The network must be on the CPU.
///
/// # Errors
/// The file cannot be written.
pub fn save_torchscript(network: &StaticSubnet, path: &Path) -> Result<(), SupernetError> {
    let size = i64::from(network.subnet().config().resolution);
    // Two images: a batch of one could be traced into a shape that holds for one only.
    let example = [Tensor::zeros([2, 3, size, size], (Kind::Float, Device::Cpu))];
    let module = tch::no_grad(|| {
        CModule::create_by_tracing("Subnet", "forward", &example, &mut |inputs: &[Tensor]| {
            vec![network.traced(&inputs[0])]
        })
    })?;
    // LibTorch opens the file by itself, and names the archive's root after it: it must have its last name from the start,
    // or equal networks would make different files.
    let folder = tempfile::tempdir()?;
    let made = folder.path().join(path.file_name().unwrap_or_default());
    module.save(&made)?;
    Ok(write_atomically(path, |file| io::copy(&mut File::open(&made)?, file).map(drop))?)
}
