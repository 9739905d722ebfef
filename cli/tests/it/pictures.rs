//! Small images, made up.

use std::fs;
use std::path::Path;

/// A PNG of `side` pixels, stored without compression: stripes of its class, with noise.
pub(crate) fn png(side: u32, class: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 26) as u8
    };
    let mut rows = Vec::new();
    for y in 0..side {
        rows.push(0);
        for x in 0..side {
            let is_light = [x, y, x + y, 2 * x][class % 4] / 4 % 2 == 0;
            rows.extend([120 * u8::from(is_light), 60, 20 * class as u8].map(|value| value + noise()));
        }
    }
    let (a, b) = rows.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    let length = rows.len() as u16;
    let stored =
        [&[0x78, 1, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), &rows, &(b << 16 | a).to_be_bytes()];
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", stored.concat()), (b"IEND", Vec::new())] {
        file.extend((data.len() as u32).to_be_bytes());
        let checked = [&kind[..], &data].concat();
        let crc = checked.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        });
        file.extend(checked);
        file.extend((!crc).to_be_bytes());
    }
    file
}

/// The IDX files of one part: `images` of noise, `side` pixels square, of `classes` classes in turn.
pub(crate) fn idx_files(folder: &Path, part: &str, side: usize, images: usize, classes: usize) {
    fs::create_dir_all(folder).unwrap();
    let header = |dimensions: &[usize]| {
        let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
        bytes.extend(dimensions.iter().flat_map(|size| (*size as u32).to_be_bytes()));
        bytes
    };
    let mut pixels = header(&[images, side, side]);
    let mut state = images as u32;
    pixels.extend((0..images * side * side).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    let mut labels = header(&[images]);
    labels.extend((0..images).map(|image| (image % classes) as u8));
    fs::write(folder.join(format!("{part}-images-idx3-ubyte")), pixels).unwrap();
    fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
}
