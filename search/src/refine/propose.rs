//! The smallest change of one width that pays for a step alone, or of all widths alike.

use std::collections::BTreeMap;

use network::shape::NetworkShape;
use network::widths::Widths;

/// A network with one width smaller.
#[derive(Clone, Debug, PartialEq)]
pub struct Narrowed {
    /// Which width.
    pub width: usize,
    /// Its channels.
    pub channels: u32,
    /// The network.
    pub shape: NetworkShape,
    /// What it costs, in the order of the targets.
    pub costs: Vec<f64>,
    /// Whether it meets all targets.
    pub meets: bool,
}

/// The network whose `width` has the most channels, a multiple of `step`, with which it meets all `targets`; where none
/// does, that with the fewest. Nothing where there are not more than `step` channels, or nothing that can be priced:
/// `costs` gives one cost for each target, or `None` for a network that nothing is known of.
///
/// # Panics
/// If `step` is 0, or `width` cannot be changed ([`network::widths::Width::fixed`]).
pub fn narrower(
    widths: &Widths,
    width: usize,
    step: u32,
    targets: &[f64],
    costs: &mut dyn FnMut(&NetworkShape) -> Option<Vec<f64>>,
) -> Option<Narrowed> {
    let channels = widths.all()[width].channels;
    let mut smallest = None;
    for channels in (1..=(channels - 1) / step).rev().map(|steps| steps * step) {
        // Grouped operators allow only some widths.
        let Ok(shape) = widths.with(&BTreeMap::from([(width, channels)])) else { continue };
        let Some(costs) = costs(&shape) else { continue };
        let meets = costs.iter().zip(targets).all(|(cost, target)| cost <= target);
        let narrowed = Narrowed { width, channels, shape, costs, meets };
        if meets {
            return Some(narrowed);
        }
        smallest = Some(narrowed);
    }
    smallest
}

/// A network with all widths smaller by one factor.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaled {
    /// Channels of each width that can be changed.
    pub channels: BTreeMap<usize, u32>,
    /// What it costs, in the order of the targets.
    pub costs: Vec<f64>,
}

/// The network whose widths are all scaled by the largest factor below 1 with which it meets all `targets`, each width to
/// the nearest multiple of `step`, but not to nothing (the width multiplier of MobileNets, Howard et al. 2017,
/// arXiv:1704.04861); where none does, by the smallest there is. Nothing where no width can get smaller, or nothing that can
/// be priced.
///
/// # Panics
/// If `step` is 0.
pub fn scaled(
    widths: &Widths,
    step: u32,
    targets: &[f64],
    costs: &mut dyn FnMut(&NetworkShape) -> Option<Vec<f64>>,
) -> Option<Scaled> {
    let free: Vec<(usize, u32)> = widths.free().map(|width| (width, widths.all()[width].channels)).collect();
    // A width changes where its channels lie half-way between two multiples: between any two such factors nothing does.
    let halves = |&(_, channels): &(usize, u32)| {
        let half_way = move |steps: u32| (f64::from(steps) + 0.5) * f64::from(step) / f64::from(channels);
        (0..channels.div_ceil(step)).map(half_way)
    };
    let mut factors: Vec<f64> = free.iter().flat_map(halves).filter(|factor| *factor < 1.0).collect();
    factors.sort_by(|a, b| b.total_cmp(a));
    factors.dedup();
    let mut smallest = None;
    for factor in factors {
        let channels = |&(width, channels): &(usize, u32)| {
            // Just below the factor: the width at which it lies is rounded down.
            let steps = (f64::from(channels) * factor / f64::from(step) - 1e-9).round().max(1.0);
            (width, (steps as u32 * step).min(channels))
        };
        let channels: BTreeMap<usize, u32> = free.iter().map(channels).collect();
        // Grouped operators allow only some widths.
        let Ok(shape) = widths.with(&channels) else { continue };
        let Some(costs) = costs(&shape) else { continue };
        let meets = costs.iter().zip(targets).all(|(cost, target)| cost <= target);
        let scaled = Scaled { channels, costs };
        if meets {
            return Some(scaled);
        }
        smallest = Some(scaled);
    }
    smallest
}

#[cfg(test)]
pub(super) mod tests {
    use network::op::{Activation, Conv, Linear, Map, Op, Pool, PoolKind};
    use network::published;
    use serde_json::Value;

    use super::*;

