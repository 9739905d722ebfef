//! Every kernel with every instruction set that this processor has, against LibTorch in double precision.

use std::ffi::{CString, c_char};

use network::op::Activation;
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::*;

// SAFETY: the signature is that of `native/api.cpp`.
unsafe extern "C" {
    fn ofa_use_kernels(name: *const c_char) -> bool;
}

/// Runs `check` with each instruction set that this processor has.
fn with_each_table(mut check: impl FnMut(&str)) {
    let tables = kernels_here();
    for table in &tables {
        use_table(table);
        check(table);
    }
    use_table(tables[0]);
}

fn use_table(table: &str) {
    let name = CString::new(table).unwrap();
    // SAFETY: a C string that outlives the call.
    assert!(unsafe { ofa_use_kernels(name.as_ptr()) }, "{table}");
}

fn random(shape: &[i64], kind: Kind) -> Tensor {
    Tensor::randn(shape, (Kind::Float, Device::Cpu)).to_kind(kind).set_requires_grad(true)
}

/// Largest difference relative to the largest value.
fn difference(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.size(), expected.size());
    let (got, expected) = (got.to_kind(Kind::Double), expected.to_kind(Kind::Double));
    ((got - &expected).abs().max() / expected.abs().max().clamp_min(1e-30)).double_value(&[])
}

#[derive(Clone, Debug)]
struct Shape {
    images: i64,
    channels: i64,
    size: [i64; 2],
    kernel: i64,
    stride: i64,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let kernel = prop::sample::select(vec![1i64, 3, 5, 7, 9]);
    (1i64..4, 1i64..50, [1i64..20, 1i64..20], kernel, 1i64..4)
        .prop_map(|(images, channels, size, kernel, stride)| Shape { images, channels, size, kernel, stride })
}

