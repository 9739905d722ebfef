use std::sync::Arc;

use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::data::{
    Augmentation, Batch, Border, ColourJitter, Crop, DataSource, ImageSet, LoadOptions, Mix, Position, Preprocessing,
    PreprocessingFile, RandAugment, TrainLoader, calibration_batches, channels_last, eval_batches, resize,
};

fn synthetic(count: usize, size: usize) -> Arc<ImageSet> {
    let source: DataSource = format!("synthetic:{count},size={size}").parse().unwrap();
    Arc::new(source.train(&LoadOptions::default()).unwrap().images)
}

fn loader(set: &Arc<ImageSet>, augmentation: Augmentation, batch: usize, seed: u64) -> TrainLoader {
    TrainLoader::new(set.clone(), &Preprocessing::measured(set).unwrap(), augmentation, batch, seed).unwrap()
}

/// Of images and, where they were mixed, of weights; classes, and those of partners.
fn bits(batch: &Batch) -> (Vec<u32>, Vec<i64>) {
    let mut values = Vec::<f32>::try_from(batch.images.contiguous().flatten(0, -1)).unwrap();
    let mut labels = Vec::<i64>::try_from(&batch.labels).unwrap();
    if let Some(partners) = &batch.partners {
        values.extend(Vec::<f32>::try_from(&partners.weights).unwrap());
        labels.extend(Vec::<i64>::try_from(&partners.labels).unwrap());
    }
    (values.iter().map(|value| value.to_bits()).collect(), labels)
}

fn all_augmentations() -> Vec<Augmentation> {
    vec![
        Augmentation::default(),
        Augmentation {
            crop: Crop::Padded { padding: 3, border: Border::Reflect },
            cutout: Some(5),
            ..Augmentation::none()
        },
        Augmentation::photographs(),
        Augmentation::none(),
        Augmentation { rand_augment: Some(RandAugment::default()), ..Augmentation::default() },
        Augmentation {
            colour_jitter: Some(ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }),
            cutout: Some(4),
            ..Augmentation::default()
        },
        Augmentation {
            mixup: Some(Mix { alpha: 0.2, share: 0.5 }),
            cutmix: Some(Mix { alpha: 1.0, share: 0.5 }),
            rand_augment: Some(RandAugment { operations: 1, magnitude: 30.0 }),
            ..Augmentation::photographs()
        },
    ]
}

#[test]
fn a_batch_depends_on_its_position_alone() {
    let set = synthetic(50, 12);
    for augmentation in all_augmentations() {
        let loader = loader(&set, augmentation, 16, 5);
        assert_eq!(loader.steps_per_epoch(), 3);
        let from_start: Vec<_> = loader.batches_from(Position::default()).take(8).map(Result::unwrap).collect();
        for (number, (position, batch)) in from_start.iter().enumerate() {
            let expected = Position { epoch: number as u64 / 3, step: number % 3 };
            assert_eq!(*position, expected);
            assert_eq!(bits(batch), bits(&loader.batch(expected.epoch, expected.step).unwrap()));
        }
        let resumed: Vec<_> = loader.batches_from(Position { epoch: 1, step: 1 }).take(2).map(Result::unwrap).collect();
        for ((_, resumed), (_, original)) in resumed.iter().zip(&from_start[4..]) {
            assert_eq!(bits(resumed), bits(original));
        }
        let (position, _) = loader.batches_from(Position { epoch: 0, step: 3 }).next().unwrap().unwrap();
        assert_eq!(position, Position { epoch: 1, step: 0 });
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let three_threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let made = |pool: &rayon::ThreadPool| pool.install(|| bits(&loader.batch(2, 1).unwrap()));
        assert_eq!(made(&one_thread), made(&three_threads));
    }
}

