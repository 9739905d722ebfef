//! The IDX files of MNIST and its relatives: grey images, made RGB by repeating the channel.
//!
//! Big-endian header: magic 0x00000803 (bytes, three dimensions), count, height, width for images; 0x00000801, count
//! for labels (Y. LeCun, *The MNIST database of handwritten digits*). Files may be packed with gzip, as they are offered.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use image::RgbImage;

use super::collector::Collector;
use super::error::{DataError, Place, read_file};

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Largest file that is unpacked: forty times Fashion-MNIST, and small enough that one without end is refused.
const MAX_UNPACKED: u64 = 2 << 30;

/// Appends the images and labels of one part: `prefix` is `train` or `t10k`.
pub(super) fn read(folder: &Path, prefix: &str, images: &mut Collector) -> Result<(), DataError> {
    let image_path = find(folder, prefix, "images", 3);
    let label_path = find(folder, prefix, "labels", 1);
    let image_bytes = unpacked(&image_path)?;
    let label_bytes = unpacked(&label_path)?;
    let ([count, height, width], pixels) = parse::<3>(&image_bytes, &image_path)?;
    let ([label_count], values) = parse::<1>(&label_bytes, &label_path)?;
    if count != label_count {
        let what = format!("{label_count} labels for {count} images of {}", image_path.display());
        return Err(DataError::content(label_path.as_path(), what));
    }
    if count > 0 && height * width == 0 {
        return Err(DataError::content(image_path.as_path(), format!("images of {width}×{height}")));
    }
    for row in 0..count {
        let grey = &pixels[row * height * width..(row + 1) * height * width];
        let rgb = grey.iter().flat_map(|&value| [value; 3]).collect();
        let image = RgbImage::from_raw(width as u32, height as u32, rgb).expect("three bytes a pixel");
        images.push_raw(image, i64::from(values[row]), || Place::row(&image_path, row))?;
    }
    Ok(())
}

/// Whether the folder has images of this part.
pub(super) fn exists(folder: &Path, prefix: &str) -> bool {
    find(folder, prefix, "images", 3).exists()
}

/// Both spellings are in use: `train-images-idx3-ubyte` and `train-images.idx3-ubyte`, and each of them packed.
fn find(folder: &Path, prefix: &str, what: &str, dimensions: usize) -> PathBuf {
    let names = [format!("{prefix}-{what}-idx{dimensions}-ubyte"), format!("{prefix}-{what}.idx{dimensions}-ubyte")];
    let plain = names.iter().map(|name| folder.join(name));
    let packed = names.iter().map(|name| folder.join(format!("{name}.gz")));
    plain.chain(packed).find(|path| path.exists()).unwrap_or_else(|| folder.join(&names[0]))
}

/// What a file holds; one that begins as gzip is unpacked, whatever its name.
fn unpacked(path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = read_file(path)?;
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes.as_slice())
        .take(MAX_UNPACKED + 1)
        .read_to_end(&mut unpacked)
        .map_err(|_| DataError::content(path, "not a whole gzip file".to_owned()))?;
    if unpacked.len() as u64 > MAX_UNPACKED {
        return Err(DataError::content(path, format!("it unpacks to more than {} GiB", MAX_UNPACKED >> 30)));
    }
    Ok(unpacked)
}

/// The dimensions, and the bytes they multiply to.
fn parse<'a, const D: usize>(bytes: &'a [u8], path: &Path) -> Result<([usize; D], &'a [u8]), DataError> {
    let header = 4 + 4 * D;
    if bytes.len() < header || bytes[..4] != [0, 0, 8, D as u8] {
        return Err(DataError::content(path, format!("not an IDX file of bytes with {D} dimensions")));
    }
    let dimension = |index: usize| {
        let start = 4 + 4 * index;
        u32::from_be_bytes(bytes[start..start + 4].try_into().expect("four bytes")) as usize
    };
    let dimensions: [usize; D] = std::array::from_fn(dimension);
    let expected = dimensions.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
    let data = &bytes[header..];
    if expected != Some(data.len()) {
        let what = format!("{} bytes of data, but the header announces {dimensions:?}", data.len());
        return Err(DataError::content(path, what));
    }
    Ok((dimensions, data))
}
