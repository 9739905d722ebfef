//! What a training does with the other ranks, where there are some.

use tch::{Device, Kind, Tensor};

use super::plan_error::require;
use super::state::Position;
use crate::error::SupernetError;
use crate::ranks::Ranks;
use crate::supernet::Supernet;
use crate::weights::NamedWeight;

/// Refuses to go on where ranks are not at the same step with the same weights.
///
/// # Errors
/// They are not, or one was lost.
pub(super) fn agree(ranks: &Ranks, position: Position, supernet: &Supernet) -> Result<(), SupernetError> {
    if ranks.count() == 1 {
        return Ok(());
    }
    ranks.agree(position.global_step, "position in the run")?;
    let sums = supernet.weights().iter().map(|weight| weight.tensor.abs().sum(Kind::Double).double_value(&[]));
    Ok(ranks.agree(sums.sum::<f64>().to_bits(), "weights")?)
}

/// Replaces the gradients of this rank's share of the batch by those of the whole batch; a weight that took no part has
/// gradient zero.
pub(super) fn share_gradients(ranks: &Ranks, supernet: &Supernet) {
    if ranks.count() == 1 {
        return;
    }
    tch::no_grad(|| {
        let weights = || supernet.weights().iter().filter(|weight| weight.is_trained());
        let of = |weight: &NamedWeight| {
            let gradient = weight.tensor.grad();
            let gradient = if gradient.defined() { gradient } else { weight.tensor.zeros_like() };
            gradient.to_device(Device::Cpu).flatten(0, -1)
        };
        let all = Tensor::cat(&weights().map(of).collect::<Vec<_>>(), 0);
        let mut values = Vec::<f32>::try_from(&all).expect("float32 gradients");
        ranks.sum(&mut values);
        let all = Tensor::from_slice(&values) / ranks.count() as f64;
        let mut at = 0;
        for weight in weights() {
            let (count, mut gradient) = (weight.tensor.numel() as i64, weight.tensor.grad());
            if gradient.defined() {
                gradient.copy_(&all.narrow(0, at, count).view_as(&gradient));
            }
            at += count;
        }
    });
}

/// Whether all batch norms of `supernet` can go by the batches of several processes: only kernels of our own ask the others.
pub(super) fn check_synchronised(supernet: &Supernet) -> Result<(), SupernetError> {
    let space = supernet.space();
    let largest = space.largest(space.resolutions()[0]).expect("its own resolution");
    let reason = match supernet.device() {
        Device::Cpu if supernet.subnet(&space.resolve(&largest)).is_fused() => return Ok(()),
        Device::Cpu => "but a layer of this space's head has no batch norm, and the others cannot be synchronised then",
        _ => "but on a GPU the batch norm of each process goes by its own images",
    };
    require(false, "sync_batch_norm", true, reason)?;
    Ok(())
}
