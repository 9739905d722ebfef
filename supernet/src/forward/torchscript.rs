//! A static network as a TorchScript module that plain PyTorch runs: `torch.jit.load(path)(images)`.
//!
//! The forward pass is traced once, so the file holds the operators and weights themselves and nothing of this engine.
//! It takes float32 `[N, 3, R, R]`, any N, normalised as the files beside it say, and gives `[N, classes]`.

use std::path::Path;

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
            vec![network.forward(&inputs[0])]
        })
    })?;
    // LibTorch opens the file by itself; the rename makes it whole or absent.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!("{name}.{}.tmp", std::process::id()));
    let written = module.save(&temporary).map_err(SupernetError::from).and_then(|()| {
        std::fs::File::open(&temporary)?.sync_all()?;
        std::fs::rename(&temporary, path)?;
        Ok(std::fs::File::open(folder)?.sync_all()?)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
