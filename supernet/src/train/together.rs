//! What a training does with the other ranks, where there are some.

use tch::{Device, Kind, Tensor};

use super::plan_error::require;
use super::state::Position;
use crate::data::{DataError, EvalBatches};
use crate::error::SupernetError;
use crate::forward::calibrate;
use crate::forward::statistics::BnStatistics;
use crate::forward::subnet::Subnet;
use crate::ranks::Ranks;
use crate::supernet::Supernet;

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

/// Statistics of `subnet` over `batches`, of which each rank takes its turns.
///
/// # Errors
/// An image that cannot be read; a rank was lost.
pub(super) fn calibrate(
    ranks: &Ranks,
    subnet: &Subnet,
    batches: EvalBatches<'_>,
) -> Result<BnStatistics, SupernetError> {
    // With fewer batches than ranks some would have nothing to give.
    let are_shared = ranks.count() > 1 && batches.len() >= ranks.count();
    let own = if are_shared { batches.of_rank(ranks.rank(), ranks.count()) } else { batches };
    let own: Vec<Tensor> = own.map(|batch| Ok(batch?.images)).collect::<Result<_, DataError>>()?;
    let statistics = calibrate::calibrate(subnet, &own);
    if !are_shared {
        return Ok(statistics);
    }
    let statistics = statistics.over(|values| ranks.sum(values));
    ranks.check()?;
    Ok(statistics)
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
