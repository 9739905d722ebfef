//! Ways to answer "what does this operator cost", one file each.

pub mod accelerator;
pub mod features;
pub mod fit;
pub mod fitted;
pub mod limited;
pub mod lookup;
pub mod network_features;
pub mod network_fit;
pub mod per_mac;

pub use accelerator::AcceleratorModel;
pub use fitted::FittedModel;
pub use limited::LimitedModel;
pub use lookup::{FirstOf, PowerModel, ScaledModel, TableModel};
pub use network_fit::NetworkFit;
pub use per_mac::PerMac;

use std::fmt::Debug;
use std::sync::Arc;

use crate::cost::Estimate;
use crate::workload::Op;

/// Answers for one quantity of one operator.
pub trait CostModel: Debug + Send + Sync {
    /// What `op` costs inside a network of input size `network_resolution`, in SI units.
    ///
    /// # Errors
    /// [`Uncovered`] if the model does not cover it; never a zero.
    fn cost(&self, op: &Op, network_resolution: u32) -> Result<Estimate, Uncovered>;

    /// Input sizes of networks that it is limited to; `None` = any.
    fn network_resolutions(&self) -> Option<Vec<u32>> {
        None
    }

    /// The same without its limit on extrapolation; `None` = it has none.
    fn without_limit(&self) -> Option<Arc<dyn CostModel>> {
        None
    }
}

/// A model does not cover an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// Why, or what is near, in words.
    pub near: String,
}
