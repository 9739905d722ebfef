use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::execute::run;
use crate::op::{Activation, PoolKind};
use crate::published;

/// Every way of handing widths on that changes no channel's value by its neighbours.
fn mixed() -> NetworkShape {
    let map = Map::new;
    let conv = |input, output, kernel: u32| Conv {
        kernel,
        padding: kernel / 2,
        batch_norm: true,
        activation: Activation::Relu,
        ..Conv::plain(input, output)
    };
    let pool = Pool { kind: PoolKind::Max, input: map(8, 6), output: map(8, 6), kernel: 3, stride: 1, padding: 1 };
    let block = InvertedBottleneck {
        input: map(8, 10),
        output: map(8, 10),
        mid_channels: 14,
        kernel: 3,
        stride: 1,
        padding: 1,
        groups: 1,
        expand_conv: true,
        se_channels: Some(4),
        activation: Activation::HSwish,
        output_activation: Activation::None,
        residual: true,
    };
    let residual = Residual {
        branch: vec![conv(map(8, 10), map(8, 9), 3), conv(map(8, 9), map(8, 12), 1)],
        shortcut: Some(conv(map(8, 10), map(8, 12), 1)),
        activation: Activation::Relu,
    };
    let inception = Inception {
        branches: vec![
            vec![Step::Conv(conv(map(8, 6), map(8, 4), 1))],
            vec![Step::Pool(pool), Step::Conv(conv(map(8, 6), map(8, 6), 1))],
        ],
    };
    let fire = Fire {
        squeeze: conv(map(8, 12), map(8, 4), 1),
        expand_1x1: conv(map(8, 4), map(8, 5), 1),
        expand_3x3: conv(map(8, 4), map(8, 7), 3),
    };
    let drafts = vec![
        Draft::new("stem", Op::Conv(conv(map(8, 3), map(8, 6), 3))),
        Draft::new("inception", Op::Inception(inception)),
        Draft::new("narrow", Op::Conv(conv(map(8, 10), map(8, 10), 1))),
        Draft::new("block", Op::InvertedBottleneck(block)),
        Draft::new("residual", Op::Residual(residual)),
        Draft::new("fire", Op::Fire(fire)),
        Draft::new("side", Op::Conv(conv(map(8, 12), map(8, 5), 1))).reading(&["residual"]),
        Draft::new("both", Op::Concat { inputs: vec![map(8, 12), map(8, 5)] }).reading(&["fire", "side"]),
        Draft::new(
            "flat",
            Op::Pool(Pool { kernel: 2, stride: 2, output: map(4, 17), padding: 0, ..Pool::global(map(8, 17)) }),
        ),
        Draft::new(
            "hidden",
            Op::Linear(Linear { input: map(4, 17), outputs: 11, bias: true, activation: Activation::Relu }),
        ),
        Draft::new(
            "classes",
            Op::Linear(Linear { input: map(1, 11), outputs: 3, bias: true, activation: Activation::None }),
        ),
    ];
    NetworkShape::new(map(8, 3), drafts, 1e-5).unwrap()
}

/// `weights` with everything of the channels that do not stay at 0, so that they make nothing but zeros.
fn silenced(widths: &Widths, weights: &Weights, kept: &Kept) -> Weights {
    let mut arrays = weights.arrays().clone();
    for (at, NamedLayer { name, layer }) in widths.layers.iter().enumerate() {
        let stays = widths.places(&widths.outputs[at], layer.output.channels, kept);
        for (tensor, shape) in tensors_of(name, layer) {
            let row = shape.iter().skip(1).product::<usize>();
            let array = arrays.get_mut(&tensor).unwrap();
            for channel in (0..shape[0]).filter(|channel| !stays.contains(channel)) {
                // A variance may be anything.
                let value = if tensor.ends_with("running_var") { 1.0 } else { 0.0 };
                array.values[channel * row..(channel + 1) * row].fill(value);
            }
        }
    }
    Weights::new(widths.shape(), arrays).unwrap()
}

