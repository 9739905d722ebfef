//! Odd image files, written by `scripts/odd-images`, each with what comes of it.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use tempfile::tempdir;

use crate::data::decode::{Mode, decode};
use crate::data::test_images::{numbered, png};
use crate::data::{DataSource, ExifOrientation, Form, LoadOptions, Loaded};

enum Outcome {
    /// Four quarters of these colours, as the file has them: its mode, whether in 16 bits, whether turned.
    Seen([[u8; 3]; 4], Mode, bool, bool),
    /// An error with these words.
    Refused(&'static str),
}

use Outcome::{Refused, Seen};

const COLOURS: [[u8; 3]; 4] = [[200, 40, 40], [40, 180, 60], [40, 50, 200], [220, 210, 70]];
/// Luma of ITU-R BT.601.
const GREY: [[u8; 3]; 4] = [[88; 3], [124; 3], [64; 3], [197; 3]];
const BLACK_AND_WHITE: [[u8; 3]; 4] = [[0; 3], [255; 3], [0; 3], [255; 3]];

const ODD: [(&str, Outcome); 29] = [
    ("rgb.jpg", Seen(COLOURS, Mode::Rgb, false, false)),
    ("progressive.jpg", Seen(COLOURS, Mode::Rgb, false, false)),
    ("grey.jpg", Seen(GREY, Mode::Grey, false, false)),
    ("cmyk.jpg", Seen(COLOURS, Mode::Cmyk, false, false)),
    ("ycck.jpg", Seen(COLOURS, Mode::Cmyk, false, false)),
    ("exif-3.jpg", Seen(COLOURS, Mode::Rgb, false, true)),
    ("exif-5.jpg", Seen(COLOURS, Mode::Rgb, false, true)),
    ("exif-6.jpg", Seen(COLOURS, Mode::Rgb, false, true)),
    ("rgb.png", Seen(COLOURS, Mode::Rgb, false, false)),
    ("rgba.png", Seen(COLOURS, Mode::Rgba, false, false)),
    ("grey-alpha.png", Seen(GREY, Mode::GreyAlpha, false, false)),
    ("palette.png", Seen(COLOURS, Mode::Palette, false, false)),
    ("palette-transparent.png", Seen(COLOURS, Mode::Palette, false, false)),
    ("one-bit.png", Seen(BLACK_AND_WHITE, Mode::Grey, false, false)),
    ("grey-16.png", Seen(GREY, Mode::Grey, true, false)),
    ("rgb-16.png", Seen(COLOURS, Mode::Rgb, true, false)),
    ("exif-6.png", Seen(COLOURS, Mode::Rgb, false, true)),
    ("lossy.webp", Seen(COLOURS, Mode::Rgb, false, false)),
    ("alpha.webp", Seen(COLOURS, Mode::Rgba, false, false)),
    ("image.bmp", Seen(COLOURS, Mode::Rgb, false, false)),
    ("animated.gif", Seen(COLOURS, Mode::Palette, false, false)),
    ("lzw.tif", Seen(COLOURS, Mode::Rgb, false, false)),
    ("jpeg-called.png", Seen(COLOURS, Mode::Rgb, false, false)),
    ("image.avif", Refused("an AVIF image, which is not read; JPEG, PNG, WebP, GIF, BMP and TIFF are")),
    ("image.jp2", Refused("a JPEG 2000 image, which is not read")),
    ("truncated.jpg", Refused("not a whole JPEG")),
    ("truncated.png", Refused("not a whole PNG")),
    ("page.jpg", Refused("no image (40 bytes)")),
    ("empty.jpg", Refused("no image (0 bytes)")),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/tests/odd")
}

/// Colours in the middles of the quarters.
fn quarters(image: &RgbImage) -> [[u8; 3]; 4] {
    let (width, height) = image.dimensions();
    [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| image.get_pixel(x * width / 4, y * height / 4).0)
}

fn are_near(seen: [[u8; 3]; 4], expected: [[u8; 3]; 4]) -> bool {
    seen.as_flattened().iter().zip(expected.as_flattened()).all(|(a, b)| a.abs_diff(*b) <= 4)
}

#[test]
fn every_odd_file_comes_to_what_is_said_of_it() {
    let files = fs::read_dir(folder()).unwrap().count();
    assert_eq!(files, ODD.len(), "a file that nothing is said of");
    for (name, outcome) in &ODD {
        let bytes = fs::read(folder().join(name)).unwrap();
        match (decode(&bytes, ExifOrientation::Applied), outcome) {
            (Ok((image, facts)), Seen(colours, mode, is_deep, is_turned)) => {
                assert_eq!(image.dimensions(), (24, 16), "{name}");
                assert!(are_near(quarters(&image), *colours), "{name}: {:?}", quarters(&image));
                let seen = (facts.sides, facts.mode, facts.is_deep, facts.is_turned);
                assert_eq!(seen, ([24, 16], *mode, *is_deep, *is_turned), "{name}");
            }
            (Err(error), Refused(words)) => assert!(error.contains(words), "{name}: {error}"),
            (Ok(_), Refused(_)) => panic!("{name} is read"),
            (Err(error), Seen(..)) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn a_file_that_claims_more_pixels_than_there_is_memory_for_is_broken() {
    let mut bytes = fs::read(folder().join("rgb.png")).unwrap();
    let side = 60_000_u32.to_be_bytes();
    bytes[16..20].copy_from_slice(&side);
    bytes[20..24].copy_from_slice(&side);
    let sum = bytes[12..29].iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
    });
    bytes[29..33].copy_from_slice(&(!sum).to_be_bytes());
    let error = decode(&bytes, ExifOrientation::Applied).unwrap_err();
    assert_eq!(error, "a PNG of 60000x60000 pixels; up to 250 million are read");
}

#[test]
fn an_orientation_is_ignored_where_weights_were_trained_so() {
    let bytes = fs::read(folder().join("exif-6.jpg")).unwrap();
    let (stored, facts) = decode(&bytes, ExifOrientation::Ignored).unwrap();
    assert_eq!((stored.dimensions(), facts.sides, facts.is_turned), ((16, 24), [16, 24], true));
    // As it lies before it is turned to the right.
    let [red, green, blue, yellow] = COLOURS;
    assert!(are_near(quarters(&stored), [green, yellow, red, blue]), "{:?}", quarters(&stored));
}

#[test]
fn a_set_with_one_percent_broken_is_refused_with_the_list_and_read_where_two_may_be() {
    let folder = tempdir().unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for number in 0..200 {
            let path = folder.path().join(class).join(format!("{number:03}.png"));
            fs::write(path, png(&numbered(number, 8))).unwrap();
        }
    }
    let broken = ["cat/007.png", "cat/150.png", "dog/000.png", "dog/199.png"];
    for name in broken {
        fs::write(folder.path().join(name), "<html>").unwrap();
    }
    let source = DataSource::from(Form::Folder(folder.path().to_path_buf()));
    let error = source.train(&LoadOptions::default()).unwrap_err();
    let listed: Vec<String> = storage::failure::Failure::places(&error)
        .into_iter()
        .map(|at| format!("{}: {}", at.place, at.message))
        .collect();
    assert_eq!(listed.len(), 4, "{listed:?}");
    assert!(
        broken.iter().zip(&listed).all(|(name, line)| line.contains(name) && line.contains("no image")),
        "{listed:?}"
    );
    assert!(error.to_string().starts_with("4 of 400 images cannot be used: "), "{error}");
    let hint = storage::failure::Failure::hint(&error).unwrap();
    assert!(hint.contains("‹skip-broken› 1%"), "{hint}");

    let few = source.clone().skipping("0.9%".parse().unwrap()).train(&LoadOptions::default()).unwrap_err().to_string();
    assert!(few.contains("(1.00 %, and 0.9% may be left out)"), "{few}");
    let Loaded { images, notes } = source.skipping("2%".parse().unwrap()).train(&LoadOptions::default()).unwrap();
    assert_eq!((images.histogram(), images.len()), (vec![198, 198], 396));
    assert!(notes.iter().any(|note| note.starts_with("4 of 400 images left out as broken (1.00 %)")), "{notes:?}");
    // The others keep their labels: each image says its number, and the dogs begin without their first.
    assert_eq!(*images.image(198).unwrap(), **numbered(1, 8).as_raw());
    assert_eq!((images.labels()[197], images.labels()[198]), (0, 1));
}
