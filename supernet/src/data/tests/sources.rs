use std::fs;
use std::io::Write;
use std::path::Path;

use storage::failure::{Failure, FailureKind};
use tempfile::{TempDir, tempdir};

use crate::data::test_images::{HUB, PLAIN, jpeg, numbered, png, write_parquet};
use crate::data::{DataError, DataSource, Division, Form, ImageSet, LoadOptions, Loaded, Synthetic};

fn rows(count: usize) -> Vec<(Option<Vec<u8>>, i64)> {
    (0..count).map(|row| (Some(png(&numbered(row, 8))), (row % 3) as i64)).collect()
}

fn check_rows(set: &ImageSet, count: usize) {
    assert_eq!((set.len(), set.size()), (count, 8));
    for row in 0..count {
        assert_eq!(*set.image(row).unwrap(), **numbered(row, 8).as_raw(), "row {row}");
        assert_eq!(set.labels()[row], (row % 3) as i64);
    }
}

fn division(held_out: usize, seed: u64) -> Division {
    Division { held_out: Some(held_out), seed, splits_test: false }
}

fn load(source: &str) -> Result<ImageSet, DataError> {
    Ok(source.parse::<DataSource>()?.test(&LoadOptions::default())?.images)
}

/// The load fails with this kind, and the message names these words.
fn refused(source: &str, kind: FailureKind, words: &[&str]) {
    let error = load(source).unwrap_err();
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn sources_print_as_they_are_written() {
    for text in ["parquet:/a/b.parquet", "cifar:c", "folder:d e", "idx:C:f", "synthetic:8,size=16,classes=4,seed=3"] {
        assert_eq!(text.parse::<DataSource>().unwrap().to_string(), text);
    }
    assert_eq!("synthetic".parse::<DataSource>().unwrap(), DataSource::from(Form::Synthetic(Synthetic::default())));
}

#[test]
fn unknown_sources_are_usage_errors_that_name_the_forms() {
    for text in ["", "cifar10", "/data/images", "parquet:", "synthetic:many", "synthetic:0", "synthetic:9,colour=1"] {
        let error = text.parse::<DataSource>().unwrap_err();
        assert_eq!(error.kind(), FailureKind::Usage, "{text}");
        assert!(error.to_string().contains(text));
        for form in
            ["csv:FILE", "jsonl:FILE", "parquet:PATH", "cifar:FOLDER", "folder:FOLDER", "idx:FOLDER", "synthetic"]
        {
            assert!(error.hint().unwrap().contains(form));
        }
    }
}

#[test]
fn a_missing_path_is_named() {
    for kind in ["parquet", "cifar", "folder", "idx", "csv", "jsonl"] {
        let text = &format!("{kind}:/no/such");
        refused(text, FailureKind::Usage, &["/no/such"]);
    }
}

#[test]
fn parquet_rows_come_out_in_order_across_groups_and_files() {
    let folder = tempdir().unwrap();
    let all = rows(30);
    write_parquet(&folder.path().join("train-0.parquet"), HUB, &all[..20], 7, None);
    write_parquet(&folder.path().join("train-1.parquet"), HUB, &all[20..], 100, None);
    write_parquet(&folder.path().join("test.parquet"), PLAIN, &all[..9], 4, None);
    let source = DataSource::from(Form::Parquet(folder.path().to_path_buf()));
    check_rows(&source.train(&LoadOptions::default()).unwrap().images, 30);
    check_rows(&source.test(&LoadOptions::default()).unwrap().images, 9);
    let divided = source.divided(&LoadOptions::default(), &division(6, 1)).unwrap().0;
    assert_eq!((divided.train.len(), divided.held_out.len(), source.has_test_part().unwrap()), (24, 6, true));
    assert_eq!(divided.held_out.histogram(), [2, 2, 2]);
    let single = DataSource::from(Form::Parquet(folder.path().join("train-0.parquet")));
    assert!(!single.has_test_part().unwrap());
}

#[test]
fn class_names_come_from_the_options_or_the_metadata_or_are_numbers() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("some.parquet");
    let source = DataSource::from(Form::Parquet(path.clone()));
    write_parquet(&path, HUB, &rows(6), 6, None);
    let plain = source.test(&LoadOptions::default()).unwrap().images;
    assert_eq!(plain.class_names(), ["0", "1", "2"]);
    assert_eq!(source.test(&LoadOptions { classes: Some(5), ..LoadOptions::default() }).unwrap().images.classes(), 5);
    let named = |names: &[&str]| LoadOptions {
        class_names: Some(names.iter().map(|name| name.to_string()).collect()),
        ..LoadOptions::default()
    };
    assert_eq!(source.test(&named(&["x", "y", "z"])).unwrap().images.class_names()[2], "z");
    assert!(source.test(&named(&["x", "y"])).unwrap_err().to_string().contains("label 2"));

    let metadata = r#"{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["a", "b", "c", "d"], "_type": "ClassLabel"}}}}"#;
    write_parquet(&path, HUB, &rows(6), 6, Some(metadata));
    assert_eq!(source.test(&LoadOptions::default()).unwrap().images.class_names(), ["a", "b", "c", "d"]);
    assert_eq!(source.test(&named(&["d", "c", "b", "a"])).unwrap().images.labels(), [3, 2, 1, 3, 2, 1]);
    assert!(matches!(source.test(&named(&["x"])), Err(DataError::UnknownClasses { .. })));
}

