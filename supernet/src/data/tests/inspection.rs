//! What `ofa data check` finds in folders that the tests write.

use std::fs;
use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::data::test_images::{jpeg, numbered, png};
use crate::data::{DataSource, Inspection};

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Two classes in two parts, with copies, sizes, modes and broken files.
fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    for number in 0..30 {
        write(folder.path(), &format!("train/ant/{number:02}.png"), &png(&numbered(number, 8)));
    }
    let odd =
        |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/tests/odd").join(name)).unwrap();
    for name in ["exif-6.jpg", "grey-16.png", "rgba.png", "cmyk.jpg", "page.jpg"] {
        write(folder.path(), &format!("train/bee/{name}"), &odd(name));
    }
    write(folder.path(), "train/bee/copy.png", &png(&numbered(3, 8)));
    write(folder.path(), "test/ant/0.png", &png(&numbered(5, 8)));
    write(folder.path(), "test/ant/1.png", &png(&numbered(900, 8)));
    write(folder.path(), "test/bee/0.png", &png(&numbered(900, 8)));
    write(folder.path(), "test/bee/1.jpg", &jpeg(&numbered(5, 8)));
    folder
}

fn inspect(folder: &Path) -> Inspection {
    format!("folder:{}", folder.display()).parse::<DataSource>().unwrap().inspect(1).unwrap()
}

#[test]
fn everything_is_counted_and_named() {
    let folder = folder();
    let found = inspect(folder.path());
    let [train, test] = found.parts.as_slice() else { panic!("two parts") };
    assert_eq!((train.part, train.images, test.part, test.images), ("training", 35, "test", 4));
    let counts: Vec<(&str, usize)> = train.classes.iter().map(|class| (&*class.class, class.images)).collect();
    assert_eq!(counts, [("ant", 30), ("bee", 5)]);
    assert_eq!((train.sizes, train.square), (Some([[8, 8], [8, 8], [24, 16]]), 31));
    assert_eq!(train.modes, [("RGB", 32), ("CMYK", 1), ("RGB with alpha", 1), ("grey", 1)]);
    assert_eq!((train.sixteen_bit, train.turned_by_exif), (1, 1));
    assert!(train.broken.len() == 1 && train.broken[0].contains("page.jpg: no image"), "{:?}", train.broken);
    let duplicates = &found.duplicates;
    let counts = [duplicates.within_training, duplicates.within_test, duplicates.test_in_training];
    assert_eq!((counts, duplicates.of_another_class), ([1, 1, 1], 2));
    let [copy, original] = &duplicates.examples[0];
    assert!(copy.ends_with("train/bee/copy.png") && original.ends_with("train/ant/03.png"), "{copy} {original}");
    assert_eq!(found.counts(), (40, 1));
    let failure = found.failure().unwrap().to_string();
    assert_eq!(failure, "1 of 36 training images cannot be used");
    let skipping = format!("folder:{},skip-broken=3%", folder.path().display());
    assert!(skipping.parse::<DataSource>().unwrap().inspect(1).unwrap().failure().is_none());
}

#[test]
fn a_sheet_has_a_row_for_each_class_and_is_drawn_by_the_seed() {
    let folder = folder();
    let sheet = |name: &str, seed: u64| {
        let path = folder.path().join(name);
        let source: DataSource = format!("folder:{}", folder.path().display()).parse().unwrap();
        let rows = source.inspect(seed).unwrap().write_sheet(&path, seed).unwrap();
        assert_eq!(rows, ["ant", "bee"]);
        image::open(path).unwrap().into_rgb8()
    };
    let first = sheet("one.png", 1);
    assert_eq!(first.dimensions(), (10 * 68 + 4, 2 * 68 + 4));
    assert_eq!(first, sheet("again.png", 1));
    assert_ne!(first, sheet("other.png", 2));
    // Ten ants, all different; five bees, and white after them.
    let red = |column: u32, row: u32| first.get_pixel(column * 68 + 36, row * 68 + 36)[0];
    let ants: std::collections::BTreeSet<u8> = (0..10).map(|column| red(column, 0)).collect();
    assert!(ants.len() == 10 && ants.iter().all(|number| *number < 30), "{ants:?}");
    assert_eq!((5..10).map(|column| red(column, 1)).collect::<Vec<_>>(), [255; 5]);
}

#[test]
fn a_source_without_an_image_is_refused() {
    let folder = tempdir().unwrap();
    for class in ["ant", "bee"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        fs::create_dir_all(folder.path().join("parts/train").join(class)).unwrap();
    }
    write(folder.path(), "empty/train-images-idx3-ubyte", &[2051_u32, 0, 28, 28].map(u32::to_be_bytes).concat());
    write(folder.path(), "empty/train-labels-idx1-ubyte", &[2049_u32, 0].map(u32::to_be_bytes).concat());
    let path = folder.path().display();
    let reasons = [
        (format!("folder:{path}/parts"), "no image in its folders ant, bee"),
        (format!("idx:{path}/empty"), "no training images in it"),
    ];
    for (source, reason) in reasons {
        let error = source.parse::<DataSource>().unwrap().inspect(1).unwrap_err().to_string();
        assert!(error.contains(reason), "{source}: {error}");
    }
    fs::remove_dir_all(folder.path().join("parts")).unwrap();
    fs::remove_dir_all(folder.path().join("empty")).unwrap();
    let error = format!("folder:{path}").parse::<DataSource>().unwrap().inspect(1).unwrap_err().to_string();
    assert!(error.contains("no image in its folders ant, bee"), "{error}");
}
