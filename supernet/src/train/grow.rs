//! Growing: the weights of the smallest subnet, trained alone, spread over the whole supernet.
//!
//! Training a small subnet first and spreading its weights upward is the idea of SuperFast (DAC 2025: 1.4 to 1.8 times
//! faster); how it spreads them is not published, so what is here is a design of its own, after Net2Net (Chen et al. 2016,
//! arXiv:1511.05641). Right after growing, without noise, the largest subnet computes what the smallest did:
//!
//! - *width*: a new middle channel is a copy of a trained one, taken in turn, batch norm included. The weights that read a
//!   trained channel (projection, squeeze-excite) are split evenly among it and its copies. Batch norm after the projection
//!   does not see a common factor, so that also every width of which the smallest is a whole fraction keeps the function,
//!   but for squeeze-excite; widths between do so roughly;
//! - *kernel size*: the filters that the smallest kernels had, after their transforms, become the centres of large ones
//!   whose border is zero, and the transforms begin again as the identity;
//! - *depth*: a block that the smallest subnet skips begins with fresh weights behind a batch norm of scale 0, which makes
//!   it its shortcut. (Every block but the first of a stage has one, and no subnet skips the first.)
//!
//! Equal copies would get equal gradients wherever they are used together. Noise in proportion to each channel's weights
//! tells them apart, and so does every subnet that uses some copies and not others.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use search::space::SearchSpace;
use search::subnet::{BlockPosition, BlockShape};
use tch::Tensor;

use crate::elastic::{ElasticBatchNorm, ElasticBlock};
use crate::supernet::Supernet;

/// Standard deviation of the noise on copied channels, as a share of the root mean square of a channel's weights: enough
/// to part the copies, little enough to change hardly a prediction.
pub(crate) const NOISE: f64 = 0.05;

impl Supernet {
    /// Spreads the weights of the smallest subnet over all others, whose own weights are lost. `noise` is its standard
    /// deviation on copied channels, relative to their weights; 0 keeps the function exactly.
    ///
    /// # Panics
    /// In a space that [`can_grow`] denies.
    pub(crate) fn grow_from_smallest(&self, noise: f64, rng: &mut impl Rng) {
        assert!(can_grow(self.space()), "a block without expand convolution has nothing to copy");
        let fresh = Supernet::new(self.space(), rng.random(), self.device());
        let resolution = self.space().resolutions()[0];
        let resolve = |arch| self.space().resolve(&arch);
        let small = resolve(self.space().smallest(resolution).expect("its own resolution"));
        let large = resolve(self.space().largest(resolution).expect("its own resolution"));
        tch::no_grad(|| {
            for shape in &large.blocks {
                let BlockPosition::Elastic { stage, index } = shape.position else { continue };
                let block = &self.stages[stage][index];
                match small.blocks.iter().find(|small| small.position == shape.position) {
                    Some(small) => grow_block(block, small, noise, rng),
                    None => {
                        let name = format!("stages.{stage}.{index}.");
                        for (own, fresh) in self.weights().iter().zip(fresh.weights()) {
                            if own.name.starts_with(&name) {
                                own.tensor.shallow_clone().copy_(&fresh.tensor);
                            }
                        }
                        let norm = block.project.batch_norm.as_ref().expect("the projection is normalised");
                        let _ = norm.weight.shallow_clone().zero_();
                    }
                }
            }
        });
    }
}

/// Whether the smallest subnet has every kind of layer that the largest has: a block of expand ratio 1 may do without the
/// expand convolution that wider ones need.
pub(super) fn can_grow(space: &SearchSpace) -> bool {
    let resolution = space.resolutions()[0];
    let resolve = |arch| space.resolve(&arch);
    let small = resolve(space.smallest(resolution).expect("its own resolution"));
    let large = resolve(space.largest(resolution).expect("its own resolution"));
    let of = |position| large.blocks.iter().find(|block: &&BlockShape| block.position == position);
    small.blocks.iter().all(|block| of(block.position).is_some_and(|large| large.expand_conv == block.expand_conv))
}

/// Which trained element each element of a wider layer copies, and the share of its readers' weights that it gets.
struct Copies {
    trained: i64,
    sources: Tensor,
    shares: Tensor,
}

impl Copies {
    /// The first `trained` of `all` elements in turn.
    fn new(trained: i64, all: i64, like: &Tensor) -> Self {
        let sources: Vec<i64> = (0..all).map(|element| element % trained).collect();
        let copies = |source: &i64| (all - source + trained - 1) / trained;
        let shares: Vec<f32> = sources.iter().map(|source| 1.0 / copies(source) as f32).collect();
        let device = like.device();
        let (sources, shares) = (Tensor::from_slice(&sources), Tensor::from_slice(&shares));
        Self { trained, sources: sources.to_device(device), shares: shares.to_device(device) }
    }

    /// Elements along dimension 0 become copies.
    fn spread(&self, tensor: &Tensor) {
        tensor.shallow_clone().copy_(&tensor.index_select(0, &self.sources));
    }

