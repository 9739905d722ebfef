//! Time to predict 50,100 distinct architectures, the number of a published search: `cargo bench -p predictors`.
//!
//! One line per predictor: encoding and prediction, on one thread and on all; the multiply-accumulates
//! of the layers behind the first, per second, compare with the processor's peak.

use std::collections::HashSet;
use std::time::Instant;

use predictors::encode::{ArchEncoder, Layout};
use predictors::ensemble::{AccuracyPredictor, LabelScale};
use predictors::interactions::Interactions;
use predictors::mlp::{Linear, Mlp};
use predictors::ridge::AdditiveModel;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use search::arch::ArchSpec;
use search::space::SearchSpace;

const EVALUATIONS: usize = 50_100;

fn main() {
    let mcu = ("mcu-cifar", Layout::Blocks, &[24, 28, 32][..]);
    let mobile = ("mbv3-w1.2", Layout::Blocks, &[160, 192, 224][..]);
    let published = ("mbv3-w1.2", Layout::Tutorial, &[160, 176, 192, 208, 224][..]);
    for (name, (space, layout, known), closed_form, members, hidden) in [
        ("closed form", mcu, true, 0, vec![]),
        ("closed form", mobile, true, 0, vec![]),
        ("closed form + 4 x 128-128", mcu, true, 4, vec![128, 128]),
        ("closed form + 4 x 128-128", mobile, true, 4, vec![128, 128]),
        ("400-400-400 (published)", published, false, 1, vec![400; 3]),
    ] {
        let space = SearchSpace::builtin(space).expect("a shipped space");
        let encoder = ArchEncoder::new(layout, &space, known).expect("resolutions of the space");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut archs = HashSet::new();
        while archs.len() < EVALUATIONS {
            let arch = space.sample(&mut rng);
            archs.extend(known.contains(&arch.resolution()).then_some(arch));
        }
        let archs: Vec<ArchSpec> = archs.into_iter().collect();
        let width = encoder.width();
        let additive = || AdditiveModel { constant: 0.8, shares: vec![0.01; width] };
        let interactions = || Interactions { correction: additive(), pairs: vec![0.01; width * width] };
        let mlps = (0..members).map(|_| random_mlp(width, &hidden, &mut rng)).collect();
        let predictor = AccuracyPredictor::new(encoder, LabelScale::UNIT, closed_form.then(additive), mlps)
            .with_interactions(closed_form.then(interactions));
        let macs: usize = members * hidden.windows(2).map(|pair| pair[0] * pair[1]).sum::<usize>();
        let one = time(1, &predictor, &archs);
        let all = time(0, &predictor, &archs);
        println!(
            "{name}, {}: {one:.3} s on one thread ({:.0} evaluations/s, {:.1} GMAC/s), {all:.3} s on {}",
            space.id(),
            EVALUATIONS as f64 / one,
            (macs * EVALUATIONS) as f64 / one / 1e9,
            rayon::current_num_threads(),
        );
    }
}

/// Least of five times, in seconds.
fn time(threads: usize, predictor: &AccuracyPredictor, archs: &[ArchSpec]) -> f64 {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let once = || {
        let start = Instant::now();
        std::hint::black_box(pool.install(|| predictor.top1(archs)).expect("known architectures"));
        start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| once()).fold(f64::INFINITY, f64::min)
}

fn random_mlp(inputs: usize, hidden: &[usize], rng: &mut ChaCha8Rng) -> Mlp {
    let mut width = inputs;
    let layers = hidden.iter().chain([&1]).map(|&outputs| {
        let bound = 1.0 / (width as f32).sqrt();
        let mut draw = |count: usize| (0..count).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)).collect();
        let layer = Linear { weight: draw(outputs * width), bias: draw(outputs) };
        width = outputs;
        layer
    });
    Mlp::new(inputs, layers.collect())
}