/// The metadata of a file whose classes have these names.
fn hub_metadata(names: &str) -> String {
    format!(r#"{{"info": {{"features": {{"label": {{"names": {names}, "_type": "ClassLabel"}}}}}}}}"#)
}

#[test]
fn files_that_list_the_classes_in_another_order_are_mapped_by_name() {
    let folder = tempdir().unwrap();
    let write = |file: &str, names: &str| {
        write_parquet(&folder.path().join(file), HUB, &rows(3), 3, Some(&hub_metadata(names)));
    };
    write("train-0.parquet", r#"["a", "b", "c"]"#);
    write("train-1.parquet", r#"["c", "a", "b"]"#);
    write("test.parquet", r#"["b", "c", "a"]"#);
    let source = DataSource::from(Form::Parquet(folder.path().to_path_buf()));
    let train = source.train(&LoadOptions::default()).unwrap().images;
    assert_eq!(
        (train.class_names(), train.labels()),
        (["a", "b", "c"].map(String::from).as_slice(), [0, 1, 2, 2, 0, 1].as_slice())
    );
    let options = LoadOptions { class_names: Some(train.class_names().to_vec()), ..LoadOptions::default() };
    assert_eq!(source.test(&options).unwrap().images.labels(), [1, 2, 0]);
    write("train-1.parquet", r#"["c", "a", "d"]"#);
    let error = source.train(&LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("train-1.parquet") && error.contains("`d`") && error.contains("a, b, c"), "{error}");
}

#[test]
fn bad_parquet_rows_are_named() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("bad.parquet");
    let source = format!("parquet:{}", path.display());
    let with = |row: usize, image: Option<Vec<u8>>, label: i64| {
        let mut rows = rows(20);
        rows[row] = (image, label);
        write_parquet(&path, HUB, &rows, 8, None);
    };
    with(11, None, 0);
    refused(&source, FailureKind::Content, &["bad.parquet, row 11", "null"]);
    with(0, None, 0);
    refused(&source, FailureKind::Content, &["bad.parquet, row 0", "null"]);
    with(13, Some(jpeg(&numbered(1, 8))[..200].to_vec()), 0);
    refused(&source, FailureKind::Content, &["bad.parquet, row 13", "JPEG"]);
    with(14, Some(b"GIF89a".to_vec()), 0);
    refused(&source, FailureKind::Content, &["row 14", "not a whole GIF"]);
    with(15, Some(png(&numbered(1, 9))), 0);
    refused(&source, FailureKind::Content, &["row 15", "9×9"]);
    with(16, Some(png(&numbered(1, 8))), -1);
    refused(&source, FailureKind::Content, &["row 16", "-1"]);
    write_parquet(&path, "message schema { required binary picture; required int64 label; }", &rows(3), 3, None);
    refused(&source, FailureKind::Content, &["bad.parquet", "no column `image`", "picture, label"]);
    write_parquet(&path, PLAIN, &[], 3, None);
    refused(&source, FailureKind::Content, &["bad.parquet", "no images"]);
}

#[test]
fn every_truncated_parquet_file_is_refused_and_no_flipped_bit_panics() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("cut.parquet");
    write_parquet(&path, HUB, &rows(5), 3, None);
    let whole = fs::read(&path).unwrap();
    let source = format!("parquet:{}", path.display());
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).unwrap();
        refused(&source, FailureKind::Content, &["cut.parquet"]);
    }
    for bit in (0..whole.len() * 8).step_by(29) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        if let Err(error) = load(&source) {
            assert_eq!(error.kind(), FailureKind::Content, "bit {bit}: {error}");
        }
    }
}

