//! From encoded bytes to RGB pixels of one square size, in parallel.

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageFormat, RgbImage};
use rayon::prelude::*;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::error::{DataError, Place};

/// Decodes a JPEG or PNG; grey becomes RGB, transparency is dropped. A truncated image is an error, with its reason.
pub(super) fn decode(encoded: &[u8]) -> Result<RgbImage, String> {
    if encoded.starts_with(&[0xff, 0xd8]) {
        let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(encoded), options);
        let pixels = decoder.decode().map_err(|error| format!("not a whole JPEG: {error}"))?;
        let (width, height) = decoder.dimensions().ok_or("not a whole JPEG: no dimensions")?;
        RgbImage::from_raw(width as u32, height as u32, pixels).ok_or_else(|| "a JPEG that is not RGB or grey".into())
    } else if encoded.starts_with(b"\x89PNG") {
        image::load_from_memory_with_format(encoded, ImageFormat::Png)
            .map(DynamicImage::into_rgb8)
            .map_err(|error| format!("not a whole PNG: {error}"))
    } else {
        Err(format!("neither JPEG nor PNG ({} bytes)", encoded.len()))
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
}

impl Collector {
    /// `wanted`: the size every image is resized to; without it, all images must already have one square size.
    pub(super) fn new(wanted: Option<usize>) -> Collector {
        Collector { wanted, size: wanted.unwrap_or(0), images: Vec::new() }
    }

    /// Height and width of the images so far; 0 while that is open.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Pixels of all images so far.
    pub(super) fn into_images(self) -> Vec<u8> {
        self.images
    }

    /// Asks for the memory that `images` more images need, so that a file that claims too many is refused.
    pub(super) fn reserve(&mut self, images: usize, place: &Place) -> Result<(), DataError> {
        let bytes = images.checked_mul(self.size * self.size * 3);
        let reserved = bytes.is_some_and(|bytes| self.images.try_reserve_exact(bytes).is_ok());
        let too_many = || format!("{images} images of {0}×{0} do not fit in memory", self.size);
        if reserved { Ok(()) } else { Err(DataError::content(place.clone(), too_many())) }
    }

    /// Decodes these images on all threads and appends them in order; the error is that of the first bad one.
    pub(super) fn extend<E: AsRef<[u8]> + Sync>(
        &mut self,
        encoded: &[E],
        place: impl Fn(usize) -> Place + Sync,
    ) -> Result<(), DataError> {
        if self.size == 0
            && let Some(first) = encoded.first()
        {
            let first = decode(first.as_ref()).map_err(|what| DataError::content(place(0), what))?;
            self.size = square(&first, place(0))?;
        }
        let one = |(index, encoded): (usize, &E)| {
            let image = decode(encoded.as_ref()).map_err(|what| DataError::content(place(index), what))?;
            self.checked(image, || place(index))
        };
        let decoded: Vec<Result<RgbImage, DataError>> = encoded.par_iter().enumerate().map(one).collect();
        for image in decoded {
            self.images.extend_from_slice(image?.as_raw());
        }
        Ok(())
    }

    /// Appends raw RGB pixels of an image of this width and height.
    pub(super) fn push_raw(&mut self, image: RgbImage, place: impl Fn() -> Place) -> Result<(), DataError> {
        if self.size == 0 {
            self.size = square(&image, place())?;
        }
        let image = self.checked(image, place)?;
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
        let error = Collector::new(None).extend(&encoded, |row| Place::row(path, row)).unwrap_err();
        assert!(error.to_string().starts_with("some.parquet, row 1: the image is 9×8"), "{error}");
        let mut collector = Collector::new(Some(4));
        collector.extend(&encoded, |row| Place::row(path, row)).unwrap();
        assert_eq!(collector.into_images().len(), 2 * 4 * 4 * 3);
    }
}
