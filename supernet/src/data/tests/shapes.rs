//! One set of images in all the shapes that people have them in: the same pixels and labels come of each.

use std::fs;
use std::path::Path;

use storage::failure::{Failure, FailureKind};
use tempfile::{TempDir, tempdir};

use crate::data::test_images::{HUB, numbered, png, write_parquet, write_parquet_words};
use crate::data::{DataError, DataSource, ImageSet, LoadOptions, Loaded};

const CLASSES: [&str; 3] = ["ant", "bee, big", "cat"];

/// Class folders of four training and two test images each, side by side with nothing else.
fn folders() -> TempDir {
    let folder = tempdir().unwrap();
    for (class, name) in CLASSES.iter().enumerate() {
        for (part, numbers) in [("train", 0..4), ("val", 4..6)] {
            let within = folder.path().join(part).join(name);
            fs::create_dir_all(&within).unwrap();
            for number in numbers {
                fs::write(within.join(format!("{number}.png")), png(&numbered(10 * class + number, 8))).unwrap();
            }
        }
    }
    folder
}

fn both(source: &str) -> [ImageSet; 2] {
    let source: DataSource = source.parse().unwrap();
    assert!(source.has_test_part().unwrap(), "{source}");
    let train = source.train(&LoadOptions::default()).unwrap().images;
    let options = LoadOptions { class_names: Some(train.class_names().to_vec()), ..LoadOptions::default() };
    [train, source.test(&options).unwrap().images]
}

/// Rows of class folders: path, class, part.
fn rows() -> Vec<[String; 3]> {
    let rows = [("train", 0..4), ("val", 4..6)].into_iter().flat_map(|(part, numbers)| {
        CLASSES.iter().flat_map(move |class| {
            let row = move |number| [format!("{part}/{class}/{number}.png"), (*class).to_owned(), part.to_owned()];
            numbers.clone().map(row).collect::<Vec<_>>()
        })
    });
    rows.collect()
}

fn write_csv(path: &Path, header: &str, rows: &[[String; 3]]) {
    let cells = |row: &[String; 3]| row.iter().map(|cell| format!("\"{cell}\"")).collect::<Vec<_>>().join(",");
    let lines: Vec<String> = rows.iter().map(cells).collect();
    fs::write(path, format!("{header}\n{}\n", lines.join("\n"))).unwrap();
}