    pub(crate) fn golden() -> Option<Value> {
        let path = shared_data::file("data/systems/netadapt/golden_values.json")?;
        Some(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// Weights that multiply, without biases and batch norm.
    pub(crate) fn weights(shape: &NetworkShape) -> f64 {
        shape.layers().iter().map(|named| named.layer.weight_count() as f64).sum()
    }

    fn macs(shape: &NetworkShape) -> f64 {
        shape.macs().0 as f64
    }

    /// AlexNet in one group, as torchvision has it.
    fn alexnet(classes: u32) -> NetworkShape {
        let mut at = Map::new(224, 3);
        let mut ops: Vec<(String, Op)> = Vec::new();
        let mut push = |name: String, op: Op| {
            at = op.output();
            ops.push((name, op));
            at
        };
        let convs = [
            (64, 11, 4, 2, true),
            (192, 5, 1, 2, true),
            (384, 3, 1, 1, false),
            (256, 3, 1, 1, false),
            (256, 3, 1, 1, true),
        ];
        let mut here = Map::new(224, 3);
        for (number, (channels, kernel, stride, padding, pools)) in convs.into_iter().enumerate() {
            let size = (here.size + 2 * padding - kernel) / stride + 1;
            let conv = Conv {
                kernel,
                stride,
                padding,
                bias: true,
                activation: Activation::Relu,
                ..Conv::plain(here, Map::new(size, channels))
            };
            here = push(format!("conv{number}"), Op::Conv(conv));
            if pools {
                let output = Map::new((here.size - 3) / 2 + 1, here.channels);
                let pool = Pool { kind: PoolKind::Max, input: here, output, kernel: 3, stride: 2, padding: 0 };
                here = push(format!("pool{number}"), Op::Pool(pool));
            }
        }
        for (number, outputs) in [4096, 4096, classes].into_iter().enumerate() {
            let linear = Linear { input: here, outputs, bias: true, activation: Activation::None };
            here = push(format!("fc{number}"), Op::Linear(linear));
        }
        NetworkShape::chain(Map::new(224, 3), ops, 1e-5).unwrap()
    }

    /// The published unit tests of NetAdapt: what each block gives up at 0.975 of the whole network's weights or MACs.
    #[test]
    fn each_block_gives_up_as_much_as_in_the_published_tests() {
        let Some(golden) = golden() else { return };
        let networks = [
            ("mobilenet_v1_cifar10head_224", published::mobilenet_v1(100, 224, 10)),
            ("alexnet_cifar10head_224", alexnet(10)),
        ];
        for (name, shape) in networks {
            let golden = &golden[name];
            let numbers = |key: &str| -> Vec<f64> {
                golden[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
            };
            assert_eq!(golden["weights"].as_f64(), Some(weights(&shape)), "{name}");
            assert_eq!(golden["macs"].as_f64(), Some(macs(&shape)), "{name}");
            let widths = Widths::of(&shape);
            let ratio = golden["constraint_ratio"].as_f64().unwrap_or(0.975);
            for (what, cost) in [("weights", weights as fn(&NetworkShape) -> f64), ("macs", macs)] {
                let (deltas, after) = (numbers(&format!("delta_for_{what}")), numbers(&format!("{what}_after")));
                let whole = cost(&shape);
                for ((block, delta), after) in numbers("blocks").into_iter().zip(deltas).zip(after) {
                    let width = block as usize;
                    let target = [ratio * whole];
                    let found = narrower(&widths, width, 8, &target, &mut |shape| Some(vec![cost(shape)])).unwrap();
                    let before = widths.all()[width].channels;
                    assert_eq!(f64::from(before - found.channels), delta, "{name}, {what}, block {block}");
                    assert_eq!(found.costs, [after], "{name}, {what}, block {block}");
                    assert_eq!(found.meets, after <= target[0]);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_priced_is_passed_over() {
        let shape = published::resnet8(10);
        let widths = Widths::of(&shape);
        let width = widths.free().next().unwrap();
        let channels = widths.all()[width].channels;
        let whole = macs(&shape);
        let mut even = |shape: &NetworkShape| {
            let stem = shape.nodes()[0].op.output().channels;
            stem.is_multiple_of(2).then(|| vec![macs(shape)])
        };
        let found = narrower(&widths, width, 1, &[0.999 * whole], &mut even).unwrap();
        assert!(found.meets && found.channels.is_multiple_of(2) && found.channels < channels, "{found:?}");
        assert_eq!(narrower(&widths, width, 1, &[whole], &mut |_| None), None);
        assert_eq!(narrower(&widths, width, channels, &[whole], &mut even), None, "a step is more than there is");
    }

    #[test]
    fn all_widths_shrink_by_the_largest_factor_that_pays() {
        for (shape, step, share) in [
            (published::mobilenet_v1(100, 224, 10), 8, 0.5),
            (published::resnet8(10), 4, 0.7),
            (published::resnet8(10), 1, 0.25),
        ] {
            let widths = Widths::of(&shape);
            let target = share * macs(&shape);
            let mut seen = Vec::new();
            let mut costs = |shape: &NetworkShape| {
                seen.push(macs(shape));
                Some(vec![macs(shape)])
            };
            let found = scaled(&widths, step, &[target], &mut costs).unwrap();
            let whole = widths.with(&found.channels).unwrap();
            assert!(found.costs == [macs(&whole)] && found.costs[0] <= target, "{found:?}");
            // All larger factors, of which one step less costs little more than the budget, were too dear.
            let (last, dearer) = seen.split_last().unwrap();
            assert!(*last == found.costs[0] && dearer.iter().all(|cost| *cost > target));
            assert!(dearer.last().is_some_and(|cost| *cost < 1.5 * target), "{seen:?}");
            assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "each factor is another network: {seen:?}");
            // One factor for all, up to half a step.
            let bounds = found.channels.iter().map(|(&width, &channels)| {
                let before = f64::from(widths.all()[width].channels);
                let (channels, half) = (f64::from(channels), f64::from(step) / 2.0);
                assert!(channels % f64::from(step) == 0.0);
                let least = if channels > f64::from(step) { (channels - half) / before } else { 0.0 };
                (least, (channels + half) / before)
            });
            let (least, most) = bounds.fold((0.0_f64, 1.0_f64), |all, one| (all.0.max(one.0), all.1.min(one.1)));
            assert!(least <= most + 1e-6, "{least} {most}");
        }
        let shape = published::resnet8(10);
        let widths = Widths::of(&shape);
        let smallest = scaled(&widths, 16, &[1.0], &mut |shape| Some(vec![macs(shape)])).unwrap();
        assert!(smallest.channels.values().all(|channels| *channels == 16), "no factor pays: {smallest:?}");
        assert_eq!(scaled(&widths, 16, &[1.0], &mut |_| None), None);
        assert_eq!(scaled(&widths, 1000, &[1.0], &mut |shape| Some(vec![macs(shape)])), None);
    }
}
