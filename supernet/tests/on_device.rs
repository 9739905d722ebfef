//! What a GPU computes is what the CPU computes, to the digits that its number formats keep. Run by `scripts/check-gpu` with
//! OFA_TEST_DEVICE set (`cuda:0`; `cpu` stands in where there is none), and OFA_TEST_ZOO where the bundles are not where they
//! were when this was built.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use search::arch::{ArchSpec, BlockSpec, StageSpec};
use search::space::SearchSpace;
use supernet::calibrate::calibrate;
use supernet::device::DeviceChoice;
use supernet::extract::StaticSubnet;
use supernet::optim::{Sgd, SgdSettings};
use supernet::subnet::Mode;
use supernet::supernet::Supernet;
use tch::{Device, Kind, Reduction, Tensor};

const SPACES: [&str; 3] = ["mcu-cifar", "fbnet-cifar", "mbv3-w1.0"];

fn device() -> Device {
    let name = std::env::var("OFA_TEST_DEVICE").expect("OFA_TEST_DEVICE names a device");
    name.parse::<DeviceChoice>().expect("cpu or cuda:N").resolve().expect("a device that is there")
}

fn random_arch(space: &SearchSpace, rng: &mut ChaCha8Rng) -> ArchSpec {
    let mut pick = |choices: &[u32]| choices[rng.random_range(0..choices.len())];
    let resolution = space.resolutions()[0];
    let stages = space.stages().iter().map(|stage| StageSpec {
        blocks: (0..pick(&stage.depths))
            .map(|_| BlockSpec { kernel: pick(&stage.kernels), expand: pick(&stage.expands) })
            .collect(),
    });
    let stages = stages.collect();
    space.arch(resolution, stages).expect("offered choices")
}

/// Smooth ones: those of white noise make deep random networks amplify rounding.
fn images(count: i64, resolution: u32, seed: u64) -> Tensor {
    let size = i64::from(resolution);
    // Not LibTorch's own generator, which tests that run at the same time share.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..count * 3 * 16).map(|_| rng.random_range(-1.7..1.7)).collect();
    let coarse = Tensor::from_slice(&values).reshape([count, 3, 4, 4]);
    coarse.upsample_bilinear2d([size, size], false, None, None)
}

fn relative_difference(a: &Tensor, b: &Tensor) -> f64 {
    let difference = (a - b).to_kind(Kind::Double).norm().double_value(&[]);
    difference / b.to_kind(Kind::Double).norm().double_value(&[])
}

#[test]
#[ignore = "needs OFA_TEST_DEVICE"]
fn logits_are_those_of_the_cpu() {
    let (device, mut rng) = (device(), ChaCha8Rng::seed_from_u64(1));
    for name in SPACES {
        let space = SearchSpace::builtin(name).expect("built in");
        let [here, there] = [Device::Cpu, device].map(|device| Supernet::new(&space, 7, device));
        for trial in 0..3 {
            let arch = random_arch(&space, &mut rng);
            let config = space.resolve(&arch);
            let (batch, others) = (images(8, arch.resolution(), trial), images(32, arch.resolution(), 99));
            let expected = {
                let statistics = calibrate(&here.subnet(&config), [&others]);
                tch::no_grad(|| here.forward(&batch, &config, Mode::Eval(&statistics)))
            };
            let subnet = there.subnet(&config);
            let statistics = calibrate(&subnet, [&others.to_device(device)]);
            let found = tch::no_grad(|| subnet.forward(&batch.to_device(device), Mode::Eval(&statistics)));
            let difference = relative_difference(&found.to_device(Device::Cpu), &expected);
            println!("{name}, subnet {trial}: {difference:.1e}");
            // TF32 keeps ten bits of a product's factors.
            assert!(difference <= 2e-2, "{name}, subnet {trial}: {difference}");
            let extracted = StaticSubnet::extract(&subnet, &statistics);
            let again = extracted.to_device(Device::Cpu).forward(&batch);
            let difference = relative_difference(&again, &expected);
            assert!(difference <= 2e-2, "{name}, subnet {trial}, brought back: {difference}");
        }
    }
}

/// A shipped bundle's supernet: gradients of fresh weights amplify rounding until nothing is left of them.
fn trained(name: &str, device: Device) -> Supernet {
    let zoo = std::env::var("OFA_TEST_ZOO")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/zoo").to_owned());
    let stored = Tensor::read_safetensors(format!("{zoo}/{name}/supernet.safetensors")).expect("the bundle's weights");
    let weights = stored.into_iter().map(|(name, tensor)| (name, tensor.to_kind(Kind::Float))).collect();
    Supernet::from_tensors(&SearchSpace::builtin(name).expect("built in"), weights, device).expect("its own weights")
}

/// How far one step moves all weights, as one vector.
fn moved(name: &str, kind: Kind, device: Device) -> Tensor {
    let supernet = trained(name, device);
    let space = supernet.space();
    let before = supernet.tensors();
    let before: Vec<Tensor> = before.values().map(|tensor| tensor.to_device(Device::Cpu).copy()).collect();
    let mut sgd =
        Sgd::new(supernet.weights(), SgdSettings { momentum: 0.9, weight_decay: 3e-5, clip_gradient: Some(5.0) });
    let arch = space.largest(space.resolutions()[0]).expect("its own resolution");
    let config = space.resolve(&arch);
    let batch = images(64, arch.resolution(), 3).to_device(device).to_kind(kind);
    let labels = Tensor::arange(64, (Kind::Int64, device)).remainder(i64::from(config.classes));
    let logits = supernet.forward(&batch, &config, Mode::Train);
    logits.to_kind(Kind::Float).cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.1).backward();
    sgd.step(0.1).expect("a finite gradient");
    let after = supernet.tensors();
    let moves: Vec<Tensor> = after
        .values()
        .zip(&before)
        .map(|(after, before)| (after.to_device(Device::Cpu) - before).flatten(0, -1))
        .collect();
    Tensor::cat(&moves, 0)
}

#[test]
#[ignore = "needs OFA_TEST_DEVICE"]
fn a_step_moves_weights_where_the_cpu_moves_them() {
    let device = device();
    let cosine = |a: &Tensor, b: &Tensor| {
        let norms = a.norm().double_value(&[]) * b.norm().double_value(&[]);
        a.dot(b).double_value(&[]) / norms
    };
    for name in ["mcu-cifar", "fbnet-cifar"] {
        let exact = moved(name, Kind::Float, Device::Cpu);
        // What a feature map of eight bits makes of them.
        let coarse = cosine(&moved(name, Kind::BFloat16, Device::Cpu), &exact);
        // TF32 has two bits more than bfloat16: a quarter of its error, a sixteenth of its angle's square.
        for (kind, least) in [(Kind::Float, 1.0 - (1.0 - coarse) / 4.0), (Kind::BFloat16, coarse - 0.1)] {
            let found = cosine(&moved(name, kind, device), &exact);
            println!("{name}, {kind:?}: cosine {found:.4}, the CPU's in bfloat16 {coarse:.4}");
            assert!(found >= least, "{name}, {kind:?}: cosine {found}, below {least}");
        }
    }
}