    /// Elements along dimension 0 become copies, each a little off.
    fn spread_with_noise(&self, tensor: &Tensor, noise: f64, rng: &mut impl Rng) {
        self.spread(tensor);
        let new = tensor.narrow(0, self.trained, tensor.size()[0] - self.trained);
        let values: Vec<f32> = (0..new.numel()).map(|_| StandardNormal.sample(rng)).collect();
        let values = Tensor::from_slice(&values).to_device(new.device()).reshape(new.size());
        let size = new.square().mean_dim(&[1i64, 2, 3][..], true, new.kind()).sqrt();
        let _ = new.shallow_clone().g_add_(&(values * size * noise));
    }

    /// The weights that read the elements, along dimension 1 of `[out, in, 1, 1]`, are split among copies.
    fn split(&self, weight: &Tensor) {
        let split = weight.index_select(1, &self.sources) * self.shares.view([1, -1, 1, 1]);
        weight.shallow_clone().copy_(&split);
    }
}

fn grow_block(block: &ElasticBlock, small: &BlockShape, noise: f64, rng: &mut impl Rng) {
    let project = &block.project.weight;
    let channels = Copies::new(i64::from(small.mid_channels), project.size()[1], project);
    let spread_norm = |norm: &ElasticBatchNorm| {
        for tensor in [&norm.weight, &norm.bias, &norm.running_mean, &norm.running_var] {
            channels.spread(tensor);
        }
    };
    if let Some(expand) = &block.expand {
        channels.spread_with_noise(&expand.weight, noise, rng);
        expand.batch_norm.iter().for_each(spread_norm);
    }
    block.depthwise.embed(&block.depthwise.filters(small.mid_channels, small.kernel));
    channels.spread_with_noise(&block.depthwise.weight, noise, rng);
    spread_norm(&block.depthwise.batch_norm);
    if let (Some(layer), Some(squeezed)) = (&block.squeeze_excite, small.se_channels) {
        let hidden = Copies::new(i64::from(squeezed), layer.reduce.0.size()[0], project);
        channels.split(&layer.reduce.0);
        hidden.spread(&layer.reduce.0);
        hidden.spread(&layer.reduce.1);
        hidden.split(&layer.expand.0);
        channels.spread(&layer.expand.0);
        channels.spread(&layer.expand.1);
    }
    channels.split(project);
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use search::arch::{ArchSpec, BlockSpec, StageSpec};
    use tch::{Device, Kind};

    use super::*;
    use crate::forward::subnet::Mode;
    use crate::optim::{Sgd, SgdSettings};
    use crate::weights::Role;

    /// LibTorch's own generator is shared with tests that run beside.
    fn normal(size: &[i64], rng: &mut ChaCha8Rng) -> Tensor {
        let values: Vec<f32> = (0..size.iter().product()).map(|_: i64| StandardNormal.sample(rng)).collect();
        Tensor::from_slice(&values).reshape(size)
    }

    /// As after training: every weight somewhere else than where it began, kernel transforms included.
    fn trained(space: &SearchSpace) -> Supernet {
        let supernet = Supernet::new(space, 7, Device::Cpu);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        tch::no_grad(|| {
            for weight in supernet.weights().iter().filter(|weight| weight.role != Role::Statistic) {
                let _ = weight.tensor.shallow_clone().g_add_(&(normal(&weight.tensor.size(), &mut rng) * 0.05));
            }
        });
        supernet
    }

    fn grown(space: &SearchSpace, noise: f64, seed: u64) -> Supernet {
        let supernet = trained(space);
        supernet.grow_from_smallest(noise, &mut ChaCha8Rng::seed_from_u64(seed));
        supernet
    }

    fn images(resolution: u32) -> Tensor {
        let size = i64::from(resolution);
        normal(&[16, 3, size, size], &mut ChaCha8Rng::seed_from_u64(5))
    }

    /// Normalised by the batch, as in training; without dropout.
    fn logits(supernet: &Supernet, arch: &ArchSpec) -> Tensor {
        let images = images(arch.resolution());
        let mut statistics = crate::forward::statistics::BnStatistics::default();
        let config = supernet.space().resolve(arch);
        tch::no_grad(|| supernet.forward(&images, &config, Mode::Calibrate(&mut statistics)))
    }

    fn difference(a: &Tensor, b: &Tensor) -> f64 {
        ((a - b).abs().max() / b.std(false)).double_value(&[])
    }

    /// `[smallest, largest]` of each choice: which of the two depth, kernel size and expand ratio take.
    fn corner(space: &SearchSpace, [depth, kernel, expand]: [bool; 3]) -> ArchSpec {
        let pick = |choices: &[u32], largest: bool| if largest { choices[choices.len() - 1] } else { choices[0] };
        let stages = space.stages().iter().map(|stage| {
            let block = BlockSpec { kernel: pick(&stage.kernels, kernel), expand: pick(&stage.expands, expand) };
            StageSpec { blocks: vec![block; pick(&stage.depths, depth) as usize] }
        });
        space.arch(space.resolutions()[0], stages.collect()).unwrap()
    }

    #[test]
    fn every_corner_computes_what_the_smallest_did() {
        // The last has squeeze-excite, kernels 3, 5 and 7 and, between expand ratios 3 and 4, an uneven split.
        for name in ["mcu-cifar", "fbnet-cifar", "mbv3-w1.0"] {
            let space = SearchSpace::builtin(name).unwrap();
            let smallest = space.smallest(space.resolutions()[0]).unwrap();
            let before = logits(&trained(&space), &smallest);
            let grown = grown(&space, 0.0, 1);
            for depth in [false, true] {
                for kernel in [false, true] {
                    let wide = corner(&space, [depth, kernel, true]);
                    let found = difference(&logits(&grown, &wide), &before);
                    assert!(found < 2e-3, "{name}, {depth} {kernel}: {found}");
                }
            }
            let found = difference(&logits(&grown, &smallest), &before);
            assert!(found < 1e-2 || name == "mbv3-w1.0", "{name}: batch norm does not see the common factor: {found}");
            let largest = space.largest(space.resolutions()[0]).unwrap();
            assert!(difference(&logits(&trained(&space), &largest), &before) > 0.5, "{name}: it did not before");
        }
    }

    #[test]
    fn noise_parts_the_copies_and_hardly_changes_the_network() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let largest = space.largest(24).unwrap();
        let (exact, noisy) = (grown(&space, 0.0, 1), grown(&space, NOISE, 1));
        let found = difference(&logits(&noisy, &largest), &logits(&exact, &largest));
        assert!(found > 1e-3 && found < 0.5, "{found}");
        // Expand ratios 2 to 4 of 40 channels: the second 80 copy the first.
        for layer in ["expand", "depthwise"] {
            let weight = &noisy.tensors()[&format!("stages.1.1.{layer}.conv.weight")];
            let off = (weight.narrow(0, 80, 80) - weight.narrow(0, 0, 80)).square().mean(Kind::Float).sqrt();
            let size = weight.narrow(0, 0, 80).square().mean(Kind::Float).sqrt();
            let share = (off / size).double_value(&[]);
            assert!((share / NOISE - 1.0).abs() < 0.15, "{layer}: {share}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_bits() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let [a, again, other] = [1, 1, 2].map(|seed| grown(&space, NOISE, seed).tensors());
        assert!(a.iter().all(|(name, tensor)| tensor.equal(&again[name])));
        assert!(!a["stages.1.0.expand.conv.weight"].equal(&other["stages.1.0.expand.conv.weight"]), "copies");
        assert!(!a["stages.1.2.expand.conv.weight"].equal(&other["stages.1.2.expand.conv.weight"]), "new blocks");
    }

    #[test]
    fn gradients_reach_all_that_is_new() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let supernet = grown(&space, NOISE, 1);
        let config = space.resolve(&space.largest(24).unwrap());
        let mut sgd =
            Sgd::new(supernet.weights(), SgdSettings { momentum: 0.9, weight_decay: 0.0, clip_gradient: None });
        let labels = Tensor::arange(16, (Kind::Int64, Device::Cpu)).remainder(10);
        let backward =
            || supernet.forward(&images(24), &config, Mode::Train).cross_entropy_for_logits(&labels).backward();
        let gradient = |name: &str| {
            let weight = supernet.weights().iter().find(|weight| weight.name == name).unwrap();
            weight.tensor.grad()
        };
        let reached =
            |gradient: &Tensor| gradient.abs().flatten(1, -1).amax([1i64], false).min().double_value(&[]) > 0.0;
        backward();
        // Copied channels, the border of kernels, and the scale that hides a new block.
        assert!(reached(&gradient("stages.1.0.expand.conv.weight")));
        assert!(reached(&gradient("stages.1.0.project.conv.weight").transpose(0, 1)));
        assert!(reached(&gradient("stages.1.0.depthwise.conv.weight").narrow(2, 0, 1)));
        let scale = gradient("stages.1.2.project.bn.weight");
        assert!(scale.abs().min().double_value(&[]) > 0.0);
        // Once the scale has moved, the rest of the new block learns as well.
        sgd.step(0.1).unwrap();
        backward();
        assert!(reached(&gradient("stages.1.2.expand.conv.weight")));
    }

    #[test]
    fn a_block_without_expand_convolution_cannot_grow() {
        // Expand ratio 1 with an expand convolution, and without.
        let space = SearchSpace::builtin("fbnet-cifar").unwrap();
        assert!(can_grow(&space));
        let without = space.to_yaml().replace("expand_conv_at_one: true", "expand_conv_at_one: false");
        assert!(!can_grow(&SearchSpace::from_yaml(&without).unwrap()));
    }
}