#[test]
fn mixed_batches_know_their_partners() {
    let set = synthetic(40, 8);
    let mixup = Some(Mix { alpha: 1.0, share: 1.0 });
    let plain = loader(&set, Augmentation::none(), 10, 5).batch(1, 2).unwrap();
    let mixed = loader(&set, Augmentation { mixup, ..Augmentation::none() }, 10, 5).batch(1, 2).unwrap();
    assert!(plain.partners.is_none());
    let partners = mixed.resize(6).to_device(Device::Cpu).partners.unwrap();
    assert!(mixed.labels.equal(&plain.labels) && partners.labels.equal(&plain.labels.roll([-1], [0])));
    let weights = partners.weights.view([10, 1, 1, 1]);
    let expected = &plain.images * &weights + plain.images.roll([-1], [0]) * (1.0 - weights);
    assert!(mixed.images.allclose(&expected, 1e-5, 1e-6, false));
}

/// Recorded before there were further augmentations: recipes without them go on to train the same networks.
#[test]
fn augmentations_that_are_off_draw_nothing() {
    let set = synthetic(50, 12);
    let fingerprint = |augmentation: Augmentation| {
        let (images, labels) = bits(&loader(&set, augmentation, 16, 5).batch(3, 1).unwrap());
        let words = images.into_iter().map(u64::from).chain(labels.into_iter().map(|label| label as u64));
        words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
    };
    let before = all_augmentations().into_iter().take(4).map(fingerprint);
    let recorded = [0x4168_5569_5933_d74d, 0x3d7e_efab_138b_bc78, 0xcaf5_48b6_7368_189c, 0x9531_33fb_b9b9_efb1];
    assert_eq!(before.collect::<Vec<_>>(), recorded);
}

#[test]
fn epochs_seeds_and_steps_differ() {
    let set = synthetic(50, 12);
    let loader = loader(&set, Augmentation::default(), 10, 5);
    let other_seed = self::loader(&set, Augmentation::default(), 10, 6);
    let first = bits(&loader.batch(0, 0).unwrap());
    assert_ne!(first, bits(&loader.batch(1, 0).unwrap()));
    assert_ne!(first, bits(&loader.batch(0, 1).unwrap()));
    assert_ne!(first, bits(&other_seed.batch(0, 0).unwrap()));
    assert_ne!(loader.order(0), loader.order(1));
}

#[test]
fn without_augmentation_an_epoch_shows_every_image_once() {
    let set = synthetic(40, 8);
    let loader = loader(&set, Augmentation::none(), 8, 1);
    let preprocessing = Preprocessing::measured(&set).unwrap();
    let whole = eval_batches(&set, &preprocessing, 40, 8, Device::Cpu).unwrap().next().unwrap().unwrap();
    let order: Vec<i64> = loader.order(3).into_iter().map(i64::from).collect();
    let (expected, labels) = (whole.images.index_select(0, &Tensor::from_slice(&order)), whole.labels);
    let shown: Vec<Tensor> = (0..5).map(|step| loader.batch(3, step).unwrap().images).collect();
    assert!(Tensor::cat(&shown, 0).equal(&expected));
    assert_eq!(Vec::<i64>::try_from(labels).unwrap(), set.labels());
}

#[test]
fn normalised_training_images_have_mean_0_and_deviation_1() {
    let set = synthetic(40, 8);
    let preprocessing = Preprocessing::measured(&set).unwrap();
    let batch = eval_batches(&set, &preprocessing, 40, 8, Device::Cpu).unwrap().next().unwrap().unwrap();
    assert_eq!((batch.images.size(), batch.images.kind()), (vec![40, 3, 8, 8], Kind::Float));
    assert_eq!(batch.labels.kind(), Kind::Int64);
    for channel in 0..3 {
        let values = batch.images.select(1, channel).to_kind(Kind::Double);
        assert!(values.mean(Kind::Double).double_value(&[]).abs() < 1e-6);
        assert!((values.std(false).double_value(&[]) - 1.0).abs() < 1e-6);
    }
}

