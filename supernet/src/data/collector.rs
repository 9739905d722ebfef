//! Images of one part with their labels, in order, as they are decoded; the broken ones are remembered.

use std::path::PathBuf;

use image::RgbImage;
use rayon::prelude::*;
use storage::digest::Digest;

use super::decode::{FileFacts, decode, fit};
use super::error::{DataError, Place};
use super::look::{Look, Seen};
use super::orientation::ExifOrientation;
use super::pixels::{Pixels, StoreWriter, remove};
use super::skip_broken::SkipBroken;

/// Collects images of one square size: the size asked for, else that of the first image.
pub(super) struct Collector {
    wanted: Option<usize>,
    exif: ExifOrientation,
    size: usize,
    kept: Kept,
    /// Of broken images, too.
    labels: Vec<i64>,
    /// Of whole images.
    files: Vec<FileFacts>,
    /// Place among all images of those that cannot be used, and what is wrong with them.
    bad: Vec<(usize, DataError)>,
}

/// What is kept of whole images.
enum Kept {
    /// Their pixels, so many bytes of them at most.
    Pixels { pixels: Vec<u8>, most: usize },
    /// Where they are.
    Places(StoreWriter),
    /// Pictures of some, digests of all.
    Look(Look),
}

/// What a collector has at its end.
pub(super) struct Collected {
    /// N×size×size×3 bytes; none where images were looked at.
    pub(super) pixels: Pixels,
    pub(super) labels: Vec<i64>,
    pub(super) size: usize,
    /// About images that were left out.
    pub(super) note: Option<String>,
}

/// What a collector has seen that was only to look.
pub(super) struct Looked {
    pub(super) look: Option<Look>,
    /// Of whole images.
    pub(super) files: Vec<FileFacts>,
    /// Of all images.
    pub(super) labels: Vec<i64>,
    pub(super) broken: Vec<DataError>,
}

/// Broken images that a note names.
const NAMED: usize = 10;

impl Collector {
    /// `wanted`: the size every image is resized to; without it, all images must already have one square size. Images of
    /// more than `most` bytes together are refused with [`DataError::Memory`].
    pub(super) fn new(wanted: Option<usize>, exif: ExifOrientation, most: usize) -> Collector {
        Collector::keeping(wanted, exif, Kept::Pixels { pixels: Vec::new(), most })
    }

    /// Keeps where images are, to decode them again when they are asked for.
    pub(super) fn streaming(wanted: Option<usize>, exif: ExifOrientation) -> Collector {
        Collector::keeping(wanted, exif, Kept::Places(StoreWriter::new(exif)))
    }

    /// Keeps of each image what `look` does, instead of its pixels.
    pub(super) fn looking(look: Look) -> Collector {
        Collector::keeping(Some(look.picture()), ExifOrientation::Applied, Kept::Look(look))
    }

    fn keeping(wanted: Option<usize>, exif: ExifOrientation, kept: Kept) -> Collector {
        let (labels, files, bad) = (Vec::new(), Vec::new(), Vec::new());
        Collector { wanted, exif, size: wanted.unwrap_or(0), kept, labels, files, bad }
    }

    /// What there is to know about each whole image so far.
    pub(super) fn files(&self) -> &[FileFacts] {
        &self.files
    }

    /// Number of images so far, broken ones included.
    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Labels of the images from `first` on, broken ones included, to be changed.
    pub(super) fn labels_from(&mut self, first: usize) -> &mut [i64] {
        &mut self.labels[first..]
    }

    /// All pixels and labels, without broken images where no more than `skip` of all are.
    ///
    /// # Errors
    /// All broken images.
    pub(super) fn finish(self, skip: Option<SkipBroken>) -> Result<Collected, DataError> {
        let Collector { mut labels, bad, kept, size, .. } = self;
        let all = labels.len();
        let pixels = |kept| match kept {
            Kept::Pixels { pixels, .. } => Ok(Pixels::Held(pixels)),
            Kept::Places(store) => store.finish(size),
            Kept::Look(_) => Ok(Pixels::Held(Vec::new())),
        };
        if bad.is_empty() {
            return Ok(Collected { pixels: pixels(kept)?, labels, size, note: None });
        }
        // An image of another size is a matter of settings.
        let are_broken = bad.iter().all(|(_, error)| matches!(error, DataError::Content { .. }));
        if !are_broken || !skip.is_some_and(|skip| skip.allows(bad.len(), all)) {
            return Err(DataError::unusable(bad.into_iter().map(|(_, error)| error).collect(), all, skip));
        }
        let places: Vec<usize> = bad.iter().map(|(place, _)| *place).collect();
        remove(&mut labels, &places);
        let named: Vec<String> = bad.iter().take(NAMED).map(|(_, error)| error.to_string()).collect();
        let more = if bad.len() > NAMED { "; …" } else { "" };
        let (count, share) = (bad.len(), 100.0 * bad.len() as f64 / all as f64);
        let note = format!("{count} of {all} images left out as broken ({share:.2} %): {}{more}", named.join("; "));
        Ok(Collected { pixels: pixels(kept)?, labels, size, note: Some(note) })
    }

