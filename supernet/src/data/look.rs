//! What is kept of images that are only looked at: of each its digest, of some of each class a small picture.

use std::collections::BTreeMap;

use image::RgbImage;
use rand::RngExt;
use storage::digest::{Digest, Digester};

use super::error::Place;
use crate::random::{Purpose, generator};

/// Pictures that are kept of each class.
pub(super) const OF_A_CLASS: usize = 10;

/// What was seen of a part.
pub(super) struct Look {
    seed: u64,
    picture: usize,
    /// Every whole image.
    pub(super) seen: Vec<Seen>,
    /// By label: the pictures with the smallest numbers drawn, each with its number and its place.
    pub(super) pictures: BTreeMap<i64, Vec<(u64, usize, RgbImage)>>,
}

/// A whole image.
pub(super) struct Seen {
    /// Its place among all, broken ones included.
    pub(super) at: usize,
    pub(super) place: Place,
    /// Of its pixels.
    pub(super) digest: Digest,
}

impl Look {
    /// Pictures are chosen by `seed` and `picture` px wide and high.
    pub(super) fn new(seed: u64, picture: usize) -> Look {
        Look { seed, picture, seen: Vec::new(), pictures: BTreeMap::new() }
    }

    /// Width and height of a picture.
    pub(super) fn picture(&self) -> usize {
        self.picture
    }

    /// Of the pixels and the size of an image.
    pub(super) fn digest(image: &RgbImage) -> Digest {
        let sides = Digester::new("image").number(image.width().into()).number(image.height().into());
        sides.bytes(image.as_raw()).finish()
    }

    /// Takes note of an image, shrunk to a picture.
    pub(super) fn keep(&mut self, seen: Seen, label: i64, picture: RgbImage) {
        let drawn: u64 = generator(self.seed, Purpose::Sheet, 0, seen.at as u64).random();
        let place = seen.at;
        self.seen.push(seen);
        let kept = self.pictures.entry(label).or_default();
        if kept.len() < OF_A_CLASS || kept.last().is_some_and(|(largest, ..)| drawn < *largest) {
            let at = kept.partition_point(|(number, ..)| *number < drawn);
            kept.insert(at, (drawn, place, picture));
            kept.truncate(OF_A_CLASS);
        }
    }
}
