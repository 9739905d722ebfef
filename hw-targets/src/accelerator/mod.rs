//! Energy of a convolutional network on a row-stationary accelerator, by counting accesses.
//!
//! Nothing is measured or fitted: an [`Accelerator`] says how large its storages are and what an access to each costs,
//! a [`Layer`] says its shape, bit widths and zeros, and [`estimate`] searches the mapping with the least energy. The
//! model is that of Eyeriss (Chen, Emer & Sze, ISCA 2016, Sections V and VI: dataflow and counts) with the bit widths
//! and sparsity of Yang, Chen & Sze (CVPR 2017, arXiv:1611.05128, Section 2) and Yang, Chen, Emer & Sze (Asilomar
//! 2017). The unit is the energy of one 16-bit multiply-accumulate; everything is per image.
//!
//! ```
//! use hw_targets::accelerator::{Accelerator, Layer, estimate};
//!
//! // The third convolution of AlexNet for a batch of 16, in the 25 numbers of the published tool.
//! let line = "1, 13,13,256,16,0,16, 3,3,256,384,0,16, 13,13,384,16,0,16, 1,1, 1,1,1,1";
//! let layers = Layer::parse_file("conv3.csv".as_ref(), line)?;
//! let energy = estimate(&layers[0], &Accelerator::builtin("eyeriss-isca16")?)?;
//! assert_eq!(energy.computation, 149_520_384.0);
//! // Moving data takes five times the energy of computing with it.
//! assert!(energy.levels().total() > 4.9 * energy.computation);
//! # Ok::<(), hw_targets::error::HwError>(())
//! ```
//!
//! # What is counted
//!
//! Convolutions and fully connected layers (a convolution whose filter covers its input); pooling, batch norm,
//! activations, additions and control are not, as in the papers. There is no clock and no latency here. Groups run one
//! after the other, so a depthwise layer is as many layers of one channel.
//!
//! # How far to trust it
//!
//! Dense AlexNet on `eyeriss-isca16` is within 1 % of the published figure in every layer's total. The forms of the
//! counts were settled with that figure in view, so this is the quality of a fit rather than a prediction; single
//! storage levels of single layers differ by more (array accesses of fully connected layers by 3). On `eyeriss` the
//! search stays 28 % below the published tool's AlexNet, because that tool uses mappings computed beforehand which this
//! model does not find optimal: they read the weights of most layers from DRAM four to five times as often.
//!
//! A mode that imitates the tool is left out on purpose. It would force the number of images per pass, layer by layer;
//! the eight numbers can only be read off the one figure that they would then be compared with, and nothing published
//! says what they are for another network.

mod description;
mod energy;
mod layer;
mod layer_file;
mod lowering;
mod mapping;
mod mapping_search;

pub(crate) use self::description::schema;
pub use self::description::{Accelerator, AcceleratorEntry, PeArray, Sparsity};
pub use self::energy::{LayerEnergy, LevelEnergy, NetworkEnergy};
pub use self::layer::{Layer, LayerShape, TensorShape};
pub use self::lowering::layers_of;
pub use self::mapping::Mapping;

use crate::error::HwError;

/// Energy of one image's share of a layer, under the mapping that needs least.
///
/// Equal inputs give equal mappings: the first of equally good ones in a fixed order.
///
/// # Errors
/// [`HwError::Unmappable`] if not even the smallest mapping fits the accelerator.
pub fn estimate(layer: &Layer, accelerator: &Accelerator) -> Result<LayerEnergy, HwError> {
    let counter = energy::Counter::new(layer, accelerator);
    let mapping = mapping_search::search(layer, accelerator, &counter)?;
    Ok(counter.energy(mapping))
}

/// Energy of one image on a whole network, layer by layer.
///
/// # Errors
/// Those of [`estimate`], for the first layer that has one.
pub fn estimate_network(layers: &[Layer], accelerator: &Accelerator) -> Result<NetworkEnergy, HwError> {
    let layers = layers.iter().map(|layer| estimate(layer, accelerator)).collect::<Result<_, _>>()?;
    Ok(NetworkEnergy { layers })
}
