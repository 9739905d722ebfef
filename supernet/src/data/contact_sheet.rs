//! Some images of some classes on one page, a row for each class.

use std::io::{self, Cursor, Write};
use std::path::Path;

use image::imageops::replace;
use image::{ImageFormat, Rgb, RgbImage};
use rand::seq::SliceRandom;
use storage::atomic::write_atomically;

use super::inspect::{Inspection, PICTURE};
use super::look::OF_A_CLASS;
use crate::random::{Purpose, generator};

/// Classes on a sheet at most.
const CLASSES: usize = 20;
/// White between two pictures, in pixels.
const GAP: usize = 4;

impl Inspection {
    /// Writes the pictures to `path` as PNG: up to ten training images of up to twenty classes, all drawn by `seed`,
    /// shorter side 64 px, centre cropped. Gives the names of the classes, from the top row to the bottom one.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write_sheet(&self, path: &Path, seed: u64) -> io::Result<Vec<String>> {
        let mut chosen: Vec<usize> = (0..self.pictures.len()).collect();
        if chosen.len() > CLASSES {
            chosen.shuffle(&mut generator(seed, Purpose::Sheet, 1, 0));
            chosen.truncate(CLASSES);
            chosen.sort_unstable();
        }
        let side = |pictures: usize| (pictures * (PICTURE + GAP) + GAP) as u32;
        let mut sheet = RgbImage::from_pixel(side(OF_A_CLASS), side(chosen.len()), Rgb([255; 3]));
        for (row, &class) in chosen.iter().enumerate() {
            for (column, picture) in self.pictures[class].1.iter().enumerate() {
                let at = |place: usize| (place * (PICTURE + GAP) + GAP) as i64;
                replace(&mut sheet, picture, at(column), at(row));
            }
        }
        let mut bytes = Cursor::new(Vec::new());
        sheet.write_to(&mut bytes, ImageFormat::Png).map_err(io::Error::other)?;
        write_atomically(path, |file| file.write_all(bytes.get_ref()))?;
        Ok(chosen.into_iter().map(|class| self.pictures[class].0.clone()).collect())
    }
}
