//! What a source holds, looked at without a network in mind: `ofa data check`.

use std::collections::HashMap;

use image::RgbImage;
use serde::Serialize;
use storage::digest::Digest;

use super::collector::{Collector, Looked};
use super::decode::FileFacts;
use super::error::{DataError, Place};
use super::look::{Look, Seen};
use super::part::Part;
use super::skip_broken::SkipBroken;
use super::source::DataSource;

/// Width and height of the pictures of a sheet.
pub(super) const PICTURE: usize = 64;
/// Pairs of equal images that are named.
const NAMED: usize = 10;

/// What a source holds.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// The training part and, where there is one, the test part.
    pub parts: Vec<PartInspection>,
    /// Equal images, pixel for pixel.
    pub duplicates: Duplicates,
    /// What is left out and why, and what is to be known besides.
    pub notes: Vec<String>,
    /// Some pictures of each class with training images, by name.
    #[serde(skip)]
    pub(super) pictures: Vec<(String, Vec<RgbImage>)>,
    #[serde(skip)]
    skip_broken: Option<SkipBroken>,
}

/// What a part holds.
#[derive(Debug, Serialize)]
pub struct PartInspection {
    /// `training` or `test`.
    pub part: &'static str,
    /// Whole images.
    pub images: usize,
    /// Images that cannot be used: each with its place and what is wrong.
    pub broken: Vec<String>,
    /// Whole images of each class, in the order of the labels.
    pub classes: Vec<ClassCount>,
    /// Width and height of the image with the smallest, the median and the largest area; none without a whole image.
    pub sizes: Option<[[u32; 2]; 3]>,
    /// Images that are as wide as high.
    pub square: usize,
    /// How many images have their pixels how, the most frequent first.
    pub modes: Vec<(&'static str, usize)>,
    /// Images with 16 bits a channel.
    pub sixteen_bit: usize,
    /// Images whose EXIF turns or mirrors them.
    pub turned_by_exif: usize,
}

/// How many images a class has.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Its name.
    pub class: String,
    /// Whole images.
    pub images: usize,
}

/// Images that are there more than once.
#[derive(Debug, Default, Serialize)]
pub struct Duplicates {
    /// Images of the training part that equal an earlier one of it.
    pub within_training: usize,
    /// The same of the test part.
    pub within_test: usize,
    /// Images of the test part that equal one of the training part.
    pub test_in_training: usize,
    /// Of all of these, those whose class is another one.
    pub of_another_class: usize,
    /// Some of them, each with what it equals.
    pub examples: Vec<[String; 2]>,
}

impl DataSource {
    /// Reads every image of both parts; the pictures of a sheet are chosen by `seed`. Broken images are no error.
    ///
    /// # Errors
    /// A source that cannot be read at all, a part without images, or parts that contradict each other.
    pub fn inspect(&self, seed: u64) -> Result<Inspection, DataError> {
        let parts: &[Part] = if self.has_test_part()? { &[Part::Train, Part::Test] } else { &[Part::Train] };
        let mut inspection = Inspection {
            parts: Vec::new(),
            duplicates: Duplicates::default(),
            notes: Vec::new(),
            pictures: Vec::new(),
            skip_broken: self.skip_broken,
        };
        let mut known: HashMap<Digest, (Part, Place, String)> = HashMap::new();
        for &part in parts {
            let mut images = Collector::looking(Look::new(seed, PICTURE));
            let names = self.gather(part, &mut images, &mut inspection.notes)?;
            let Looked { look, files, labels, broken } = images.into_looked();
            if labels.is_empty() && broken.is_empty() {
                return Err(DataError::content(self.path(), format!("no {} images in it", part.name())));
            }
            let look = look.expect("what the collector was made with");
            let name = |label: i64| match &names {
                Some(names) => names.get(label as usize).cloned().unwrap_or_else(|| label.to_string()),
                None => label.to_string(),
            };
            let classes =
                names.as_ref().map_or(0, Vec::len).max(1 + labels.iter().max().map_or(0, |last| *last as usize));
            let mut counts = vec![0; classes];
            look.seen.iter().for_each(|seen| counts[labels[seen.at] as usize] += 1);
            let counts = counts.into_iter().zip(0..).map(|(images, label)| ClassCount { class: name(label), images });
            inspection.parts.push(PartInspection::new(part, &files, counts.collect(), &broken));
            if part == Part::Train {
                let pictures = look.pictures.values().map(|drawn| {
                    let class = name(labels[drawn[0].1]);
                    (class, drawn.iter().map(|(_, _, picture)| picture.clone()).collect())
                });
                inspection.pictures = pictures.collect();
            }
            for Seen { at, place, digest } in look.seen {
                inspection.duplicates.add(part, place, name(labels[at]), digest, &mut known);
            }
        }
        Ok(inspection)
    }
}

