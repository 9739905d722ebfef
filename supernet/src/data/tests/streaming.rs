//! Images that are decoded as they are needed are those that are held.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use storage::failure::{Failure, FailureKind};
use tch::Device;
use tempfile::tempdir;

use crate::data::test_images::{HUB, jpeg, numbered, png, write_parquet};
use crate::data::{
    Augmentation, DataError, DataSource, Divided, Division, ImageSet, LoadOptions, Loaded, Preprocessing, TrainLoader,
    TrainedOn, calibration_set, eval_batches,
};

fn load(source: &str, options: &LoadOptions) -> Loaded {
    source.parse::<DataSource>().unwrap().train(options).unwrap()
}

/// Class folders of `of_each` images of two classes; JPEGs of another size and shape than the set's among them.
fn write_folder(folder: &Path, of_each: usize) {
    for (class, name) in ["ant", "bee"].iter().enumerate() {
        let within = folder.join(name);
        fs::create_dir_all(&within).unwrap();
        for number in 0..of_each {
            let own = 1000 * class + number;
            let encoded = if number % 3 == 0 { jpeg(&numbered(own, 13)) } else { png(&numbered(own, 8)) };
            fs::write(within.join(format!("{number:03}.img.png")), encoded).unwrap();
        }
    }
}

/// Some images in each shape that is not made up on the spot.
fn sources(folder: &Path) -> Vec<String> {
    let images = folder.join("images");
    write_folder(&images, 20);
    let row = |at: usize| {
        let class = ["ant", "bee"][at % 2];
        format!("images/{class}/{:03}.img.png,{class}\n", at / 2)
    };
    let rows: String = (0..40).map(row).collect();
    fs::write(folder.join("list.csv"), format!("file,label\n{rows}")).unwrap();
    let of = |number: usize| (Some(png(&numbered(number, 8 + number as u32 % 2))), number as i64 % 3);
    write_parquet(&folder.join("rows.parquet"), HUB, &(0..40).map(of).collect::<Vec<_>>(), 7, None);
    let record = |number: usize| {
        let label = [(number % 10) as u8];
        label.into_iter().chain((0..3072).map(move |at| ((at * 7 + number * 31) % 251) as u8))
    };
    fs::create_dir_all(folder.join("cifar")).unwrap();
    for file in 0..5 {
        let bytes: Vec<u8> = (8 * file..8 * file + 8).flat_map(record).collect();
        fs::write(folder.join(format!("cifar/data_batch_{}.bin", file + 1)), bytes).unwrap();
    }
    ["folder:images", "csv:list.csv", "parquet:rows.parquet", "cifar:cifar"]
        .iter()
        .map(|source| source.replacen(':', &format!(":{}/", folder.display()), 1))
        .collect()
}