#[test]
fn a_narrowed_network_computes_what_the_whole_one_does_without_the_channels() {
    let networks = [mixed(), published::resnet8(10), published::mobilenet_v2(35, 32, 10)];
    for (seed, shape) in networks.iter().enumerate() {
        let (widths, weights) = (Widths::of(shape), Weights::random(shape, 7));
        let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
        let mut kept = Kept::new();
        for width in widths.free().filter(|_| rng.random_bool(0.7)).collect::<Vec<_>>() {
            let mut channels: Vec<usize> = (0..widths.all()[width].channels as usize).collect();
            channels.shuffle(&mut rng);
            channels.truncate(rng.random_range(1..=channels.len()));
            channels.sort_unstable();
            kept.insert(width, channels);
        }
        assert!(kept.len() > 2, "{seed}");
        let (small, small_weights) = widths.narrowed(&weights, &kept).unwrap();
        assert!(small.params() < shape.params());
        let image: Vec<f32> = (0..shape.input().elements()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let (narrowed, whole) =
            (run(&small, &small_weights, &image), run(shape, &silenced(&widths, &weights, &kept), &image));
        let largest = whole.iter().fold(1e-6_f32, |largest, value| largest.max(value.abs()));
        for (narrowed, whole) in narrowed.iter().zip(&whole) {
            assert!((narrowed - whole).abs() <= 1e-4 * largest, "{seed}: {narrowed} against {whole}");
        }
        // Nothing left out is nothing changed.
        assert_eq!(widths.narrowed(&weights, &Kept::new()).unwrap(), (shape.clone(), weights));
    }
}

#[test]
fn what_must_be_equal_is_one_width_and_what_nobody_may_change_is_fixed() {
    let shape = mixed();
    let widths = Widths::of(&shape);
    let names: Vec<(Vec<&str>, u32, Option<&str>)> = widths
        .all()
        .iter()
        .map(|width| (width.makers.iter().map(String::as_str).collect(), width.channels, width.fixed))
        .collect();
    let expected = [
        (vec!["stem.conv"], 6, None),
        (vec!["inception.branch.0.0.conv"], 4, None),
        (vec!["inception.branch.1.1.conv"], 6, None),
        // The block's output is added to what it reads.
        (vec!["narrow.conv", "block.project.conv"], 10, None),
        (vec!["block.expand.conv", "block.se.expand"], 14, None),
        (vec!["block.se.reduce"], 4, None),
        (vec!["residual.branch.0.conv"], 9, None),
        (vec!["residual.branch.1.conv", "residual.shortcut.conv"], 12, None),
        (vec!["fire.squeeze.conv"], 4, None),
        (vec!["fire.expand1x1.conv"], 5, None),
        (vec!["fire.expand3x3.conv"], 7, None),
        (vec!["side.conv"], 5, None),
        (vec!["hidden"], 11, None),
        (vec!["classes"], 3, Some(CLASSES)),
    ];
    assert_eq!(names, expected);
    // conv 2, 4 and 5 are in groups, and read conv 1, 3 and 4.
    let alexnet = Widths::of(&published::alexnet(10));
    let free: Vec<&str> = alexnet.free().map(|at| alexnet.all()[at].name()).collect();
    assert_eq!(free, ["fc6", "fc7"]);
}

#[test]
fn the_filters_with_the_largest_norms_stay_in_their_order() {
    let shape = mixed();
    let (widths, weights) = (Widths::of(&shape), Weights::random(&shape, 1));
    let width = widths.all().iter().position(|width| width.makers.len() == 2).unwrap();
    let norm = |channel: usize| -> f64 {
        let of = |maker: &String| {
            let array = weights.get(&format!("{maker}.weight")).unwrap();
            let row = array.values.len() / array.shape[0];
            array.values[channel * row..(channel + 1) * row].iter().map(|value| f64::from(*value).powi(2)).sum::<f64>()
        };
        widths.all()[width].makers.iter().map(of).sum()
    };
    let kept = widths.largest(&weights, width, 4);
    assert!(kept.windows(2).all(|pair| pair[0] < pair[1]) && kept.len() == 4);
    let least = kept.iter().map(|channel| norm(*channel)).fold(f64::INFINITY, f64::min);
    let others = (0..widths.all()[width].channels as usize).filter(|channel| !kept.contains(channel));
    assert!(others.map(norm).all(|other| other <= least));
    assert!(widths.with(&BTreeMap::from([(width, 0)])).is_err());
}
