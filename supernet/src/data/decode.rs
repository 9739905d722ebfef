//! From encoded bytes to RGB pixels of one square size, in parallel.

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageFormat, RgbImage};
use rayon::prelude::*;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::error::{DataError, Place};

/// Bad images that one error names.
const NAMED: usize = 10;

/// Decodes a JPEG or PNG; grey becomes RGB, transparency is dropped. A truncated image is an error, with its reason.
pub(super) fn decode(encoded: &[u8]) -> Result<RgbImage, String> {
    match image_format(encoded) {
        Some("JPEG") => decode_jpeg(encoded).or_else(|error| match without_stray_bytes(encoded) {
            Some(clean) => decode_jpeg(&clean),
            None => Err(error),
        }),
        Some("PNG") => image::load_from_memory_with_format(encoded, ImageFormat::Png)
            .map(DynamicImage::into_rgb8)
            .map_err(|error| format!("not a whole PNG: {error}")),
        Some(other) => Err(format!("a {other} image, neither JPEG nor PNG")),
        None => Err(format!("neither JPEG nor PNG ({} bytes)", encoded.len())),
    }
}

fn decode_jpeg(encoded: &[u8]) -> Result<RgbImage, String> {
    let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(encoded), options);
    let pixels = decoder.decode().map_err(|error| format!("not a whole JPEG: {error}"))?;
    let (width, height) = decoder.dimensions().ok_or("not a whole JPEG: no dimensions")?;
    RgbImage::from_raw(width as u32, height as u32, pixels).ok_or_else(|| "a JPEG that is not RGB or grey".into())
}

/// The JPEG without bytes before its segments that belong to none, which the strict decoder refuses and others skip;
/// none where there are no such bytes. What follows the start of the first scan stays as it is.
fn without_stray_bytes(encoded: &[u8]) -> Option<Vec<u8>> {
    let (mut clean, mut at) = (encoded.get(..2)?.to_vec(), 2);
    loop {
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff);
        at += encoded.get(at..)?.windows(2).position(is_marker)?;
        if encoded[at + 1] == START_OF_SCAN {
            clean.extend_from_slice(&encoded[at..]);
            return (clean.len() < encoded.len()).then_some(clean);
        }
        let length = usize::from(u16::from_be_bytes([*encoded.get(at + 2)?, *encoded.get(at + 3)?]));
        clean.extend_from_slice(encoded.get(at..at + 2 + length)?);
        at += 2 + length;
    }
}

/// The marker that ends a JPEG's header.
const START_OF_SCAN: u8 = 0xda;

/// The format of an image that begins with these bytes, sixteen of which are enough.
pub(super) fn image_format(start: &[u8]) -> Option<&'static str> {
    let at = |place: usize, bytes: &[u8]| start.get(place..).is_some_and(|rest| rest.starts_with(bytes));
    let is = |brands: &[&[u8; 4]]| at(4, b"ftyp") && brands.iter().any(|brand| at(8, *brand));
    match start {
        _ if at(0, b"\xff\xd8") => Some("JPEG"),
        _ if at(0, b"\x89PNG") => Some("PNG"),
        _ if at(0, b"GIF8") => Some("GIF"),
        _ if at(0, b"RIFF") && at(8, b"WEBP") => Some("WebP"),
        _ if at(0, b"BM") && at(6, &[0; 4]) => Some("BMP"),
        _ if at(0, b"II*\0") || at(0, b"MM\0*") => Some("TIFF"),
        _ if is(&[b"avif", b"avis"]) => Some("AVIF"),
        _ if is(&[b"heic", b"heix", b"mif1", b"msf1", b"hevc"]) => Some("HEIF"),
        _ if at(0, b"\xff\x0a") || at(4, b"JXL ") => Some("JPEG XL"),
        _ if at(4, b"jP  ") => Some("JPEG 2000"),
        _ => None,
    }
}

/// Resizes the shorter side to `size` (bilinear with antialias, like Pillow's) and crops the centre.
pub(super) fn fit(image: RgbImage, size: usize) -> RgbImage {
    let (width, height, size) = (image.width(), image.height(), size as u32);
    if (width, height) == (size, size) {
        return image;
    }
    let shorter = u64::from(width.min(height));
    // Whole pixels below the exact side, as torchvision's Resize has it.
    let scaled = |side: u32| (u64::from(side) * u64::from(size) / shorter) as u32;
    let resized = imageops::resize(&image, scaled(width), scaled(height), FilterType::Triangle);
    let (left, top) = ((resized.width() - size) / 2, (resized.height() - size) / 2);
    imageops::crop_imm(&resized, left, top, size, size).to_image()
}

