//! From encoded bytes to RGB pixels of one square size, as libraries of images read them.
//!
//! Grey becomes three equal channels, a palette its colours, 16 bits are scaled to 8, CMYK and YCCK (inverted, as Adobe
//! writes them) become RGB, transparency is dropped: colours are what they are below it. Of an animation the first image
//! is taken. Profiles of colours are not applied.

use std::io::Cursor;

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::orientation::ExifOrientation;

/// How an image's file has its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Red, green, blue.
    Rgb,
    /// Brightness alone.
    Grey,
    /// Brightness and transparency.
    GreyAlpha,
    /// Red, green, blue and transparency.
    Rgba,
    /// Numbers of colours in a table.
    Palette,
    /// Four inks, as CMYK or YCCK.
    Cmyk,
}

impl Mode {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Rgb => "RGB",
            Mode::Grey => "grey",
            Mode::GreyAlpha => "grey with alpha",
            Mode::Rgba => "RGB with alpha",
            Mode::Palette => "palette",
            Mode::Cmyk => "CMYK",
        }
    }
}

/// What an image's file is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileFacts {
    /// Width and height, as it is meant to be seen where the orientation is applied.
    pub(super) sides: [u32; 2],
    /// Its pixels.
    pub(super) mode: Mode,
    /// Whether a channel has 16 bits.
    pub(super) is_deep: bool,
    /// Whether its EXIF asks for it to be turned.
    pub(super) is_turned: bool,
}

impl FileFacts {
    /// Of raw RGB pixels of this width and height.
    pub(super) fn raw(sides: [u32; 2]) -> FileFacts {
        FileFacts { sides, mode: Mode::Rgb, is_deep: false, is_turned: false }
    }
}

/// Decodes an image, turned as `exif` says. A truncated one is an error, with its reason.
pub(super) fn decode(encoded: &[u8], exif: ExifOrientation) -> Result<(RgbImage, FileFacts), String> {
    let (image, orientation, mode, is_deep) = match image_format(encoded) {
        Some("JPEG") => decode_jpeg(encoded).or_else(|error| match without_stray_bytes(encoded) {
            Some(clean) => decode_jpeg(&clean),
            None => Err(error),
        })?,
        Some("PNG") => decode_other(encoded, "PNG", ImageFormat::Png)?,
        Some("WebP") => decode_other(encoded, "WebP", ImageFormat::WebP)?,
        Some("GIF") => decode_other(encoded, "GIF", ImageFormat::Gif)?,
        Some("BMP") => decode_other(encoded, "BMP", ImageFormat::Bmp)?,
        Some("TIFF") => decode_other(encoded, "TIFF", ImageFormat::Tiff)?,
        Some(other) => return Err(format!("{} {other} image, which is not read; {READ} are", article(other))),
        None => return Err(format!("no image ({} bytes); {READ} are read", encoded.len())),
    };
    let is_turned = orientation != Orientation::NoTransforms;
    let image = if is_turned && exif == ExifOrientation::Applied {
        let mut image = DynamicImage::ImageRgb8(image);
        image.apply_orientation(orientation);
        image.into_rgb8()
    } else {
        image
    };
    let facts = FileFacts { sides: [image.width(), image.height()], mode, is_deep, is_turned };
    Ok((image, facts))
}

/// The formats that are read.
const READ: &str = "JPEG, PNG, WebP, GIF, BMP and TIFF";

/// Pixels of an image beyond which it is taken for broken: a file of some bytes may claim more than there is memory for.
const MOST_PIXELS: u64 = 250_000_000;

fn article(word: &str) -> &'static str {
    if word.starts_with(['A', 'E', 'I', 'O']) { "an" } else { "a" }
}

/// Pixels, the orientation that the file asks for, its mode, and whether it has 16 bits.
type Decoded = (RgbImage, Orientation, Mode, bool);

fn decode_jpeg(encoded: &[u8]) -> Result<Decoded, String> {
    let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(encoded), options);
    let pixels = decoder.decode().map_err(|error| format!("not a whole JPEG: {error}"))?;
    let (width, height) = decoder.dimensions().ok_or("not a whole JPEG: no dimensions")?;
    let image = RgbImage::from_raw(width as u32, height as u32, pixels).ok_or("a JPEG of no known colours")?;
    let orientation = decoder.exif().and_then(|chunk| Orientation::from_exif_chunk(chunk));
    let mode = match decoder.info().map(|info| info.components) {
        Some(1) => Mode::Grey,
        Some(4) => Mode::Cmyk,
        _ => Mode::Rgb,
    };
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms), mode, false))
}

fn decode_other(encoded: &[u8], name: &str, format: ImageFormat) -> Result<Decoded, String> {
    let broken = |error: image::ImageError| format!("not a whole {name}: {error}");
    let mut decoder = ImageReader::with_format(Cursor::new(encoded), format).into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(format!("a {name} of {width}x{height} pixels; up to {} million are read", MOST_PIXELS / 1_000_000));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let colour = image.color();
    // The decoder has put colours in the place of a palette's numbers; byte 25 of the file still knows.
    let is_palette = format == ImageFormat::Png && encoded.get(25) == Some(&3);
    let mode = match (colour.has_color(), colour.has_alpha()) {
        _ if is_palette || format == ImageFormat::Gif => Mode::Palette,
        (true, false) => Mode::Rgb,
        (true, true) => Mode::Rgba,
        (false, false) => Mode::Grey,
        (false, true) => Mode::GreyAlpha,
    };
    let is_deep = colour.bytes_per_pixel() > colour.channel_count();
    Ok((image.into_rgb8(), orientation, mode, is_deep))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::test_images::{jpeg, png};

    /// Pixels alone, as they are stored.
    fn decode(encoded: &[u8]) -> Result<RgbImage, String> {
        super::decode(encoded, ExifOrientation::Ignored).map(|(image, _)| image)
    }

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
        let said = [
            (&webp[..], "not a whole WebP"),
            (b"GIF89a", "not a whole GIF"),
            (b"\0\0\0\x20ftypavif", "an AVIF image, which is not read"),
            (b"\0\0\0\x20ftypheic", "a HEIF image, which is not read"),
            (b"<html>", "no image (6 bytes)"),
        ];
        for (bytes, words) in said {
            let error = decode(bytes).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(image_format(b"id,label\n1,2\n"), None);
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
}