fn compare_depthwise(shape: &Shape, kind: Kind, tolerance: f64) {
    let Shape { images, channels, size: [height, width], kernel, stride } = *shape;
    let x = random(&[images, channels, height, width], kind);
    let weight = random(&[channels, 1, kernel, kernel], Kind::Float);
    let (x64, weight64) = (x.detach().to_kind(Kind::Double), weight.detach().to_kind(Kind::Double));
    // Each result is a sum of products of random sign: the root of the sum of their squares is its size, where by chance
    // nearly nothing is left of it, too.
    let squares = [&x64, &weight64].map(|tensor| tensor.square().set_requires_grad(true));
    let (x64, weight64) = (x64.set_requires_grad(true), weight64.set_requires_grad(true));
    let expected = x64.conv2d(&weight64, None::<&Tensor>, [stride; 2], [kernel / 2; 2], [1i64, 1], channels);
    let direction = random(&expected.size(), kind).detach();
    (&expected * &direction).sum(Kind::Double).backward();
    let square = squares[0].conv2d(&squares[1], None::<&Tensor>, [stride; 2], [kernel / 2; 2], [1i64, 1], channels);
    (&square * &direction.to_kind(Kind::Double).square()).sum(Kind::Double).backward();
    let sizes = [&square, &squares[0].grad(), &squares[1].grad()].map(|square| square.max().sqrt().double_value(&[]));
    with_each_table(|table| {
        let (x, weight) = (x.detach().set_requires_grad(true), weight.detach().set_requires_grad(true));
        let y = depthwise(&x, None, &weight, stride).map;
        assert_eq!(y.kind(), kind);
        (&y * &direction).sum(Kind::Float).backward();
        let pairs = [("y", &y, &expected), ("gx", &x.grad(), &x64.grad()), ("gw", &weight.grad(), &weight64.grad())];
        for ((name, got, expected), size) in pairs.into_iter().zip(sizes) {
            let largest = expected.abs().max().double_value(&[]);
            let difference = difference(got, expected) * largest / largest.max(size);
            assert!(difference <= tolerance, "{table}, {shape:?}: {name} is off by {difference}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_depthwise_convolution_and_its_gradients_are_those_of_libtorch(shape in shapes()) {
        compare_depthwise(&shape, Kind::Float, 2e-6);
    }

    #[test]
    fn in_bfloat16_only_what_is_stored_is_rounded(shape in shapes()) {
        // Half a unit in the last of 8 bits, of the output and of the gradients.
        compare_depthwise(&shape, Kind::BFloat16, 4.5e-3);
    }
}

#[test]
fn the_gradient_of_a_prefix_is_added_to_that_of_the_whole_weight() {
    let whole = random(&[40, 1, 3, 3], Kind::Float);
    let x = random(&[2, 24, 6, 6], Kind::Float);
    let run = || depthwise(&x, None, &whole.narrow(0, 0, 24), 1).map.sum(Kind::Float).backward();
    run();
    let once = whole.grad().copy();
    assert!(once.narrow(0, 24, 16).equal(&Tensor::zeros_like(&once.narrow(0, 24, 16))));
    assert!(once.narrow(0, 0, 24).abs().min().double_value(&[]) > 0.0);
    run();
    assert!(whole.grad().equal(&(once * 2)));
}

#[test]
fn equal_calls_give_equal_bits() {
    let (x, weight) = (random(&[5, 72, 16, 16], Kind::BFloat16), random(&[72, 1, 5, 5], Kind::Float));
    let run = || {
        let [x, weight] = [&x, &weight].map(|tensor| tensor.detach().set_requires_grad(true));
        let y = depthwise(&x, None, &weight, 2).map;
        (&y * &y).sum(Kind::Float).backward();
        [y, x.grad(), weight.grad()]
    };
    let first = run();
    for _ in 0..5 {
        assert!(run().iter().zip(&first).all(|(a, b)| a.equal(b)));
    }
}

#[test]
fn one_step_of_sgd_is_pytorchs_rule() {
    with_each_table(|table| {
        let (w, v) = (random(&[5, 1003], Kind::Float), random(&[5, 1003], Kind::Float).detach());
        (&w * &w * &w).sum(Kind::Float).backward();
        let (momentum, decay, rate) = (0.9, 0.01, 0.1);
        let g = w.grad() * 0.5 + w.detach() * decay;
        let velocity = &v * momentum + &g;
        let expected = w.detach() - (g + &velocity * momentum) * rate;
        sgd(std::iter::once(SgdSlot { weight: &w, velocity: &v, decay }), 0.5, rate, momentum);
        assert!(difference(&w.detach(), &expected) < 1e-6, "{table}");
        assert!(difference(&v, &velocity) < 1e-6, "{table}");
        assert_eq!(w.grad().abs().max().double_value(&[]), 0.0, "{table}");
    });
}

/// A block by LibTorch's operators, in float64: [expand], depthwise, [squeeze-excite], project, residual.
struct Weights {
    expand: Tensor,
    depthwise: Tensor,
    project: Tensor,
    norms: [[Tensor; 2]; 3],
    gate: [Tensor; 4],
}

impl Weights {
    fn random(input: i64, mid: i64, output: i64, kernel: i64, squeezed: i64) -> Self {
        let norm = |channels| [random(&[channels], Kind::Float), random(&[channels], Kind::Float)];
        Self {
            expand: random(&[mid, input, 1, 1], Kind::Float),
            depthwise: random(&[mid, 1, kernel, kernel], Kind::Float),
            project: random(&[output, mid, 1, 1], Kind::Float),
            norms: [norm(mid), norm(mid), norm(output)],
            gate: [&[squeezed, mid, 1, 1][..], &[squeezed], &[mid, squeezed, 1, 1], &[mid]]
                .map(|shape| random(shape, Kind::Float)),
        }
    }

    fn all(&self) -> Vec<&Tensor> {
        let norms = self.norms.iter().flatten();
        [&self.expand, &self.depthwise, &self.project].into_iter().chain(norms).chain(&self.gate).collect()
    }

    fn copy(&self, kind: Kind) -> Self {
        let copy = |tensor: &Tensor| tensor.detach().to_kind(kind).copy().set_requires_grad(true);
        Self {
            expand: copy(&self.expand),
            depthwise: copy(&self.depthwise),
            project: copy(&self.project),
            norms: self.norms.each_ref().map(|norm| norm.each_ref().map(copy)),
            gate: self.gate.each_ref().map(copy),
        }
    }

    fn by_libtorch(&self, x: &Tensor, stride: i64, activation: Activation, gated: bool, residual: bool) -> Tensor {
        let act = |x: Tensor| match activation {
            Activation::None => x,
            Activation::Relu => x.relu(),
            Activation::Relu6 => x.clamp(0, 6),
            Activation::HSwish => x.hardswish(),
            Activation::HSigmoid => x.hardsigmoid(),
        };
        let norm = |x: Tensor, [gamma, beta]: &[Tensor; 2]| {
            x.batch_norm(Some(gamma), Some(beta), None::<&Tensor>, None::<&Tensor>, true, 0.0, EPS, false)
        };
        let conv = |x: &Tensor, weight: &Tensor, bias: Option<&Tensor>| {
            x.conv2d(weight, bias, [1i64, 1], [0i64, 0], [1i64, 1], 1)
        };
        let [reduce, reduce_bias, expand, expand_bias] = &self.gate;
        let (channels, kernel) = (self.depthwise.size()[0], self.depthwise.size()[2]);
        let e = act(norm(conv(x, &self.expand, None), &self.norms[0]));
        let d = e.conv2d(&self.depthwise, None::<&Tensor>, [stride; 2], [kernel / 2; 2], [1i64, 1], channels);
        let mut d = act(norm(d, &self.norms[1]));
        if gated {
            let pooled = d.mean_dim(&[2i64, 3][..], true, d.kind());
            let hidden = conv(&pooled, reduce, Some(reduce_bias)).relu();
            d = &d * conv(&hidden, expand, Some(expand_bias)).hardsigmoid();
        }
        let p = norm(conv(&d, &self.project, None), &self.norms[2]);
        if residual { p + x } else { p }
    }

    fn fused(&self, x: &Tensor, stride: i64, activation: Activation, gated: bool, residual: bool) -> Tensor {
        let norm = |index: usize, statistics, activation| {
            let [gamma, beta] = &self.norms[index];
            Norm { gamma, beta, statistics, eps: EPS, activation }
        };
        let gate = self.gate.each_ref();
        let e = pointwise(x, None, None, &self.expand);
        let d = depthwise(&e.map, Some(&norm(0, &e.statistics, activation)), &self.depthwise, stride);
        let p = pointwise(&d.map, Some(&norm(1, &d.statistics, activation)), gated.then_some(gate), &self.project);
        normalise(&p.map, &norm(2, &p.statistics, Activation::None), residual.then_some(x))
    }
}

const EPS: f64 = 1e-3;

fn activations() -> impl Strategy<Value = Activation> {
    prop::sample::select(vec![Activation::Relu, Activation::Relu6, Activation::HSwish])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_fused_block_and_its_gradients_are_those_of_libtorch(
        shape in shapes(),
        input in 1i64..40,
        activation in activations(),
        gated: bool,
    ) {
        let Shape { images, channels, size: [height, width], kernel, stride } = shape;
        prop_assume!(images * ((height - 1) / stride + 1) * ((width - 1) / stride + 1) >= 32);
        let residual = stride == 1;
        let output = if residual { input } else { input / 2 + 1 };
        let weights = Weights::random(input, channels, output, kernel, 5);
        let x = random(&[images, input, height, width], Kind::Float).detach();
        let reference = weights.copy(Kind::Double);
        let x64 = x.to_kind(Kind::Double).set_requires_grad(true);
        let expected = reference.by_libtorch(&x64, stride, activation, gated, residual);
        let direction = random(&expected.size(), Kind::Float).detach();
        (&expected * &direction).sum(Kind::Double).backward();
        with_each_table(|table| {
            let ours = weights.copy(Kind::Float);
            let x = x.copy().set_requires_grad(true);
            let y = ours.fused(&x, stride, activation, gated, residual);
            (&y * &direction).sum(Kind::Float).backward();
            let mut pairs = vec![(y, expected.shallow_clone()), (x.grad(), x64.grad())];
            let gradients = ours.all().into_iter().zip(reference.all());
            pairs.extend(gradients.map(|(a, b)| (a.grad(), b.grad())).filter(|(_, b)| b.defined()));
            let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
            let of_all = pairs.iter().map(|(_, expected)| largest(expected)).fold(0.0, f64::max);
            for (index, (got, expected)) in pairs.iter().enumerate() {
                // Few values to normalise by magnify rounding, and a gradient that all but cancels has no size of
                // its own: a mistake is off by far more.
                let scale = largest(expected).max(1e-2 * of_all);
                let off = (got.to_kind(Kind::Double) - expected).abs().max().double_value(&[]) / scale;
                assert!(off < 1e-2, "{table}, {shape:?}, {activation:?}: tensor {index} is off by {off}");
            }
        });
    }
}

/// Some weights lie where rounding is magnified, so what bfloat16 may be off by is what it costs LibTorch, over many
/// blocks.
#[test]
fn fused_blocks_in_bfloat16_are_as_near_to_float32_as_those_of_libtorch() {
    let run = |weights: &Weights, x: &Tensor, kinds: (Kind, Kind), forward: &dyn Fn(&Weights, &Tensor) -> Tensor| {
        let weights = weights.copy(kinds.1);
        let x = x.to_kind(kinds.0).copy().set_requires_grad(true);
        let y = forward(&weights, &x);
        let y32 = y.to_kind(Kind::Float);
        (&y32 * &y32 * &y32).sum(Kind::Float).backward();
        let mut all: Vec<Tensor> = weights.all().into_iter().map(Tensor::grad).collect();
        all.extend([x.grad(), y]);
        all
    };
    let by_libtorch = |weights: &Weights, x: &Tensor| weights.by_libtorch(x, 1, Activation::HSwish, true, true);
    let fused = |weights: &Weights, x: &Tensor| weights.fused(x, 1, Activation::HSwish, true, true);
    let off = |found: &[Tensor], expected: &[Tensor]| -> Vec<f64> {
        let pairs = found.iter().zip(expected);
        let off = |(a, b): (&Tensor, &Tensor)| {
            // A gate whose narrow layer is off everywhere has gradients of exactly zero.
            ((a.to_kind(Kind::Double) - b).norm() / b.norm().clamp_min(1e-9)).double_value(&[])
        };
        pairs.map(off).collect()
    };
    let blocks: Vec<(Weights, Tensor, Vec<Tensor>)> = (0..12)
        .map(|_| {
            let weights = Weights::random(24, 72, 24, 5, 8);
            let x = random(&[8, 24, 12, 12], Kind::Float).detach().to_kind(Kind::BFloat16);
            let exact = run(&weights, &x, (Kind::Double, Kind::Double), &by_libtorch);
            (weights, x, exact)
        })
        .collect();
    let mean_off = |kind: Kind, forward: &dyn Fn(&Weights, &Tensor) -> Tensor| -> Vec<f64> {
        let mut sums = Vec::new();
        for (weights, x, exact) in &blocks {
            let off = off(&run(weights, x, (Kind::BFloat16, kind), forward), exact);
            sums.resize(off.len(), 0.0);
            sums.iter_mut().zip(off).for_each(|(sum, off)| *sum += off / blocks.len() as f64);
        }
        sums
    };
    let theirs = mean_off(Kind::BFloat16, &by_libtorch);
    with_each_table(|table| {
        for (index, (ours, theirs)) in mean_off(Kind::Float, &fused).into_iter().zip(&theirs).enumerate() {
            assert!(ours < 2.0 * theirs + 0.01, "{table}: tensor {index} is off by {ours}, LibTorch's by {theirs}");
        }
    });
}

#[test]
fn statistics_are_mean_and_biased_variance_and_pooling_is_the_mean() {
    let x = random(&[3, 37, 9, 7], Kind::Float);
    let over = &[0i64, 2, 3][..];
    with_each_table(|table| {
        let found = statistics(&x);
        let (mean, var) = (x.mean_dim(over, false, Kind::Float), x.var_dim(over, false, false));
        assert!(difference(&found.get(0), &mean) < 1e-5, "{table}");
        assert!(difference(&found.get(1), &var) < 1e-5, "{table}");
        let one = Tensor::ones([37], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let norm = Norm { gamma: &one, beta: &one, statistics: &found, eps: EPS, activation: Activation::HSwish };
        let (a, b) = (x.detach().set_requires_grad(true), x.detach().set_requires_grad(true));
        let y = average_pool(&a, &norm);
        let expected = b
            .batch_norm(Some(&one), Some(&one), None::<&Tensor>, None::<&Tensor>, true, 0.0, EPS, false)
            .hardswish()
            .mean_dim(&[2i64, 3][..], true, Kind::Float);
        (&y * &y).sum(Kind::Float).backward();
        (&expected * &expected).sum(Kind::Float).backward();
        assert!(difference(&y, &expected) < 1e-5 && difference(&a.grad(), &b.grad()) < 1e-4, "{table}");
    });
}

#[test]
fn statistics_are_functions_of_the_map_that_they_are_of() {
    let over = &[0i64, 2, 3][..];
    let (x, weight) = (random(&[3, 24, 9, 7], Kind::Float), random(&[37, 24, 1, 1], Kind::Float).detach());
    let one = Tensor::ones([37], (Kind::Float, Device::Cpu));
    let direction = random(&[2, 37], Kind::Float).detach();
    with_each_table(|table| {
        let (a, b) = (x.detach().set_requires_grad(true), x.detach().to_kind(Kind::Double).set_requires_grad(true));
        // Beside a batch norm that has the same map.
        let raw = pointwise(&a, None, None, &weight);
        let found = moments(&raw);
        let norm =
            Norm { gamma: &one, beta: &one, statistics: &raw.statistics, eps: EPS, activation: Activation::HSwish };
        let y = normalise(&raw.map, &norm, None);
        ((&found * &direction).sum(Kind::Float) + (&y * &y).mean(Kind::Float)).backward();

        let map = b.conv2d(&weight.to_kind(Kind::Double), None::<&Tensor>, [1i64, 1], [0i64, 0], [1i64, 1], 1);
        let expected = Tensor::stack(&[map.mean_dim(over, false, Kind::Double), map.var_dim(over, false, false)], 0);
        let one = one.to_kind(Kind::Double);
        let normal =
            map.batch_norm(Some(&one), Some(&one), None::<&Tensor>, None::<&Tensor>, true, 0.0, EPS, false).hardswish();
        let of_moments = (&expected * &direction.to_kind(Kind::Double)).sum(Kind::Double);
        (of_moments + (&normal * &normal).mean(Kind::Double)).backward();
        assert!(difference(&found, &expected) < 1e-5, "{table}");
        assert!(difference(&a.grad(), &b.grad()) < 1e-4, "{table}");
    });
}
