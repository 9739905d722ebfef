//! Ways to answer "what does this operator cost", one file each.

pub mod accelerator;
pub(crate) mod between;
pub mod features;
pub mod fit;
pub mod fitted;
pub mod limited;
pub(crate) mod lookup;
pub mod network_features;
pub mod network_fit;
pub mod per_mac;

pub use accelerator::AcceleratorModel;
pub use fitted::FittedModel;
pub use limited::LimitedModel;
pub use lookup::{FirstOf, PowerModel, ScaledModel, TableModel};
pub use network_fit::NetworkFit;
pub use per_mac::PerMac;

use std::borrow::Borrow;
use std::fmt::Debug;
use std::sync::Arc;

use crate::cost::{CostSum, Estimate};
use network::op::{Op, Workload};

/// Answers for one quantity of one operator.
pub trait CostModel: Debug + Send + Sync {
    /// What `op` costs inside a network of input size `network_resolution`, in SI units.
    ///
    /// # Errors
    /// [`Uncovered`] if the model does not cover it; never a zero, but for what a table of bare layers does not count.
    fn cost(&self, op: &Op, network_resolution: u32) -> Result<Estimate, Uncovered>;

    /// Input sizes of networks that it is limited to; `None` = any.
    fn network_resolutions(&self) -> Option<Vec<u32>> {
        None
    }

    /// This model answering for widths between those of its table, too; `None` = it has no table.
    fn between_widths(&self) -> Option<Arc<dyn CostModel>> {
        None
    }

    /// This model without its limit on extrapolation; `None` = it has none.
    fn without_limit(&self) -> Option<Arc<dyn CostModel>> {
        None
    }
}

/// How many of `networks` both models cover, and the mean absolute relative difference between the sums of `model` and
/// those of `exact` over their operators; 0 where there are none.
pub fn difference_of_sums<N: Borrow<Workload>>(
    exact: &dyn CostModel,
    model: &dyn CostModel,
    networks: impl IntoIterator<Item = N>,
) -> (usize, f64) {
    let sum = |model: &dyn CostModel, network: &Workload| {
        let mut sum = CostSum::default();
        for op in &network.ops {
            sum.add(&model.cost(op, network.resolution).ok()?);
        }
        Some(sum.value)
    };
    let difference = |network: N| {
        let network = network.borrow();
        Some((sum(model, network)? / sum(exact, network)? - 1.0).abs())
    };
    let errors: Vec<f64> = networks.into_iter().filter_map(difference).collect();
    (errors.len(), errors.iter().sum::<f64>() / errors.len().max(1) as f64)
}

/// A model does not cover an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// Why, or what is near, in words.
    pub near: String,
}