#[test]
fn evaluation_keeps_the_order_and_the_last_batch() {
    let set = synthetic(10, 8);
    let preprocessing = Preprocessing::measured(&set).unwrap();
    let batches = eval_batches(&set, &preprocessing, 4, 6, Device::Cpu).unwrap();
    assert_eq!(batches.len(), 3);
    let batches: Vec<Batch> = batches.map(Result::unwrap).collect();
    assert_eq!(batches[2].images.size(), [2, 3, 6, 6]);
    let labels: Vec<Tensor> = batches.into_iter().map(|batch| batch.labels).collect();
    assert_eq!(Vec::<i64>::try_from(Tensor::cat(&labels, 0)).unwrap(), set.labels());
    assert!(eval_batches(&set, &preprocessing, 0, 6, Device::Cpu).is_err());
    assert!(eval_batches(&set, &Preprocessing::cifar10(), 4, 6, Device::Cpu).is_err());
}

#[test]
fn calibration_draws_without_replacement_and_the_same_at_every_resolution() {
    let set = synthetic(30, 8);
    let preprocessing = Preprocessing::measured(&set).unwrap();
    let draw = |count, seed, resolution| -> Vec<Batch> {
        calibration_batches(&set, &preprocessing, count, 10, resolution, seed, Device::Cpu)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let labels = |batches: &[Batch]| -> Vec<i64> {
        batches.iter().flat_map(|batch| Vec::<i64>::try_from(&batch.labels).unwrap()).collect()
    };
    let drawn = draw(3, 1, 8);
    assert_eq!(drawn.len(), 3);
    let mut sorted = labels(&drawn);
    sorted.sort_unstable();
    let mut all = set.labels().to_vec();
    all.sort_unstable();
    assert_eq!(sorted, all);
    assert_eq!(draw(4, 1, 8).len(), 4);
    for (native, resized) in drawn.iter().zip(draw(3, 1, 5)) {
        assert!(resize(&native.images, 5).equal(&resized.images));
    }
    assert_ne!(labels(&drawn), labels(&draw(3, 2, 8)));
}

#[test]
fn resizing_to_the_same_size_is_the_identity_and_keeps_constants() {
    let images = Tensor::rand([2, 3, 9, 9], (Kind::Float, Device::Cpu));
    assert!(resize(&images, 9).equal(&images));
    let constant = Tensor::full([1, 3, 12, 12], 0.5, (Kind::Float, Device::Cpu));
    for resolution in [5, 12, 20] {
        let resized = resize(&constant, resolution);
        assert_eq!(resized.size(), [1, 3, resolution, resolution]);
        assert!((resized - 0.5).abs().max().double_value(&[]) < 1e-6);
    }
}

#[test]
fn halving_averages_with_a_triangle_of_twice_the_width() {
    // A single bright column of 8: the triangle filter of support 2 gives its four neighbours 1/8, 3/8, 3/8, 1/8.
    let image = Tensor::zeros([1, 1, 8, 8], (Kind::Float, Device::Cpu));
    let _ = image.narrow(3, 3, 1).fill_(1.0);
    let row = Vec::<f32>::try_from(resize(&image.expand([1, 3, 8, 8], false), 4).get(0).get(0).get(0)).unwrap();
    assert_eq!(row, [0.0, 0.375, 0.125, 0.0]);
}

#[test]
fn channels_last_changes_the_layout_and_not_the_values() {
    let images = Tensor::rand([2, 3, 4, 5], (Kind::Float, Device::Cpu));
    let changed = channels_last(&images);
    assert!(changed.equal(&images));
    assert_eq!(changed.stride(), [60, 1, 15, 3]);
    let set = synthetic(10, 8);
    let batch = loader(&set, Augmentation::default(), 10, 0).batch(0, 0).unwrap();
    assert_eq!(batch.images.stride(), channels_last(&batch.images).stride());
    let smaller = batch.resize(6).images;
    assert_eq!(smaller.stride(), channels_last(&smaller).stride());
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let set = synthetic(10, 8);
    let preprocessing = Preprocessing::measured(&set).unwrap();
    let refused = |augmentation: Augmentation, batch: usize, word: &str| {
        let error = TrainLoader::new(set.clone(), &preprocessing, augmentation, batch, 0).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    };
    refused(Augmentation::none(), 11, "batch_size is 11");
    refused(Augmentation::none(), 0, "batch_size");
    let padded = Crop::Padded { padding: 8, border: Border::Mean };
    refused(Augmentation { crop: padded, ..Augmentation::none() }, 2, "padding");
    let resized = Crop::RandomResized { area: [0.0, 1.0], ratio: [1.0, 1.0] };
    refused(Augmentation { crop: resized, ..Augmentation::none() }, 2, "area");
    refused(Augmentation { cutout: Some(0), ..Augmentation::none() }, 2, "cutout");
    for (operations, magnitude, field) in [(0, 9.0, "operations"), (9, 9.0, "operations"), (2, 30.5, "magnitude")] {
        let rand_augment = Some(RandAugment { operations, magnitude });
        let field = format!("augmentation.rand_augment.{field}");
        refused(Augmentation { rand_augment, ..Augmentation::none() }, 2, &field);
    }
    let jitter = ColourJitter::default();
    for (jitter, field) in [
        (ColourJitter { brightness: -0.1, ..jitter }, "brightness"),
        (ColourJitter { contrast: 1.1, ..jitter }, "contrast"),
        (ColourJitter { saturation: f64::NAN, ..jitter }, "saturation"),
        (ColourJitter { hue: 0.6, ..jitter }, "hue"),
    ] {
        let field = format!("augmentation.colour_jitter.{field}");
        refused(Augmentation { colour_jitter: Some(jitter), ..Augmentation::none() }, 2, &field);
    }
    let mix = |alpha, share| Some(Mix { alpha, share });
    for (mixup, cutmix, field) in [
        (mix(0.0, 1.0), None, "mixup.alpha"),
        (mix(f64::INFINITY, 1.0), None, "mixup.alpha"),
        (None, mix(1.0, 0.0), "cutmix.share"),
        (None, mix(1.0, 1.5), "cutmix.share"),
        (mix(1.0, 0.5), mix(1.0, 0.6), "cutmix.share"),
    ] {
        let field = format!("augmentation.{field}");
        refused(Augmentation { mixup, cutmix, ..Augmentation::none() }, 2, &field);
    }
}

#[test]
fn preprocessing_survives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("preprocessing.json");
    let names = ["cat".to_string(), "dog".to_string()];
    let file = Preprocessing::cifar10().describe(Some(24), &names, None);
    file.write(&path).unwrap();
    assert_eq!(PreprocessingFile::read(&path).unwrap(), file);
    assert_eq!(file.preprocessing(), Preprocessing::cifar10());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("resize the normalised floats to 24×24") && text.contains("\"cat\""), "{text}");
    for (from, to, word) in [
        ("0.247", "0.0", "`std` holds 0, but must be 0.0001 to 10"),
        ("0.247", "1e-320", "`std` holds"),
        ("0.247", "63.0", "divide constants for 0 to 255 by 255"),
        ("0.4914", "1.8e19", "`mean` holds 18000000000000000000"),
        ("\"native_size\": 32", "\"native_size\": 1000000000", "`native_size` is 1000000000, but must be 1 to 4096"),
        ("\"resolution\": 24", "\"resolution\": 0", "`resolution` is 0"),
    ] {
        std::fs::write(&path, text.replace(from, to)).unwrap();
        let error = PreprocessingFile::read(&path).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    std::fs::write(&path, &text[..100]).unwrap();
    assert!(PreprocessingFile::read(&path).unwrap_err().to_string().contains("preprocessing.json"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_order_is_a_permutation(count in 1_usize..300, epoch: u64, seed: u64) {
        let set = Arc::new(
            ImageSet::new(vec![0; count * 3], vec![0; count], 1, vec!["one".into()]).unwrap()
        );
        let mut order = loader(&set, Augmentation::none(), 1, seed).order(epoch);
        order.sort_unstable();
        prop_assert_eq!(order, (0..count as u32).collect::<Vec<_>>());
    }
}
