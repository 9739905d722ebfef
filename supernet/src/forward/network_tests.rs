use network::execute;
use network::op::PoolKind;
use network::published::{self, NETWORKS};
use network::shape::Draft;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use search::space::SearchSpace;

use super::*;

fn image(input: Map, seed: i64) -> Tensor {
    tch::manual_seed(seed);
    let size = i64::from(input.size);
    Tensor::randn([1, i64::from(input.channels), size, size], (Kind::Float, Device::Cpu))
}

/// The largest difference between LibTorch and the interpreter, as a fraction of the largest output.
fn difference(shape: &NetworkShape, seed: u64) -> f64 {
    let weights = Weights::random(shape, seed);
    let image = image(shape.input(), seed as i64);
    let numbers: Vec<f32> = Vec::try_from(image.flatten(0, -1)).unwrap();
    let expected = execute::run(shape, &weights, &numbers);
    let network = Network::from_weights(shape, &weights, Device::Cpu).unwrap();
    let got: Vec<f32> = Vec::try_from(network.forward(&image).flatten(0, -1)).unwrap();
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    assert!(largest > 0.0 && largest.is_finite());
    let apart = got.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    f64::from(apart / largest)
}

#[test]
fn published_networks_run_as_the_interpreter_runs_them() {
    for (name, _) in NETWORKS {
        // The large ones take the interpreter seconds.
        let is_small = name == "resnet8";
        if !is_small && std::env::var_os("OFA_SLOW_TESTS").is_none() {
            continue;
        }
        let apart = difference(&published::network(name, Some(10)).unwrap(), 3);
        assert!(apart <= 1e-5, "{name}: {apart:e}");
    }
}

#[test]
fn every_kind_of_layer_runs_as_the_interpreter_runs_it() {
    use network::op::{Conv, Fire, Inception, Linear, LocalResponse, Pool, Real, Residual, Step};

    let (map, narrow) = (Map::new(9, 6), Map::new(9, 4));
    let conv = |input, output| Conv { bias: true, ..Conv::plain(input, output) };
    let max = Pool { kind: PoolKind::Max, input: map, output: Map::new(5, 6), kernel: 3, stride: 2, padding: 1 };
    let average = Pool { kind: PoolKind::Average, output: Map::new(9, 6), stride: 1, ..max };
    let small = Map::new(5, 6);
    let after = Map::new(5, 18);
    let drafts = vec![
        // Padding below only, as TensorFlow pads.
        Draft::new("stem", Op::Conv(Conv { kernel: 3, stride: 2, batch_norm: true, ..conv(Map::new(18, 3), map) })),
        Draft::new(
            "norm",
            Op::LocalResponse(LocalResponse { map, window: 4, scale: Real(0.5), power: Real(0.75), bias: Real(2.0) }),
        ),
        Draft::new(
            "block",
            Op::Residual(Residual {
                branch: vec![
                    Conv { kernel: 3, padding: 1, batch_norm: true, activation: Activation::Relu, ..conv(map, narrow) },
                    Conv { kernel: 3, padding: 1, groups: 2, ..conv(narrow, map) },
                ],
                shortcut: None,
                activation: Activation::HSwish,
            }),
        ),
        Draft::new("average", Op::Pool(average)),
        Draft::new("sum", Op::Add { map, inputs: 2, activation: Activation::Relu6 }).reading(&["average", "norm"]),
        Draft::new(
            "module",
            Op::Inception(Inception {
                branches: vec![
                    vec![Step::Pool(max)],
                    vec![Step::Conv(Conv { kernel: 5, stride: 2, padding: 2, ..conv(map, small) })],
                    vec![Step::Conv(conv(map, map)), Step::Pool(Pool { padding: 1, ..max })],
                ],
            }),
        ),
        Draft::new(
            "fire",
            Op::Fire(Fire {
                squeeze: conv(after, Map::new(5, 4)),
                expand_1x1: conv(Map::new(5, 4), Map::new(5, 8)),
                expand_3x3: Conv { kernel: 3, padding: 1, ..conv(Map::new(5, 4), Map::new(5, 8)) },
            }),
        ),
        Draft::new("both", Op::Concat { inputs: vec![Map::new(5, 16), after] }).reading(&["fire", "module"]),
        Draft::new(
            "classifier",
            Op::Linear(Linear { input: Map::new(5, 34), outputs: 7, bias: true, activation: Activation::None }),
        ),
    ];
    let shape = NetworkShape::new(Map::new(18, 3), drafts, 1e-3).unwrap();
    for seed in 1..4 {
        let apart = difference(&shape, seed);
        assert!(apart <= 1e-5, "{apart:e}");
    }
}

#[test]
fn networks_of_every_space_run_and_each_operator_has_the_shape_it_says() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for name in ["mcu-cifar", "fbnet-cifar", "mbv3-w1.0", "proxyless-w1.3"] {
        let space = SearchSpace::builtin(name).unwrap();
        let workload = space.lower(&space.sample_at(space.resolutions()[0], &mut rng));
        let whole = Network::deployed(&workload.ops, Device::Cpu);
        whole.run(&image(whole.input(), 1));
        for op in &workload.ops {
            let runnable = Network::deployed(std::slice::from_ref(op), Device::Cpu);
            let output = runnable.forward(&image(op.input(), 1));
            let Map { size, channels } = op.output();
            let (size, channels) = (i64::from(size), i64::from(channels));
            match size {
                1 => assert_eq!(output.size(), [1, channels], "{op}"),
                _ => assert_eq!(output.size(), [1, channels, size, size], "{op}"),
            }
        }
    }
}