/// Six files of 20 records each, in the official layout.
fn write_cifar(folder: &Path) {
    for (file, name) in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
        .iter()
        .enumerate()
    {
        let mut bytes = Vec::new();
        for row in 0..20 {
            let image = numbered(file * 20 + row, 32);
            bytes.push((row % 10) as u8);
            for channel in 0..3 {
                bytes.extend(image.pixels().map(|pixel| pixel[channel]));
            }
        }
        fs::write(folder.join(format!("{name}.bin")), bytes).unwrap();
    }
}

#[test]
fn cifar_files_round_trip() {
    let folder = tempdir().unwrap();
    let child = folder.path().join("cifar-10-batches-bin");
    fs::create_dir(&child).unwrap();
    write_cifar(&child);
    for path in [folder.path(), &child] {
        let source = DataSource::from(Form::Cifar(path.to_path_buf()));
        let divided = source.divided(&LoadOptions::default(), &division(10, 0)).unwrap().0;
        assert_eq!((divided.train.len(), divided.held_out.len()), (90, 10));
        assert_eq!(divided.held_out.histogram(), [1; 10]);
        let test = source.test(&LoadOptions::default()).unwrap().images;
        assert_eq!(*test.image(7).unwrap(), **numbered(107, 32).as_raw());
        assert_eq!((test.class_names()[0].as_str(), test.class_names()[9].as_str()), ("airplane", "truck"));
    }
    let path = child.join("test_batch.bin");
    let mut bytes = fs::read(&path).unwrap();
    bytes[3 * 3073] = 10;
    fs::write(&path, &bytes).unwrap();
    let source = format!("cifar:{}", folder.path().display());
    refused(&source, FailureKind::Content, &["test_batch.bin, row 3", "label 10"]);
    fs::write(&path, &bytes[..2 * 3073 + 5]).unwrap();
    refused(&source, FailureKind::Content, &["test_batch.bin, row 2", "6151 bytes"]);
    fs::remove_file(child.join("data_batch_4.bin")).unwrap();
    let error = DataSource::from(Form::Cifar(child)).train(&LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("data_batch_4.bin"));
}

fn write_images(folder: &Path, classes: &[&str], count: usize) {
    for (label, class) in classes.iter().enumerate() {
        let folder = folder.join(class);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            fs::write(folder.join(format!("{number:03}.png")), png(&numbered(label * 100 + number, 8))).unwrap();
        }
        fs::write(folder.join("notes.txt"), "not an image").unwrap();
    }
}

#[test]
fn class_folders_are_read_with_and_without_parts() {
    let folder = tempdir().unwrap();
    write_images(folder.path(), &["cat", "ant"], 3);
    let alone = DataSource::from(Form::Folder(folder.path().to_path_buf()));
    let set = alone.train(&LoadOptions::default()).unwrap().images;
    assert_eq!(set.class_names(), ["ant", "cat"]);
    assert_eq!(set.labels(), [0, 0, 0, 1, 1, 1]);
    assert_eq!(*set.image(4).unwrap(), **numbered(1, 8).as_raw());
    assert_eq!(alone.test(&LoadOptions::default()).unwrap().images, set);

    let folder = tempdir().unwrap();
    write_images(&folder.path().join("train"), &["ant", "bee", "cat"], 4);
    let parts = DataSource::from(Form::Folder(folder.path().to_path_buf()));
    assert!(!parts.has_test_part().unwrap());
    assert_eq!(parts.test(&LoadOptions::default()).unwrap().images.len(), 12, "all that there is");
    write_images(&folder.path().join("val"), &["cat"], 2);
    let test = parts.test(&LoadOptions::default()).unwrap().images;
    assert_eq!((test.labels(), test.classes()), ([2, 2].as_slice(), 3));
    write_images(&folder.path().join("val"), &["dog"], 1);
    refused(&format!("folder:{}", folder.path().display()), FailureKind::Content, &["val/dog", "ant, bee, cat"]);
    fs::write(folder.path().join("train/bee/001.png"), b"\x89PNG cut").unwrap();
    let error = parts.train(&LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("train/bee/001.png"), "{error}");
}