    /// What was seen, and which images are broken, with what is wrong with each.
    pub(super) fn into_looked(self) -> Looked {
        let Collector { kept, files, labels, bad, .. } = self;
        let look = if let Kept::Look(look) = kept { Some(look) } else { None };
        Looked { look, files, labels, broken: bad.into_iter().map(|(_, error)| error).collect() }
    }

    /// Asks for the memory that `images` more images need, so that a file that claims too many is refused.
    ///
    /// # Errors
    /// [`DataError::Memory`] where they are more than may be held.
    pub(super) fn reserve(&mut self, images: usize, place: &Place) -> Result<(), DataError> {
        let Kept::Pixels { pixels, most } = &mut self.kept else { return Ok(()) };
        let bytes = images.saturating_mul(self.size * self.size * 3);
        if pixels.len().saturating_add(bytes) > *most {
            return Err(DataError::Memory { most: *most });
        }
        let too_many = || format!("{images} images of {0}×{0} do not fit in memory", self.size);
        pixels.try_reserve_exact(bytes).map_err(|_| DataError::content(place.clone(), too_many()))
    }

    /// Decodes these images on all threads and appends them in order, each with its label. One that is broken, or that is
    /// none but a reason why it is not there, is kept until the end. `file` says which image is the content of which file.
    ///
    /// # Errors
    /// [`DataError::Memory`] where they are more than may be held.
    pub(super) fn extend<E: AsRef<[u8]> + Sync>(
        &mut self,
        encoded: &[Result<E, String>],
        labels: &[i64],
        place: impl Fn(usize) -> Place,
        file: impl Fn(usize) -> Option<PathBuf>,
    ) -> Result<(), DataError> {
        assert_eq!(encoded.len(), labels.len(), "a label for each image");
        let (wanted, exif, looks) = (self.wanted, self.exif, matches!(self.kept, Kept::Look(_)));
        let one = |encoded: &Result<E, String>| {
            let (image, facts) = decode(encoded.as_ref().map_err(String::clone)?.as_ref(), exif)?;
            let digest = looks.then(|| Look::digest(&image));
            Ok((facts, if let Some(size) = wanted { fit(image, size) } else { image }, digest))
        };
        let decoded: Vec<Result<_, String>> = encoded.par_iter().map(one).collect();
        for (index, image) in decoded.into_iter().enumerate() {
            let taken = match image {
                Ok((facts, image, digest)) => self.fitting(image, || place(index)).map(|image| (facts, image, digest)),
                Err(what) => Err(DataError::content(place(index), what)),
            };
            match taken {
                Ok((facts, image, digest)) => {
                    let is_placed = matches!(self.kept, Kept::Places(_));
                    let encoded = encoded[index].as_ref().ok().filter(|_| is_placed);
                    let found = encoded.map(|encoded| (encoded.as_ref(), file(index)));
                    self.keep(facts, image, digest, found, labels[index], || place(index))?;
                }
                Err(error) => self.bad.push((self.labels.len(), error)),
            }
            self.labels.push(labels[index]);
        }
        Ok(())
    }

    /// Appends raw RGB pixels.
    ///
    /// # Errors
    /// Another size than that of the images before; [`DataError::Memory`] where they are more than may be held.
    pub(super) fn push_raw(&mut self, image: RgbImage, label: i64, place: impl Fn() -> Place) -> Result<(), DataError> {
        let facts = FileFacts::raw([image.width(), image.height()]);
        let digest = matches!(self.kept, Kept::Look(_)).then(|| Look::digest(&image));
        let image = self.fitting(image, &place)?;
        self.keep(facts, image, digest, None, label, place)?;
        self.labels.push(label);
        Ok(())
    }