/// Collects images of one square size: the size asked for, else that of the first image.
pub(super) struct Collector {
    wanted: Option<usize>,
    size: usize,
    images: Vec<u8>,
    /// Width and height of each image as its file has it.
    sides: Vec<[u32; 2]>,
    /// What is wrong with the images that cannot be used.
    bad: Vec<DataError>,
}

impl Collector {
    /// `wanted`: the size every image is resized to; without it, all images must already have one square size.
    pub(super) fn new(wanted: Option<usize>) -> Collector {
        Collector { wanted, size: wanted.unwrap_or(0), images: Vec::new(), sides: Vec::new(), bad: Vec::new() }
    }

    /// Height and width of the images so far; 0 while that is open.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Width and height of each image so far, as its file has it.
    pub(super) fn sides(&self) -> &[[u32; 2]] {
        &self.sides
    }

    /// Pixels of all images.
    ///
    /// # Errors
    /// All bad images, up to ten.
    pub(super) fn into_images(self) -> Result<Vec<u8>, DataError> {
        if self.bad.is_empty() { Ok(self.images) } else { Err(DataError::several(self.bad)) }
    }

    /// Asks for the memory that `images` more images need, so that a file that claims too many is refused.
    pub(super) fn reserve(&mut self, images: usize, place: &Place) -> Result<(), DataError> {
        let bytes = images.checked_mul(self.size * self.size * 3);
        let reserved = bytes.is_some_and(|bytes| self.images.try_reserve_exact(bytes).is_ok());
        let too_many = || format!("{images} images of {0}×{0} do not fit in memory", self.size);
        if reserved { Ok(()) } else { Err(DataError::content(place.clone(), too_many())) }
    }

    /// Decodes these images on all threads and appends them in order; what is wrong with bad ones is kept until the end.
    ///
    /// # Errors
    /// Ten bad images.
    pub(super) fn extend<E: AsRef<[u8]> + Sync>(
        &mut self,
        encoded: &[E],
        place: impl Fn(usize) -> Place,
    ) -> Result<(), DataError> {
        let wanted = self.wanted;
        let one = |encoded: &E| {
            let image = decode(encoded.as_ref())?;
            let sides = [image.width(), image.height()];
            Ok((sides, if let Some(size) = wanted { fit(image, size) } else { image }))
        };
        let decoded: Vec<Result<([u32; 2], RgbImage), String>> = encoded.par_iter().map(one).collect();
        for (index, image) in decoded.into_iter().enumerate() {
            let image = image.map_err(|what| DataError::content(place(index), what));
            if let Err(error) = image.and_then(|(sides, image)| self.push(sides, image, || place(index))) {
                self.bad.push(error);
            }
            if self.bad.len() == NAMED {
                return Err(DataError::several(std::mem::take(&mut self.bad)));
            }
        }
        Ok(())
    }

    /// Appends raw RGB pixels of an image of this width and height.
    pub(super) fn push_raw(&mut self, image: RgbImage, place: impl Fn() -> Place) -> Result<(), DataError> {
        self.push([image.width(), image.height()], image, place)
    }

    /// Appends an image that had these sides before it was fitted.
    fn push(&mut self, sides: [u32; 2], image: RgbImage, place: impl Fn() -> Place) -> Result<(), DataError> {
        if self.size == 0 {
            self.size = square(&image, place())?;
        }
        let image = self.checked(image, place)?;
        self.sides.push(sides);
        self.images.extend_from_slice(image.as_raw());
        Ok(())
    }

    fn checked(&self, image: RgbImage, place: impl Fn() -> Place) -> Result<RgbImage, DataError> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        match self.wanted {
            Some(size) => Ok(fit(image, size)),
            None if (width, height) == (self.size, self.size) => Ok(image),
            None => Err(DataError::Sizes { place: place(), width, height, expected: self.size }),
        }
    }
}