#[test]
fn all_images_below_a_class_folder_are_read_and_what_is_left_out_is_said() {
    let folder = tempdir().unwrap();
    write_images(folder.path(), &["cat", "dog"], 2);
    fs::create_dir_all(folder.path().join("cat/more/still")).unwrap();
    for (path, number) in [("cat/more/still/a.png", 300), ("dog/without_extension", 301), ("dog/wrong.dat", 302)] {
        fs::write(folder.path().join(path), png(&numbered(number, 8))).unwrap();
    }
    for hidden in ["__MACOSX/cat", ".git/x", "aaa"] {
        fs::create_dir_all(folder.path().join(hidden)).unwrap();
    }
    for file in ["__MACOSX/cat/._1.png", ".DS_Store", "cat/._001.png", "list.csv"] {
        fs::write(folder.path().join(file), "text").unwrap();
    }
    let source = DataSource::from(Form::Folder(folder.path().to_path_buf()));
    let Loaded { images, notes } = source.train(&LoadOptions::default()).unwrap();
    assert_eq!((images.class_names(), images.histogram()), (["cat", "dog"].map(String::from).as_slice(), vec![3, 4]));
    let notes = notes.join("\n");
    for words in ["7 images of 2 classes", "5 files left out", "2 no images (.txt)", "2 hidden", "1 outside", "aaa"] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    fs::write(folder.path().join("dog/a.webp"), b"RIFF\x24\0\0\0WEBPVP8 ").unwrap();
    fs::write(folder.path().join("dog/b.jpg"), "<html>").unwrap();
    let error = source.train(&LoadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Content);
    for words in ["2 of 9 images", "dog/a.webp", "WebP", "dog/b.jpg"] {
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[test]
fn sides_are_those_of_the_files_and_bad_images_are_named() {
    let folder = tempdir().unwrap();
    write_images(folder.path(), &["cat", "dog"], 2);
    fs::write(folder.path().join("cat/large.png"), png(&numbered(9, 20))).unwrap();
    let source = DataSource::from(Form::Folder(folder.path().to_path_buf()));
    let mut sides = source.sides().unwrap();
    sides.sort_unstable();
    assert_eq!((sides.len(), sides[4], sides[0] < [20, 20]), (5, [20, 20], true));
    // What has no one size can be looked at, and read at one.
    assert!(source.train(&LoadOptions::default()).is_err());
    fs::write(folder.path().join("dog/b.jpg"), "<html>").unwrap();
    assert!(source.sides().unwrap_err().to_string().contains("dog/b.jpg"));
}

#[test]
fn parts_are_known_by_several_names_and_need_class_folders() {
    let read = |parts: &[(&str, &[&str])], flat: &[&str]| {
        let folder = tempdir().unwrap();
        for (part, classes) in parts {
            write_images(&folder.path().join(part), classes, 2);
        }
        for part in flat {
            fs::create_dir_all(folder.path().join(part)).unwrap();
            fs::write(folder.path().join(part).join("0.png"), png(&numbered(0, 8))).unwrap();
        }
        let source = DataSource::from(Form::Folder(folder.path().to_path_buf()));
        let train = source.train(&LoadOptions::default())?;
        Ok::<_, DataError>((train, source.has_test_part()?, source.test(&LoadOptions::default())))
    };
    let both: &[&str] = &["cat", "dog"];
    for (train, test) in [("train", "valid"), ("Train", "VAL"), ("training", "testing"), ("TRAINING", "Validation")] {
        let (all, has_test, tested) = read(&[(train, both), (test, &["dog"])], &[]).unwrap();
        assert_eq!(
            (all.images.len(), has_test, tested.unwrap().images.labels()),
            (4, true, [1, 1].as_slice()),
            "{test}"
        );
    }
    let (all, _, tested) = read(&[("train", both), ("val", both)], &["test"]).unwrap();
    assert!(all.notes.iter().any(|note| note.starts_with("test/ is not used")), "{:?}", all.notes);
    assert_eq!(tested.unwrap().images.len(), 4);
    let (_, has_test, tested) = read(&[("train", both)], &["val"]).unwrap();
    assert_eq!((has_test, tested.unwrap().images.len()), (false, 4));
    assert!(read(&[("test", both)], &[]).unwrap_err().to_string().contains("training"));
    let (all, ..) = read(&[("", &["boat"])], &["train"]).unwrap();
    assert_eq!(all.images.class_names(), ["boat", "train"]);
    assert!(read(&[], &["train", "test"]).unwrap_err().to_string().contains("no class folders"));
}

#[test]
fn images_are_resized_to_the_size_asked_for() {
    let folder = tempdir().unwrap();
    write_images(folder.path(), &["a", "b"], 2);
    fs::write(folder.path().join("a/wide.jpg"), jpeg(&image::RgbImage::new(30, 20))).unwrap();
    let source = DataSource::from(Form::Folder(folder.path().to_path_buf()));
    let error = source.train(&LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("a/wide.jpg") && error.hint().unwrap().contains("image_size"), "{error}");
    let set = source.train(&LoadOptions { image_size: Some(16), ..LoadOptions::default() }).unwrap().images;
    assert_eq!((set.len(), set.size()), (5, 16));
}

fn idx_file(folder: &TempDir, name: &str, dimensions: &[u32], data: &[u8]) {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    bytes.extend(dimensions.iter().flat_map(|side| side.to_be_bytes()));
    bytes.extend_from_slice(data);
    fs::write(folder.path().join(name), bytes).unwrap();
}

#[test]
fn idx_files_become_rgb() {
    let folder = tempdir().unwrap();
    let pixels: Vec<u8> = (0..2 * 4 * 4).collect();
    idx_file(&folder, "t10k-images.idx3-ubyte", &[2, 4, 4], &pixels);
    idx_file(&folder, "t10k-labels-idx1-ubyte", &[2], &[3, 1]);
    let source = format!("idx:{}", folder.path().display());
    let set = load(&source).unwrap();
    assert_eq!((set.len(), set.size(), set.classes(), set.labels()), (2, 4, 4, [3, 1].as_slice()));
    assert_eq!(set.image(1).unwrap()[..6], [16, 16, 16, 17, 17, 17]);
    idx_file(&folder, "t10k-labels-idx1-ubyte", &[3], &[3, 1, 0]);
    refused(&source, FailureKind::Content, &["t10k-labels-idx1-ubyte", "3 labels for 2 images"]);
    idx_file(&folder, "t10k-images.idx3-ubyte", &[2, 4, 4], &pixels[..31]);
    refused(&source, FailureKind::Content, &["t10k-images.idx3-ubyte", "31 bytes"]);
    idx_file(&folder, "t10k-images.idx3-ubyte", &[u32::MAX, u32::MAX, u32::MAX], &pixels);
    refused(&source, FailureKind::Content, &["t10k-images.idx3-ubyte"]);
}

#[test]
fn idx_files_may_be_packed() {
    let folder = tempdir().unwrap();
    let pixels: Vec<u8> = (0..2 * 4 * 4).collect();
    idx_file(&folder, "t10k-images-idx3-ubyte", &[2, 4, 4], &pixels);
    idx_file(&folder, "t10k-labels-idx1-ubyte", &[2], &[3, 1]);
    let source = format!("idx:{}", folder.path().display());
    let plain = load(&source).unwrap();
    for name in ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] {
        let path = folder.path().join(name);
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&fs::read(&path).unwrap()).unwrap();
        fs::write(folder.path().join(format!("{name}.gz")), packer.finish().unwrap()).unwrap();
        fs::remove_file(path).unwrap();
    }
    assert_eq!(load(&source).unwrap(), plain);
    let packed = folder.path().join("t10k-images-idx3-ubyte.gz");
    let bytes = fs::read(&packed).unwrap();
    fs::write(&packed, &bytes[..bytes.len() - 9]).unwrap();
    refused(&source, FailureKind::Content, &["t10k-images-idx3-ubyte.gz", "not a whole gzip file"]);
}

#[test]
fn synthetic_images_depend_on_the_seed_alone() {
    let make = |text: &str| text.parse::<DataSource>().unwrap().train(&LoadOptions::default()).unwrap().images;
    let set = make("synthetic:60,size=16,classes=4");
    assert_eq!((set.len(), set.size(), set.histogram()), (60, 16, vec![15; 4]));
    assert_eq!(set, make("synthetic:60,size=16,classes=4,seed=0"));
    assert_ne!(set, make("synthetic:60,size=16,classes=4,seed=1"));
    let test =
        "synthetic:60,size=16,classes=4".parse::<DataSource>().unwrap().test(&LoadOptions::default()).unwrap().images;
    assert_eq!(test.len(), 15);
    assert_ne!(set.image(0).unwrap(), test.image(0).unwrap());
}
