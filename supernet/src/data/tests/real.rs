use std::path::PathBuf;

use crate::data::{DataSource, Divided, Division, Form, LoadOptions};

/// A folder of the shared data, or none with a visible word.
fn shared(folder: &str) -> Option<PathBuf> {
    shared_data::file(folder)
}

#[test]
fn the_real_test_set_has_a_thousand_images_of_each_class() {
    let Some(path) = shared("data/cifar10") else { return };
    let set = DataSource::from(Form::Parquet(path)).test(&LoadOptions::default()).unwrap().images;
    assert_eq!((set.len(), set.size(), set.classes()), (10_000, 32, 10));
    assert_eq!(set.histogram(), [1000; 10]);
    // Canonical order: cat, ship, ship, airplane, frog, frog, automobile, frog, cat, automobile.
    assert_eq!(set.labels()[..10], [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]);
}

#[test]
fn the_real_training_set_has_the_usual_statistics() {
    let Some(path) = shared("data/cifar10") else { return };
    let division = Division { held_out: None, seed: 0, splits_test: false };
    let divided = DataSource::from(Form::Parquet(path)).divided(&LoadOptions::default(), &division).unwrap().0;
    let Divided { train, held_out, .. } = divided;
    assert_eq!((train.histogram(), held_out.histogram()), (vec![4500; 10], vec![500; 10]));
    let (mean, std) = train.channel_statistics().unwrap();
    let expected = crate::data::Preprocessing::cifar10();
    for channel in 0..3 {
        assert!((mean[channel] - expected.mean[channel]).abs() < 0.003, "{mean:?}");
        assert!((std[channel] - expected.std[channel]).abs() < 0.006, "{std:?}");
    }
}