#[test]
fn folders_tables_and_parquet_files_of_the_same_images_are_the_same_set() {
    let folder = folders();
    let path = folder.path();
    let expected = both(&format!("folder:{}", path.display()));
    assert_eq!((expected[0].len(), expected[1].histogram()), (12, vec![2, 2, 2]));

    write_csv(&path.join("list.csv"), "file,label,split", &rows());
    assert_eq!(both(&format!("csv:{}", path.join("list.csv").display())), expected);
    write_csv(&path.join("mine.csv"), "id,what,use", &rows());
    let mine = path.join("mine.csv");
    assert_eq!(both(&format!("csv:{},image=id,label=what,split=use", mine.display())), expected);
    let error = format!("csv:{}", mine.display()).parse::<DataSource>().unwrap().has_test_part().unwrap_err();
    assert!(error.to_string().contains("no column for the image; the columns are id, what, use"), "{error}");

    let all = rows();
    let lines = all
        .iter()
        .map(|[file, class, part]| serde_json::json!({"file_name": file, "class": class, "split": part}).to_string());
    fs::write(path.join("list.jsonl"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(both(&format!("jsonl:{}", path.join("list.jsonl").display())), expected);

    // Files of a hub, below `data`, with names in their metadata, or with classes in words.
    let hub = tempdir().unwrap();
    fs::create_dir(hub.path().join("data")).unwrap();
    let metadata = serde_json::json!({"info": {"features": {"label": {"names": CLASSES, "_type": "ClassLabel"}}}});
    let of = |part: &str| -> Vec<(Option<Vec<u8>>, i64)> {
        let own = rows().into_iter().filter(|[_, _, of]| of == part);
        let label = |class: &str| CLASSES.iter().position(|known| *known == class).unwrap() as i64;
        own.map(|[file, class, _]| (Some(fs::read(path.join(file)).unwrap()), label(&class))).collect()
    };
    for (file, part) in [("train-00000-of-00001.parquet", "train"), ("validation-00000-of-00001.parquet", "val")] {
        let file = hub.path().join("data").join(file);
        write_parquet(&file, HUB, &of(part), 5, Some(&metadata.to_string()));
    }
    assert_eq!(both(&format!("parquet:{}", hub.path().display())), expected);
    for (file, part) in [("train-00000-of-00001.parquet", "train"), ("validation-00000-of-00001.parquet", "val")] {
        write_parquet_words(&hub.path().join("data").join(file), ["scan", "breed"], &of(part), &CLASSES);
    }
    assert_eq!(both(&format!("parquet:{},image=scan,label=breed", hub.path().display())), expected);
    let error = both_error(&format!("parquet:{}", hub.path().display()));
    assert!(error.contains("no column `image`") && error.contains("scan, breed"), "{error}");
}

fn both_error(source: &str) -> String {
    source.parse::<DataSource>().unwrap().train(&LoadOptions::default()).unwrap_err().to_string()
}

#[test]
fn labels_that_are_all_numbers_are_places_and_others_are_names() {
    let folder = folders();
    let path = folder.path().join("list.csv");
    let load = |text: &str| {
        fs::write(&path, text).unwrap();
        let source: DataSource = format!("csv:{}", path.display()).parse().unwrap();
        source.train(&LoadOptions::default()).map(|loaded| loaded.images)
    };
    let numbers = load("path,label\ntrain/ant/0.png,2\ntrain/ant/1.png,0\n").unwrap();
    assert_eq!((numbers.labels(), numbers.classes(), &*numbers.class_names()[2]), ([2, 0].as_slice(), 3, "2"));
    let names = load("path,label\ntrain/ant/0.png,2\ntrain/ant/1.png,x\n").unwrap();
    assert_eq!((names.labels(), names.class_names()), ([0, 1].as_slice(), ["2", "x"].map(String::from).as_slice()));
    let error = load("path,label\ntrain/ant/0.png,-1\ntrain/ant/1.png,0\n").unwrap_err().to_string();
    assert!(error.contains("list.csv:2") && error.contains("label -1 is not 0 to"), "{error}");
}

#[test]
fn bad_rows_are_listed_with_their_lines_and_may_be_skipped() {
    let folder = folders();
    let path = folder.path().join("list.csv");
    let mut lines = vec!["path,label,split".to_owned()];
    lines.extend(rows().iter().map(|[file, class, part]| format!("\"{file}\",\"{class}\",{part}")));
    lines[3] = "train/ant/none.png,ant,train".into();
    lines[5] = "train/ant/0.png".into();
    lines[7] = "train/ant/0.png,,train".into();
    lines[9] = "train/ant/0.png,ant,holdout".into();
    fs::write(folder.path().join("train/cat/3.png"), b"\x89PNG cut").unwrap();
    fs::write(&path, lines.join("\r\n")).unwrap();
    let source: DataSource = format!("csv:{}", path.display()).parse().unwrap();
    let error = source.train(&LoadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Content);
    let places: Vec<String> = error.places().iter().map(|at| format!("{}: {}", at.place, at.message)).collect();
    let expected = [
        (":4 (", "none.png): the file does not exist"),
        (":6: ", "1 cells, but the header has 3"),
        (":8: ", "no label in it"),
        (":10: ", "`holdout` is no part, which are train, test and validation"),
        (":13 (", "3.png): not a whole PNG"),
    ];
    assert_eq!(places.len(), expected.len(), "{places:?}");
    for ((line, words), place) in expected.iter().zip(&places) {
        assert!(place.contains(line) && place.contains(words), "{place} lacks {line} or {words}");
    }
    let Loaded { images, .. } = source.skipping("50%".parse().unwrap()).train(&LoadOptions::default()).unwrap();
    assert_eq!(images.histogram(), [3, 2, 2]);
}

#[test]
fn a_table_knows_one_test_part_and_classes_of_its_training_part() {
    let folder = folders();
    let path = folder.path().join("list.csv");
    let source: DataSource = format!("csv:{}", path.display()).parse().unwrap();
    let mut rows = rows();
    rows[0][2] = "test".into();
    write_csv(&path, "path,label,split", &rows);
    let Loaded { images, notes } = source.test(&LoadOptions::default()).unwrap();
    assert_eq!(images.len(), 1);
    assert!(notes.iter().any(|note| note == "6 rows of `val` are not used"), "{notes:?}");
    rows[0] = [rows[0][0].clone(), "dog".into(), "test".into()];
    write_csv(&path, "path,label,split", &rows);
    assert!(matches!(source.test(&LoadOptions::default()), Err(DataError::NotTrained { class, .. }) if class == "dog"));
    let all = |rows: &mut [[String; 3]], part: &str| rows.iter_mut().for_each(|row| row[2] = part.into());
    all(&mut rows, "train");
    write_csv(&path, "path,label,split", &rows);
    assert!(!source.has_test_part().unwrap());
    all(&mut rows, "test");
    write_csv(&path, "path,label,split", &rows);
    assert!(matches!(source.train(&LoadOptions::default()), Err(DataError::NoPart { part: "training", .. })));
}

#[test]
fn cifar_100_is_known_by_its_files_and_takes_the_fine_label() {
    let folder = tempdir().unwrap();
    let within = folder.path().join("cifar-100-binary");
    fs::create_dir(&within).unwrap();
    let records = |count: usize| -> Vec<u8> {
        let record = |row: usize| {
            let image = numbered(row, 32);
            let planes = (0..3).flat_map(move |channel| image.pixels().map(|pixel| pixel[channel]).collect::<Vec<_>>());
            [7, (row % 100) as u8].into_iter().chain(planes)
        };
        (0..count).flat_map(record).collect()
    };
    fs::write(within.join("train.bin"), records(200)).unwrap();
    fs::write(within.join("test.bin"), records(100)).unwrap();
    let names: Vec<String> = (0..100).map(|class| format!("class {class:02}")).collect();
    fs::write(within.join("fine_label_names.txt"), names.join("\n")).unwrap();
    for path in [folder.path(), &within] {
        let [train, test] = both(&format!("cifar:{}", path.display()));
        assert_eq!((train.histogram(), test.len(), train.class_names()), (vec![2; 100], 100, names.as_slice()));
        assert_eq!(*test.image(42).unwrap(), **numbered(42, 32).as_raw());
    }
    fs::remove_file(within.join("fine_label_names.txt")).unwrap();
    assert_eq!(both(&format!("cifar:{}", within.display()))[0].class_names()[99], "99");
    let mut wrong = records(3);
    wrong[2 * 3074 + 1] = 100;
    fs::write(within.join("train.bin"), wrong).unwrap();
    let error = both_error(&format!("cifar:{}", within.display()));
    assert!(error.contains("train.bin, row 2: label 100 is not 0 to 99"), "{error}");
}

#[test]
fn null_images_and_labels_are_broken_rows() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("some.parquet");
    let mut rows: Vec<(Option<Vec<u8>>, i64)> =
        (0..2000).map(|row| (Some(png(&numbered(row, 8))), row as i64 % 3)).collect();
    for null in [5, 1023, 1024, 1999] {
        rows[null].0 = None;
    }
    write_parquet(&path, HUB, &rows, 1500, None);
    let source: DataSource = format!("parquet:{}", path.display()).parse().unwrap();
    let error = source.train(&LoadOptions::default()).unwrap_err();
    let places: Vec<String> = error.places().iter().map(|at| at.place.clone()).collect();
    assert_eq!(places.len(), 4, "{error}");
    for (place, row) in places.iter().zip([5, 1023, 1024, 1999]) {
        assert!(place.ends_with(&format!("row {row}")), "{place}");
    }
    let images = source.skipping("1%".parse().unwrap()).train(&LoadOptions::default()).unwrap().images;
    assert_eq!((images.len(), images.labels()[5]), (1996, 6 % 3));
    assert_eq!(*images.image(5).unwrap(), **numbered(6, 8).as_raw());
}
