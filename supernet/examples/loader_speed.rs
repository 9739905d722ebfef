//! Images per second that the loader makes with each augmentation, at 32 pixels, without a network.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p supernet --example loader_speed`

use std::sync::Arc;
use std::time::Instant;

use supernet::data::{
    Augmentation, ColourJitter, DataSource, LoadOptions, Mix, Preprocessing, RandAugment, TrainLoader,
};

fn main() {
    let source: DataSource = "synthetic:5120,size=32".parse().expect("a source");
    let set = Arc::new(source.train(&LoadOptions::default()).expect("images").images);
    let preprocessing = Preprocessing::measured(&set).expect("images in memory");
    let usual = Augmentation::default();
    let jitter = ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.0 };
    let mix = Some(Mix { alpha: 1.0, share: 1.0 });
    let augmentations = [
        ("none", Augmentation::none()),
        ("padded crop and flip", usual.clone()),
        ("the same, cutout", Augmentation { cutout: Some(8), ..usual.clone() }),
        ("the same, mixup", Augmentation { mixup: mix, ..usual.clone() }),
        ("the same, cutmix", Augmentation { cutmix: mix, ..usual.clone() }),
        ("the same, jitter without hue", Augmentation { colour_jitter: Some(jitter), ..usual.clone() }),
        (
            "the same, jitter with hue",
            Augmentation { colour_jitter: Some(ColourJitter { hue: 0.1, ..jitter }), ..usual.clone() },
        ),
        ("the same, RandAugment", Augmentation { rand_augment: Some(RandAugment::default()), ..usual }),
        ("random resized crop and flip", Augmentation::photographs()),
    ];
    println!("{} thread(s)", rayon::current_num_threads());
    for (name, augmentation) in augmentations {
        let loader = TrainLoader::new(set.clone(), &preprocessing, augmentation, 128, 1).expect("settings");
        let mut rates: Vec<f64> = (0..7)
            .map(|epoch| {
                let started = Instant::now();
                for (_, batch) in (0..loader.steps_per_epoch())
                    .map(|step| (step, loader.batch(epoch, step).expect("images in memory")))
                {
                    std::hint::black_box(&batch.images);
                }
                (loader.steps_per_epoch() * loader.batch_size()) as f64 / started.elapsed().as_secs_f64()
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        println!("{name:30} {:8.0} images/s", rates[rates.len() / 2]);
    }
}
