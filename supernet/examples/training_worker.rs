//! One training step (forward, backward, update) of one subnet whenever a line comes in; `scripts/bench-train` takes
//! turns between workers like this one.
//!
//! `training_worker SPACE largest|middle|smallest RESOLUTION BATCH float32|bfloat16 elastic|static THREADS DEVICE`
//!
//! DEVICE is `cpu` or `cuda:N`.
//!
//! The first line out describes the subnet as JSON, each further one is a step's time in milliseconds.

use std::io::{BufRead, Write, stdin, stdout};
use std::time::Instant;

use search::arch::{ArchSpec, BlockSpec, StageSpec};
use search::space::SearchSpace;
use search::subnet::{ConvShape, SubnetConfig};
use supernet::device::DeviceChoice;
use supernet::optim::{Sgd, SgdSettings};
use supernet::subnet::Mode;
use supernet::supernet::Supernet;
use tch::{Kind, Reduction, Tensor};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [space, which, resolution, batch, precision, weights, threads, device] =
        args.try_into().expect("eight arguments");
    let device: DeviceChoice = device.parse().expect("a device");
    let device = device.resolve().expect("a device that is there");
    let (resolution, batch): (u32, i64) = (resolution.parse().expect("pixels"), batch.parse().expect("images"));
    tch::set_num_threads(threads.parse().expect("a number of threads"));
    let kind = match precision.as_str() {
        "float32" => Kind::Float,
        "bfloat16" => Kind::BFloat16,
        other => panic!("no precision is called {other}"),
    };
    let mut space = SearchSpace::builtin(&space).expect("a built-in space");
    let mut arch = chosen(&space, &which, resolution);
    if weights == "static" {
        space = only(&space, &arch);
        arch = space.largest(resolution).expect("its own resolution");
    }
    let supernet = Supernet::new(&space, 1, device);
    let mut sgd = Sgd::new(supernet.weights(), SgdSettings { momentum: 0.9, weight_decay: 3e-5, clip_gradient: None });
    let config = space.resolve(&arch);
    tch::manual_seed(1);
    let size = i64::from(resolution);
    let images = Tensor::randn([batch, 3, size, size], (Kind::Float, device)).to_kind(kind);
    let labels = Tensor::randint(i64::from(config.classes), [batch], (Kind::Int64, device));
    println!("{}", description(&config, space.lower(&arch).macs().0));
    for line in stdin().lock().lines() {
        line.expect("a line");
        let started = Instant::now();
        let logits = supernet.forward(&images, &config, Mode::Train);
        let loss = logits.to_kind(Kind::Float).cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.1);
        loss.backward();
        sgd.step(0.01).expect("a gradient that is not clipped");
        let value = loss.double_value(&[]);
        println!("{}", started.elapsed().as_secs_f64() * 1e3);
        assert!(value.is_finite(), "the loss is {value}");
        stdout().flush().expect("someone listens");
    }
}

/// The middle one takes the middle of each list of choices (the larger of two).
fn chosen(space: &SearchSpace, which: &str, resolution: u32) -> ArchSpec {
    let pick = |choices: &[u32]| match which {
        "largest" => choices[choices.len() - 1],
        "middle" => choices[choices.len() / 2],
        "smallest" => choices[0],
        other => panic!("no subnet is called {other}"),
    };
    let stages = space.stages().iter().map(|stage| StageSpec {
        blocks: (0..pick(&stage.depths))
            .map(|_| BlockSpec { kernel: pick(&stage.kernels), expand: pick(&stage.expands) })
            .collect(),
    });
    space.arch_at_any_resolution(resolution, stages.collect()).expect("offered choices")
}

/// The space that holds nothing else: its supernet is the network by itself, with no slice and no kernel transform.
fn only(space: &SearchSpace, arch: &ArchSpec) -> SearchSpace {
    let mut file: serde_yaml::Value = serde_yaml::from_str(&space.to_yaml()).expect("its own file");
    file["resolutions"] = vec![u64::from(arch.resolution())].into();
    for (stage, spec) in file["stages"].as_sequence_mut().expect("a list").iter_mut().zip(arch.stages()) {
        let one = |value: u32| serde_yaml::Value::from(vec![u64::from(value)]);
        stage["depths"] = one(spec.blocks.len() as u32);
        stage["kernels"] = one(spec.blocks[0].kernel);
        stage["expands"] = one(spec.blocks[0].expand);
    }
    SearchSpace::from_yaml(&serde_yaml::to_string(&file).expect("a file")).expect("a space")
}

fn description(config: &SubnetConfig, macs: u64) -> String {
    let conv = |shape: &ConvShape| {
        serde_json::json!({
            "in": shape.in_channels, "out": shape.out_channels, "kernel": shape.kernel, "stride": shape.stride,
            "activation": format!("{:?}", shape.activation), "batch_norm": shape.batch_norm,
            "before_pool": shape.before_pool,
        })
    };
    let blocks = config.blocks.iter().map(|block| {
        serde_json::json!({
            "in": block.in_channels, "mid": block.mid_channels, "out": block.out_channels, "kernel": block.kernel,
            "stride": block.stride, "activation": format!("{:?}", block.activation), "se": block.se_channels,
            "expand": block.expand_conv, "residual": block.residual, "in_size": block.in_size,
            "out_size": block.out_size,
        })
    });
    serde_json::json!({
        "macs": macs, "stem": conv(&config.stem), "blocks": blocks.collect::<Vec<_>>(),
        "head": config.head.iter().map(conv).collect::<Vec<_>>(), "features": config.features,
        "classes": config.classes,
    })
    .to_string()
}
