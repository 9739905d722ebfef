//! What must hold for every subnet of every supernet, on random weights.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use search::arch::{ArchSpec, BlockSpec, StageSpec};
use search::space::SearchSpace;
use supernet::calibrate::calibrate;
use supernet::extract::StaticSubnet;
use supernet::subnet::Mode;
use supernet::supernet::Supernet;
use supernet::weights::Role;
use tch::{Device, Kind, Tensor};

fn random_arch(space: &SearchSpace, rng: &mut ChaCha8Rng) -> ArchSpec {
    let mut pick = |choices: &[u32]| choices[rng.random_range(0..choices.len())];
    let resolution = pick(&space.resolutions()[..2.min(space.resolutions().len())]);
    let stages = space.stages().iter().map(|stage| StageSpec {
        blocks: (0..pick(&stage.depths))
            .map(|_| BlockSpec { kernel: pick(&stage.kernels), expand: pick(&stage.expands) })
            .collect(),
    });
    let stages = stages.collect();
    space.arch(resolution, stages).unwrap()
}

fn images(count: i64, resolution: u32, seed: i64) -> Tensor {
    tch::manual_seed(seed);
    let size = i64::from(resolution);
    Tensor::randn([count, 3, size, size], (Kind::Float, Device::Cpu))
}

/// Off-identity kernel transforms and uneven batch norm, so that a mistake in either shows.
fn shaken(space: &SearchSpace) -> Supernet {
    let supernet = Supernet::new(space, 7, Device::Cpu);
    tch::manual_seed(7);
    tch::no_grad(|| {
        for weight in supernet.weights() {
            let noise = weight.tensor.randn_like() * 0.05;
            let mut tensor = weight.tensor.shallow_clone();
            if weight.name.contains("transform_") || weight.name.contains("bn.weight") || weight.name.ends_with("bias")
            {
                let _ = tensor.g_add_(&noise);
            }
        }
    });
    supernet
}

fn relative_difference(a: &Tensor, b: &Tensor) -> f64 {
    ((a - b).abs().max() / b.std(false)).double_value(&[])
}

const SPACES: [&str; 3] = ["mcu-cifar", "fbnet-cifar", "mbv3-w1.0"];

#[test]
fn an_extracted_subnet_is_the_supernet_at_that_subnet() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for name in SPACES {
        let space = SearchSpace::builtin(name).unwrap();
        let supernet = shaken(&space);
        for trial in 0..3 {
            let arch = random_arch(&space, &mut rng);
            let config = space.resolve(&arch);
            let batch = images(4, arch.resolution(), trial);
            let subnet = supernet.subnet(&config);
            let stored = subnet.stored_statistics();
            let calibrated = calibrate(&subnet, [&images(8, arch.resolution(), 99), &images(4, arch.resolution(), 98)]);
            for statistics in [&stored, &calibrated] {
                let expected = tch::no_grad(|| supernet.forward(&batch, &config, Mode::Eval(statistics)));
                let traced = tch::no_grad(|| supernet.forward(&batch, &config, Mode::Traced(statistics)));
                let difference = relative_difference(&traced, &expected);
                // Other orders of sums, through up to sixty layers.
                assert!(difference <= 1e-4, "{name}, subnet {trial}, LibTorch's operators: {difference}");
                let extracted = StaticSubnet::extract(&subnet, statistics);
                let again = StaticSubnet::from_tensors(&space, &config, extracted.tensors(), Device::Cpu)
                    .expect("its own tensors");
                for network in [&extracted, &again] {
                    let difference = relative_difference(&network.forward(&batch), &expected);
                    assert!(difference <= 1e-5, "{name}, subnet {trial}: {difference}");
                }
            }
        }
    }
}

#[test]
fn a_head_without_batch_norm_runs_by_whatever_layers_it_can() {
    let yaml = SearchSpace::builtin("mcu-cifar").unwrap().to_yaml();
    let at = yaml.rfind("batch_norm: true").expect("the head's");
    let space = SearchSpace::from_yaml(&yaml.replacen("batch_norm: true", "batch_norm: false", 1)).unwrap();
    assert!(yaml[..at].find("batch_norm: true").is_none() && !space.head()[0].batch_norm);
    let supernet = Supernet::new(&space, 1, Device::Cpu);
    let config = space.resolve(&space.smallest(24).unwrap());
    let (subnet, batch) = (supernet.subnet(&config), images(4, 24, 1));
    let statistics = calibrate(&subnet, [&batch]);
    let run = |mode| tch::no_grad(|| subnet.forward(&batch, mode));
    assert!(relative_difference(&run(Mode::Eval(&statistics)), &run(Mode::Traced(&statistics))) <= 1e-5);
    assert!(subnet.forward(&batch, Mode::Train).requires_grad());
}