impl Inspection {
    /// Whole and broken images of all parts, and how many of them are broken.
    pub fn counts(&self) -> (usize, usize) {
        let broken: usize = self.parts.iter().map(|part| part.broken.len()).sum();
        (broken + self.parts.iter().map(|part| part.images).sum::<usize>(), broken)
    }

    /// What loading the source would be refused for: more broken images in a part than it may leave out.
    pub fn failure(&self) -> Option<DataError> {
        let is_refused = |part: &&PartInspection| {
            let (broken, all) = (part.broken.len(), part.images + part.broken.len());
            broken > 0 && !self.skip_broken.is_some_and(|skip| skip.allows(broken, all))
        };
        let worst = self.parts.iter().filter(is_refused).max_by_key(|part| {
            // In thousandths, by which shares of whole numbers can be compared.
            1000 * part.broken.len() / (part.images + part.broken.len())
        })?;
        let (broken, all) = (worst.broken.len(), worst.images + worst.broken.len());
        Some(DataError::Broken { part: worst.part, broken, all })
    }
}

impl PartInspection {
    fn new(part: Part, files: &[FileFacts], classes: Vec<ClassCount>, broken: &[DataError]) -> PartInspection {
        let mut sides: Vec<[u32; 2]> = files.iter().map(|file| file.sides).collect();
        sides.sort_by_key(|[width, height]| (u64::from(*width) * u64::from(*height), *width));
        let last = sides.len().saturating_sub(1);
        let mut modes: Vec<(&'static str, usize)> = Vec::new();
        for file in files {
            match modes.iter_mut().find(|(name, _)| *name == file.mode.name()) {
                Some((_, count)) => *count += 1,
                None => modes.push((file.mode.name(), 1)),
            }
        }
        modes.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        PartInspection {
            part: part.name(),
            images: files.len(),
            broken: broken.iter().map(ToString::to_string).collect(),
            classes,
            sizes: (!sides.is_empty()).then(|| [0, last / 2, last].map(|at| sides[at])),
            square: sides.iter().filter(|[width, height]| width == height).count(),
            modes,
            sixteen_bit: files.iter().filter(|file| file.is_deep).count(),
            turned_by_exif: files.iter().filter(|file| file.is_turned).count(),
        }
    }
}

impl Duplicates {
    fn add(
        &mut self,
        part: Part,
        place: Place,
        class: String,
        digest: Digest,
        known: &mut HashMap<Digest, (Part, Place, String)>,
    ) {
        let Some((other_part, other_place, other_class)) = known.get(&digest) else {
            known.insert(digest, (part, place, class));
            return;
        };
        match (part, other_part) {
            (Part::Train, _) => self.within_training += 1,
            (Part::Test, Part::Test) => self.within_test += 1,
            (Part::Test, Part::Train) => self.test_in_training += 1,
        }
        self.of_another_class += usize::from(*other_class != class);
        if self.examples.len() < NAMED {
            self.examples.push([place.to_string(), other_place.to_string()]);
        }
    }
}