/// What training leaves out beforehand is what the stride skips.
#[test]
fn pointwise_convolutions_with_a_stride_are_trained_as_they_run() {
    use network::op::Conv;

    for size in [8, 9] {
        let (input, output) = (Map::new(size, 12), Map::new(size.div_ceil(2), 20));
        let conv = Op::Conv(Conv { stride: 2, bias: true, ..Conv::plain(input, output) });
        let shape = NetworkShape::new(input, vec![Draft::new("conv", conv)], 1e-3).unwrap();
        let network = Network::from_weights(&shape, &Weights::random(&shape, 1), Device::Cpu).unwrap();
        let image = image(input, 2);
        let apart = (network.forward_to_train(&image) - network.forward(&image)).abs().max();
        assert!(apart.double_value(&[]) <= 1e-6);
    }
}

/// Outputs, gradients of all weights and running statistics of one pass in training.
fn trained_by(shape: &NetworkShape, images: &Tensor, may_fuse: bool) -> Vec<(String, Tensor)> {
    let arrays = Weights::random(shape, 1);
    let tensor = |array: &network::weights::Array| {
        let size: Vec<i64> = array.shape.iter().map(|length| *length as i64).collect();
        Tensor::from_slice(&array.values).reshape(size)
    };
    let tensors = arrays.arrays().iter().map(|(name, array)| (name.clone(), tensor(array))).collect();
    let network = Network::to_train(shape, tensors, Device::Cpu, &[]).unwrap();
    let output = network.pass(images, Pass::Train, may_fuse);
    output.square().mean(Kind::Float).backward();
    let of = |weight: &NamedWeight| {
        let is_trained = weight.tensor.requires_grad();
        (weight.name.clone(), if is_trained { weight.tensor.grad() } else { weight.tensor.shallow_clone() })
    };
    std::iter::once(("output".to_owned(), output.detach())).chain(network.weights().iter().map(of)).collect()
}

#[test]
fn own_kernels_train_as_libtorch_does() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut shapes = vec![published::resnet8(4), published::mobilenet_v1(25, 64, 5)];
    for name in ["mcu-cifar", "mbv3-w1.0"] {
        let space = SearchSpace::builtin(name).unwrap();
        let workload = space.lower(&space.sample_at(space.resolutions()[0], &mut rng));
        let input = workload.ops[0].input();
        let named = workload.ops.into_iter().enumerate().map(|(at, op)| (format!("layer{at}"), op)).collect();
        shapes.push(NetworkShape::chain(input, named, 1e-3).unwrap());
    }
    for shape in shapes {
        let Map { size, channels } = shape.input();
        // Not LibTorch's generator, which other tests draw from at the same time.
        let mut random = |least: f32, most: f32| {
            let numbers: Vec<f32> = (0..8 * channels * size * size).map(|_| rng.random_range(least..most)).collect();
            Tensor::from_slice(&numbers).reshape([8, channels.into(), size.into(), size.into()])
        };
        let images = random(-1.7, 1.7);
        let shaken = &images * random(1.0 - 1e-5, 1.0 + 1e-5);
        // How far passes are from LibTorch's in fp32, each tensor by its norm; a bias before batch norm has no gradient.
        let truth = trained_by(&shape, &images, false);
        let apart = |images: &Tensor, may_fuse: bool| {
            let got = trained_by(&shape, images, may_fuse);
            let apart = got.iter().zip(&truth).map(|((name, got), (_, truth))| {
                assert_eq!(got.kind(), Kind::Float, "{name}");
                (got - truth).norm().double_value(&[]) / truth.norm().double_value(&[]).max(0.01)
            });
            apart.collect::<Vec<_>>()
        };
        // Sums in another order, of which deep random networks make about as much as of images that are a hundredth of a
        // thousandth off.
        let own = apart(&images, true);
        for (apart, (name, _)) in own.iter().zip(&truth) {
            assert!(*apart <= 0.3, "{name}: {apart:e}");
        }
        let mean = |apart: Vec<f64>| apart.iter().sum::<f64>() / apart.len() as f64;
        let (own, theirs) = (mean(own), mean(apart(&shaken, false)));
        assert!(own <= 3.0 * theirs + 1e-4, "{own:e}, LibTorch of shaken images {theirs:e}");
        // Rounded to bfloat16, deep random networks have gradients of which little is left: no more than LibTorch loses.
        let rounded = images.to_kind(Kind::BFloat16);
        let [own, theirs] = [true, false].map(|may_fuse| mean(apart(&rounded, may_fuse)));
        assert!(own <= 1.3 * theirs + 0.01, "{own:e}, LibTorch {theirs:e}");
    }
}

/// A map read twice by one layer is there both times.
#[test]
fn a_layer_may_read_a_map_twice() {
    let map = Map::new(6, 4);
    let drafts = vec![
        Draft::new("conv", Op::Conv(network::op::Conv::plain(Map::new(6, 3), map))),
        Draft::new("double", Op::Add { map, inputs: 2, activation: Activation::None }).reading(&["conv", "conv"]),
        Draft::new("both", Op::Concat { inputs: vec![map, map] }).reading(&["double", "double"]),
    ];
    let shape = NetworkShape::new(Map::new(6, 3), drafts, 1e-5).unwrap();
    let weights = Weights::random(&shape, 1);
    let image: Vec<f32> = (0..108).map(|at| (at as f32 * 0.37).sin()).collect();
    let expected = execute::run(&shape, &weights, &image);
    let images = Tensor::from_slice(&image).reshape([1, 3, 6, 6]);
    let got = Network::from_weights(&shape, &weights, Device::Cpu).unwrap().forward(&images);
    let got: Vec<f32> = Vec::try_from(got.contiguous().flatten(0, -1)).unwrap();
    assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {expected:?}");
}