#[test]
fn sorting_channels_leaves_the_largest_network_alone() {
    for name in SPACES {
        let space = SearchSpace::builtin(name).unwrap();
        let arch = space.largest(space.resolutions()[0]).unwrap();
        let config = space.resolve(&arch);
        let supernet = shaken(&space);
        let batch = images(4, arch.resolution(), 3);
        // Stored statistics: normalising by so small a batch would magnify rounding.
        let run = || {
            let statistics = supernet.subnet(&config).stored_statistics();
            tch::no_grad(|| supernet.forward(&batch, &config, Mode::Eval(&statistics)))
        };
        let before = run();
        let weights_before = supernet.tensors()["stages.0.0.project.conv.weight"].copy();
        supernet.sort_channels(1);
        let difference = relative_difference(&run(), &before);
        assert!(difference < 1e-4, "{name}: {difference}");
        let weights = &supernet.tensors()["stages.0.0.project.conv.weight"];
        assert!(!weights.equal(&weights_before), "{name}: something was sorted");
        let importance = weights.abs().sum_dim_intlist(&[0i64, 2, 3][..], false, Kind::Float);
        let importance = Vec::<f32>::try_from(importance).unwrap();
        assert!(importance.windows(2).all(|pair| pair[0] >= pair[1]), "{name}: most important first");
    }
}

#[test]
fn sorting_again_keeps_the_channels_of_a_trained_width() {
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let supernet = shaken(&space);
    let name = "stages.1.1.depthwise.conv.weight";
    // Widths of expand ratios 2, 3, 4 from 40 channels: 80, 120, 160.
    let prefix = |width: i64| {
        let sums = supernet.tensors()[name].narrow(0, 0, width).flatten(1, -1).sum_dim_intlist(
            &[1i64][..],
            false,
            Kind::Float,
        );
        let mut sums = Vec::<f32>::try_from(sums).unwrap();
        sums.sort_by(f32::total_cmp);
        sums
    };
    let (three, two) = (prefix(120), prefix(80));
    supernet.sort_channels(2);
    assert_eq!(prefix(120), three, "the 3x network keeps its set of channels");
    assert_ne!(prefix(80), two, "which of them form the 2x network is chosen anew");
}

#[test]
fn weights_outside_a_subnet_get_no_gradient() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for name in SPACES {
        let space = SearchSpace::builtin(name).unwrap();
        let supernet = shaken(&space);
        let arch = space.smallest(space.resolutions()[0]).unwrap();
        let config = space.resolve(&arch);
        let batch = images(4, arch.resolution(), rng.random_range(0..100));
        supernet.forward(&batch, &config, Mode::Train).square().sum(Kind::Float).backward();
        let (mut inside, mut outside) = (0, 0);
        for weight in supernet.weights().iter().filter(|weight| weight.role != Role::Statistic) {
            let gradient = weight.tensor.grad();
            if !gradient.defined() {
                outside += 1;
                continue;
            }
            inside += 1;
            if weight.name == "stages.1.0.expand.conv.weight" {
                let mid = config
                    .blocks
                    .iter()
                    .find(|block| block.position == search::subnet::BlockPosition::Elastic { stage: 1, index: 0 });
                let mid = i64::from(mid.unwrap().mid_channels);
                let rest = gradient.narrow(0, mid, gradient.size()[0] - mid);
                assert!(rest.numel() > 0 && rest.abs().max().double_value(&[]) == 0.0, "{name}");
                assert!(gradient.narrow(0, 0, mid).abs().max().double_value(&[]) > 0.0, "{name}");
            }
        }
        assert!(inside > 10 && outside > 10, "{name}: {inside} inside, {outside} outside");
    }
}

#[test]
fn a_then_b_then_a_gives_the_same_answer() {
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let supernet = shaken(&space);
    let [a, b] = [space.largest(24).unwrap(), space.smallest(24).unwrap()].map(|arch| space.resolve(&arch));
    let batch = images(4, 24, 1);
    let run = |config| tch::no_grad(|| supernet.forward(&batch, config, Mode::Train));
    let first = run(&a);
    let _ = run(&b);
    assert!(run(&a).equal(&first));
}