fn bits(images: &tch::Tensor) -> Vec<u32> {
    let values = Vec::<f32>::try_from(images.contiguous().flatten(0, -1)).unwrap();
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_use_of_streamed_images_gives_the_same() {
    let folder = tempdir().unwrap();
    for source in sources(folder.path()) {
        let options = LoadOptions { image_size: Some(8), ..LoadOptions::default() };
        let held = load(&source, &options).images;
        let Loaded { images: streamed, notes } = load(&format!("{source},memory=500B"), &options);
        assert!(streamed.is_streamed() && !held.is_streamed(), "{source}");
        assert!(notes.iter().any(|note| note.contains("decoded as they are needed")), "{notes:?}");
        assert_eq!(streamed, held, "{source}");
        assert_eq!(streamed.clone().held().unwrap(), held);
        assert_eq!(streamed.digest().unwrap(), held.digest().unwrap());
        assert_eq!(TrainedOn::new(&streamed, true, 1).unwrap(), TrainedOn::new(&held, true, 1).unwrap());
        let preprocessing = Preprocessing::measured(&held).unwrap();
        assert_eq!(Preprocessing::measured(&streamed).unwrap(), preprocessing);
        assert_eq!(calibration_set(&streamed, 9, 3).unwrap(), calibration_set(&held, 9, 3).unwrap());

        let division = Division { held_out: Some(7), seed: 3, splits_test: true };
        let (of_streamed, of_held) = (division.divide(streamed).unwrap(), division.divide(held).unwrap());
        assert!(of_streamed.train.is_streamed() && of_streamed.held_out.is_streamed());
        assert_eq!(of_streamed, of_held, "{source}");
        let evaluated = |set: &ImageSet| -> Vec<Vec<u32>> {
            let batches = eval_batches(set, &preprocessing, 3, 6, Device::Cpu).unwrap();
            batches.map(|batch| bits(&batch.unwrap().images)).collect()
        };
        let Divided { train, held_out, .. } = of_streamed;
        assert_eq!(evaluated(&held_out), evaluated(&of_held.held_out));
        let batch = |set: ImageSet| {
            let loader = TrainLoader::new(Arc::new(set), &preprocessing, Augmentation::default(), 8, 5).unwrap();
            bits(&loader.batch(2, 1).unwrap().images)
        };
        assert_eq!(batch(train), batch(of_held.train), "{source}");
    }
}

#[test]
fn images_of_sizes_that_differ_are_refused_either_way() {
    let folder = tempdir().unwrap();
    let source = sources(folder.path()).remove(0);
    let refused = |source: &str| {
        let error = source.parse::<DataSource>().unwrap().train(&LoadOptions::default()).unwrap_err();
        error.to_string()
    };
    assert_eq!(refused(&source), refused(&format!("{source},memory=500B")));
}

#[test]
fn broken_images_are_left_out_of_what_is_streamed() {
    let folder = tempdir().unwrap();
    write_folder(folder.path(), 20);
    fs::write(folder.path().join("ant/004.img.png"), b"no").unwrap();
    let source = format!("folder:{},skip-broken=5%", folder.path().display());
    let options = LoadOptions { image_size: Some(8), ..LoadOptions::default() };
    let held = load(&source, &options);
    let streamed = load(&format!("{source},memory=500B"), &options);
    assert_eq!((held.images.len(), &streamed.images), (39, &held.images));
    assert_eq!(streamed.notes.iter().filter(|note| note.contains("left out as broken")).count(), 1);
}

#[test]
fn copies_that_cannot_be_kept_are_no_broken_images() {
    let full = DataError::Copies { folder: "/var/tmp".into(), source: std::io::ErrorKind::StorageFull.into() };
    assert_eq!((full.kind(), full.is_broken()), (FailureKind::Io, false));
    assert!(full.to_string().contains("/var/tmp") && full.hint().unwrap().contains("TMPDIR"), "{full}");
}

#[test]
fn a_file_that_changes_meanwhile_is_named() {
    let folder = tempdir().unwrap();
    write_folder(folder.path(), 6);
    let options = LoadOptions { image_size: Some(8), ..LoadOptions::default() };
    let images = load(&format!("folder:{},memory=1B", folder.path().display()), &options).images;
    let loader = |images: &ImageSet| {
        let preprocessing = Preprocessing::cifar10();
        let preprocessing = Preprocessing { native_size: 8, ..preprocessing };
        TrainLoader::new(Arc::new(images.clone()), &preprocessing, Augmentation::none(), 12, 1).unwrap()
    };
    assert!(loader(&images).batch(0, 0).is_ok());
    // Another whole image, then none.
    let file = folder.path().join("bee/001.img.png");
    fs::write(&file, png(&numbered(7, 8))).unwrap();
    let error = loader(&images).batch(0, 0).unwrap_err();
    assert!(error.to_string().contains("bee/001.img.png: the file is another one"), "{error}");
    assert_eq!(error.kind(), FailureKind::Content);
    fs::remove_file(&file).unwrap();
    let mut batches = loader(&images).batches_from(Default::default());
    let error = batches.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("bee/001.img.png"), "{error}");
    assert!(batches.next().is_none());
}