fn square(image: &RgbImage, place: Place) -> Result<usize, DataError> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    if width == height { Ok(width) } else { Err(DataError::NotSquare { place, width, height }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::test_images::{jpeg, png};

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 8) as u8, (y * 8) as u8, 128]))
    }

    #[test]
    fn png_is_exact_and_jpeg_is_close() {
        let image = gradient(32, 32);
        assert_eq!(decode(&png(&image)).unwrap(), image);
        let decoded = decode(&jpeg(&image)).unwrap();
        let difference = |(a, b): (&u8, &u8)| a.abs_diff(*b);
        assert!(decoded.as_raw().iter().zip(image.as_raw()).map(difference).max().unwrap() < 24);
    }

    #[test]
    fn grey_becomes_three_equal_channels() {
        let grey = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * y) as u8]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        grey.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        let decoded = decode(bytes.get_ref()).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (8, 8));
        assert!(decoded.pixels().all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
    }

    #[test]
    fn every_truncation_is_an_error() {
        for bytes in [jpeg(&gradient(32, 32)), png(&gradient(32, 32))] {
            for length in 0..bytes.len() - 12 {
                assert!(decode(&bytes[..length]).is_err(), "{length} of {} bytes decoded", bytes.len());
            }
        }
    }

    #[test]
    fn stray_bytes_before_a_segment_are_skipped_and_truncation_is_not() {
        let whole = jpeg(&gradient(32, 32));
        let start = whole.windows(2).position(|pair| pair == [0xff, 0xdb]).unwrap();
        let mut stray = whole.clone();
        stray.splice(start..start, [0, 7, 0xff, 0, 42]);
        assert_eq!(decode(&stray).unwrap(), decode(&whole).unwrap());
        for length in 0..stray.len() - 12 {
            assert!(decode(&stray[..length]).is_err(), "{length} of {} bytes decoded", stray.len());
        }
    }

    #[test]
    fn formats_are_told_by_content_and_named() {
        let webp = b"RIFF\x24\0\0\0WEBPVP8 ";
        for (bytes, name) in [(&webp[..], "WebP"), (b"GIF89a", "GIF"), (b"\0\0\0\x20ftypavif", "AVIF")] {
            let error = decode(bytes).unwrap_err();
            assert!(error.contains(name) && error.contains("neither JPEG nor PNG"), "{error}");
        }
        assert_eq!(image_format(b"id,label\n1,2\n"), None);
    }

    #[test]
    fn bad_images_are_listed_at_once_up_to_ten() {
        let path = std::path::Path::new("some.parquet");
        let good = png(&gradient(8, 8));
        let some = [b"no".to_vec(), good.clone(), good[..40].to_vec(), b"GIF89a".to_vec(), good.clone()];
        let mut collector = Collector::new(None);
        collector.extend(&some, |row| Place::row(path, row)).unwrap();
        let error = collector.into_images().unwrap_err().to_string();
        for row in ["3 images cannot be used", "row 0", "row 2", "row 3"] {
            assert!(error.contains(row), "{row}: {error}");
        }
        let error = Collector::new(None).extend(&vec![b"no".to_vec(); 12], |row| Place::row(path, row)).unwrap_err();
        assert!(error.to_string().contains("at least 10 images cannot be used"), "{error}");
    }

    #[test]
    fn fitting_keeps_the_aspect_ratio_and_the_centre() {
        let mut image = RgbImage::from_pixel(60, 20, image::Rgb([0, 0, 0]));
        for (x, _, pixel) in image.enumerate_pixels_mut() {
            if (20..40).contains(&x) {
                *pixel = image::Rgb([255, 255, 255]);
            }
        }
        let fitted = fit(image, 10);
        assert_eq!((fitted.width(), fitted.height()), (10, 10));
        assert!(fitted.enumerate_pixels().all(|(x, _, pixel)| !(1..9).contains(&x) || pixel[0] == 255));
    }

    #[test]
    fn images_of_several_sizes_need_a_wanted_size() {
        let path = std::path::Path::new("some.parquet");
        let encoded = [png(&gradient(8, 8)), png(&gradient(9, 8))];
        let mut collector = Collector::new(None);
        collector.extend(&encoded, |row| Place::row(path, row)).unwrap();
        let error = collector.into_images().unwrap_err();
        assert!(error.to_string().starts_with("some.parquet, row 1: the image is 9×8"), "{error}");
        let mut collector = Collector::new(Some(4));
        collector.extend(&encoded, |row| Place::row(path, row)).unwrap();
        assert_eq!(collector.into_images().unwrap().len(), 2 * 4 * 4 * 3);
    }
}