    /// The image at the size of all.
    fn fitting(&mut self, image: RgbImage, place: impl Fn() -> Place) -> Result<RgbImage, DataError> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        if let Some(size) = self.wanted {
            return Ok(fit(image, size));
        }
        if width != height && self.size == 0 {
            return Err(DataError::NotSquare { place: place(), width, height });
        }
        if self.size == 0 {
            self.size = width;
        }
        match (width, height) == (self.size, self.size) {
            true => Ok(image),
            false => Err(DataError::Sizes { place: place(), width, height, expected: self.size }),
        }
    }

    /// Keeps a whole image, whose digest is known where images are looked at, and which was `found` encoded, perhaps as the
    /// content of a file, unless it came as pixels.
    fn keep(
        &mut self,
        facts: FileFacts,
        image: RgbImage,
        digest: Option<Digest>,
        found: Option<(&[u8], Option<PathBuf>)>,
        label: i64,
        place: impl Fn() -> Place,
    ) -> Result<(), DataError> {
        match (&mut self.kept, digest) {
            (Kept::Look(look), Some(digest)) => {
                look.keep(Seen { at: self.labels.len(), place: place(), digest }, label, image)
            }
            (Kept::Look(_), None) => unreachable!("images that are looked at are digested"),
            (Kept::Pixels { pixels, most }, _) => {
                if pixels.len() + image.as_raw().len() > *most {
                    return Err(DataError::Memory { most: *most });
                }
                pixels.extend_from_slice(image.as_raw());
            }
            (Kept::Places(store), _) => match found {
                Some((encoded, file)) => store.encoded(encoded, file.as_deref())?,
                None => store.raw(image.as_raw())?,
            },
        }
        self.files.push(facts);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::test_images::{numbered, png};

    fn rows(encoded: &[Vec<u8>]) -> Vec<Result<&[u8], String>> {
        encoded.iter().map(|bytes| Ok(bytes.as_slice())).collect()
    }

    fn collected(encoded: &[Vec<u8>], wanted: Option<usize>) -> Collector {
        let mut collector = Collector::new(wanted, ExifOrientation::Applied, usize::MAX);
        let labels: Vec<i64> = (0..encoded.len() as i64).collect();
        let place = |row| Place::row(std::path::Path::new("some.parquet"), row);
        collector.extend(&rows(encoded), &labels, place, |_| None).unwrap();
        collector
    }

    fn held(pixels: Pixels) -> Vec<u8> {
        let Pixels::Held(pixels) = pixels else { panic!("decoded when asked for") };
        pixels
    }

    /// Every `every`th of `count` images is none.
    fn some_broken(count: usize, every: usize) -> Vec<Vec<u8>> {
        let one = |at: usize| if at.is_multiple_of(every) { b"no".to_vec() } else { png(&numbered(at, 8)) };
        (0..count).map(one).collect()
    }

    #[test]
    fn all_broken_images_are_listed() {
        let error = collected(&some_broken(9, 4), None).finish(None).err().unwrap().to_string();
        for words in ["3 of 9 images cannot be used", "row 0", "row 4", "row 8"] {
            assert!(error.contains(words), "{words}: {error}");
        }
        let Err(DataError::Unusable { errors, all, .. }) = collected(&some_broken(120, 2), None).finish(None) else {
            panic!("60 broken images are used")
        };
        assert_eq!((errors.len(), all), (60, 120));
    }

    #[test]
    fn so_many_broken_images_may_be_left_out_and_no_more() {
        let skip = |text: &str| Some(text.parse().unwrap());
        let images = some_broken(50, 25);
        assert!(collected(&images, None).finish(skip("3.9%")).is_err());
        let Collected { pixels, labels, size, note } = collected(&images, None).finish(skip("4%")).unwrap();
        let pixels = held(pixels);
        let expected: Vec<i64> = (0..50).filter(|at| at % 25 != 0).collect();
        assert_eq!((labels.clone(), size, pixels.len()), (expected, 8, 48 * 8 * 8 * 3));
        for (label, image) in labels.iter().zip(pixels.chunks(8 * 8 * 3)) {
            assert_eq!(image, numbered(*label as usize, 8).as_raw().as_slice(), "{label}");
        }
        let note = note.unwrap();
        assert!(note.starts_with("2 of 50 images left out as broken (4.00 %): some.parquet, row 0: "), "{note}");
        // Whole images that do not fit together are no broken ones.
        let sizes = [png(&numbered(0, 8)), png(&numbered(0, 9))];
        assert!(collected(&sizes, None).finish(skip("100%")).is_err());
    }

    #[test]
    fn images_of_several_sizes_need_a_wanted_size() {
        let encoded = [png(&numbered(0, 8)), png(&image::RgbImage::new(9, 8))];
        let error = collected(&encoded, None).finish(None).err().unwrap();
        assert!(error.to_string().starts_with("some.parquet, row 1: the image is 9×8"), "{error}");
        assert_eq!(held(collected(&encoded, Some(4)).finish(None).unwrap().pixels).len(), 2 * 4 * 4 * 3);
    }
}
