//! Times one training step (forward, backward, update) of the largest and the smallest subnet on this machine.
//!
//! `cargo run --release -p supernet --example step_speed [SPACE] [THREADS]`

use std::time::Instant;

use search::space::SearchSpace;
use supernet::optim::{Sgd, SgdSettings};
use supernet::subnet::Mode;
use supernet::supernet::Supernet;
use tch::{Device, Kind, Reduction, Tensor};

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "mcu-cifar".into());
    if let Some(threads) = args.next() {
        tch::set_num_threads(threads.parse().expect("a number of threads"));
    }
    let space = SearchSpace::builtin(&name).expect("a built-in space");
    let supernet = Supernet::new(&space, 1, Device::Cpu);
    let mut sgd = Sgd::new(supernet.weights(), SgdSettings { momentum: 0.9, weight_decay: 1e-4, clip_gradient: None });
    println!("{name}: {} parameters", supernet.parameter_count());
    let resolutions = space.resolutions();
    let (low, high) = (resolutions[0], resolutions[resolutions.len() - 1]);
    let batch = 128;
    for (label, arch) in [("largest", space.largest(high).unwrap()), ("smallest", space.smallest(low).unwrap())] {
        let config = space.resolve(&arch);
        let size = i64::from(arch.resolution());
        let images = Tensor::rand([batch, 3, size, size], (Kind::Float, Device::Cpu));
        let labels = Tensor::zeros([batch], (Kind::Int64, Device::Cpu));
        let mut seconds: Vec<f64> = (0..12)
            .map(|_| {
                let started = Instant::now();
                let logits = supernet.forward(&images, &config, Mode::Train);
                logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0).backward();
                sgd.step(0.01).expect("a gradient that is not clipped");
                started.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        let macs = space.lower(&arch).macs().0 as f64 / 1e6;
        println!("{label}: {macs:.2} M MACs, {:.0} images/s", batch as f64 / seconds[seconds.len() / 2]);
    }
}
