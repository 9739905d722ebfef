//! Random views of training images, made in Rust so that they depend on nothing but (seed, epoch, step, place).
//!
//! Padded crop and flip are those of He et al. 2016 (arXiv:1512.03385, §4.2), cutout is DeVries & Taylor 2017
//! (arXiv:1708.04552), the random resized crop is that of Szegedy et al. 2015 (arXiv:1409.4842, §6). Colours, RandAugment
//! and mixing have files of their own. What is left out draws no random number and changes no bit of the rest.
//!
//! Images of 32 pixels that one core of an AMD EPYC makes in a second (`RAYON_NUM_THREADS=1 cargo run --release -p
//! supernet --example loader_speed`; the machine had other work, so these are low rather than high):
//!
//! | augmentation | images/s |
//! |---|---|
//! | none | 420,000 |
//! | padded crop and flip | 420,000 |
//! | the same and cutout | 390,000 |
//! | the same and mixup | 340,000 |
//! | the same and cutmix | 350,000 |
//! | the same and colour jitter without hue | 150,000 |
//! | the same and colour jitter with hue | 32,000 |
//! | the same and RandAugment, two operations at 9 | 77,000 |
//! | random resized crop and flip | 156,000 |
//!
//! RandAugment, colour jitter and random resized crops are made on all of the machine's threads.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::colour::ColourJitter;
use super::error::DataError;
use super::mix::{Mix, Mixing};
use super::rand_augment::RandAugment;

/// What is done to a training image, in this order: crop, flip, RandAugment, colour jitter, cutout; then mixup or cutmix
/// with another image of the batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Which part of the image is seen.
    pub crop: Crop,
    /// Whether every other image is mirrored left to right.
    pub flip: bool,
    /// Side in pixels of a square, centred anywhere in the image, that is set to the mean colour; none for no square.
    pub cutout: Option<usize>,
    /// A few operations on colours and geometry, drawn for each image.
    // Left out where there is none, so that recipes keep their text, which checkpoints are known by; so are the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Random changes of brightness, contrast, saturation and hue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour_jitter: Option<ColourJitter>,
    /// Images that are weighted means of two, with the classes of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixup: Option<Mix>,
    /// Images with a rectangle of another in them, with the classes of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutmix: Option<Mix>,
}

/// Which part of an image is seen; in a recipe `crop: {kind: padded, padding: 4, border: mean}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Crop {
    /// All of it.
    None,
    /// A window of the native size, shifted by up to `padding` pixels.
    Padded {
        /// Largest shift in each direction.
        padding: usize,
        /// What lies beyond the border.
        #[serde(default)]
        border: Border,
    },
    /// A window of random area and aspect ratio, resized (bilinear) to the native size.
    RandomResized {
        /// Smallest and largest share of the area.
        #[serde(default = "usual_area")]
        area: [f64; 2],
        /// Smallest and largest width/height; drawn evenly on the logarithmic scale.
        #[serde(default = "usual_ratio")]
        ratio: [f64; 2],
    },
}

/// What lies beyond an image's border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Border {
    /// The mean colour: zero after normalisation.
    #[default]
    Mean,
    /// The image mirrored at its outermost pixels.
    Reflect,
}

fn usual_area() -> [f64; 2] {
    [0.08, 1.0]
}

fn usual_ratio() -> [f64; 2] {
    [3.0 / 4.0, 4.0 / 3.0]
}

impl Default for Augmentation {
    /// Padding 4 with the mean colour, and flips: the usual choice for 32-pixel images.
    fn default() -> Augmentation {
        Augmentation { crop: Crop::Padded { padding: 4, border: Border::Mean }, flip: true, ..Augmentation::none() }
    }
}

impl Augmentation {
    /// Images as they are.
    pub fn none() -> Augmentation {
        Augmentation {
            crop: Crop::None,
            flip: false,
            cutout: None,
            rand_augment: None,
            colour_jitter: None,
            mixup: None,
            cutmix: None,
        }
    }

    /// For photographs: a random resized crop (area 0.08–1, ratio 3/4–4/3), and flips.
    pub fn photographs() -> Augmentation {
        let crop = Crop::RandomResized { area: usual_area(), ratio: usual_ratio() };
        Augmentation { crop, flip: true, ..Augmentation::none() }
    }

    /// Checks the settings for images of `size` pixels.
    ///
    /// # Errors
    /// [`DataError::Setting`] naming the one that makes no sense.
    pub fn check(&self, size: usize) -> Result<(), DataError> {
        let wrong = |setting, value: String, reason: &str| {
            Err(DataError::Setting { setting, value, reason: reason.to_string() })
        };
        match self.crop {
            Crop::Padded { padding, .. } if padding >= size => {
                return wrong("padding", padding.to_string(), "but must be smaller than the image");
            }
            Crop::RandomResized { area: [low, high], .. } if !(low > 0.0 && low <= high && high <= 1.0) => {
                return wrong("area", format!("[{low}, {high}]"), "but must rise within 0 to 1");
            }
            Crop::RandomResized { ratio: [low, high], .. } if !(low > 0.0 && low <= high && high.is_finite()) => {
                return wrong("ratio", format!("[{low}, {high}]"), "but must be positive and rise");
            }
            _ => {}
        }
        if let Some(side) = self.cutout
            && (side == 0 || side > 2 * size)
        {
            return wrong("cutout", side.to_string(), "but must be 1 to twice the size of the image");
        }
        if let Some(rand_augment) = &self.rand_augment {
            rand_augment.check()?;
        }
        if let Some(jitter) = &self.colour_jitter {
            jitter.check()?;
        }
        self.mixing().check()
    }

    /// What is done to the images of a batch together.
    pub(super) fn mixing(&self) -> Mixing {
        Mixing { mixup: self.mixup, cutmix: self.cutmix }
    }

    fn changes_colours(&self) -> bool {
        self.rand_augment.is_some() || self.colour_jitter.is_some()
    }

    /// Whether a view costs enough to be worth another thread.
    pub(super) fn is_heavy(&self) -> bool {
        matches!(self.crop, Crop::RandomResized { .. }) || self.changes_colours()
    }

    /// Writes one view of `image` (size×size×3 bytes) to `out` (size×size×3, normalised by `table`).
    pub(super) fn view(
        &self,
        image: &[u8],
        size: usize,
        table: &[[f32; 256]; 3],
        rng: &mut ChaCha8Rng,
        out: &mut [f32],
    ) {
        match self.crop {
            Crop::None => {
                let flipped = self.flip && rng.random();
                shifted(image, size, table, [0, 0], Border::Mean, flipped, out);
            }
            Crop::Padded { padding, border } => {
                let padding = padding as i32;
                let shift = [0, 1].map(|_| rng.random_range(-padding..=padding));
                let flipped = self.flip && rng.random();
                shifted(image, size, table, shift, border, flipped, out);
            }
            Crop::RandomResized { area, ratio } => {
                let window = Window::draw(size, area, ratio, rng);
                let flipped = self.flip && rng.random();
                window.resized(image, size, table, flipped, out);
            }
        }
        if self.changes_colours() {
            let constants = Constants::of(table);
            constants.undo(out);
            if let Some(rand_augment) = &self.rand_augment {
                rand_augment.apply(out, size, constants.mean, rng);
            }
            if let Some(jitter) = &self.colour_jitter {
                jitter.apply(out, rng);
            }
            constants.apply(out);
        }
        if let Some(side) = self.cutout {
            let (row, column) = (rng.random_range(0..size), rng.random_range(0..size));
            let span = |centre: usize| {
                let start = centre as i64 - side as i64 / 2;
                start.max(0) as usize..(start + side as i64).clamp(0, size as i64) as usize
            };
            for y in span(row) {
                let columns = span(column);
                out[(y * size + columns.start) * 3..(y * size + columns.end) * 3].fill(0.0);
            }
        }
    }
}

/// What values from 0 to 1 are normalised with.
struct Constants {
    mean: [f32; 3],
    std: [f32; 3],
}

impl Constants {
    /// Those that the table was made with.
    fn of(table: &[[f32; 256]; 3]) -> Constants {
        let std = table.map(|values| 1.0 / (values[255] - values[0]));
        Constants { mean: std::array::from_fn(|channel| -table[channel][0] * std[channel]), std }
    }

    /// Back to values from 0 to 1.
    fn undo(&self, pixels: &mut [f32]) {
        for pixel in pixels.chunks_exact_mut(3) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = (*value * self.std[channel] + self.mean[channel]).clamp(0.0, 1.0);
            }
        }
    }

    fn apply(&self, pixels: &mut [f32]) {
        for pixel in pixels.chunks_exact_mut(3) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = (*value - self.mean[channel]) / self.std[channel];
            }
        }
    }
}

/// The image shifted by `[down, right]`, then mirrored if `flipped`, normalised.
fn shifted(
    image: &[u8],
    size: usize,
    table: &[[f32; 256]; 3],
    [down, right]: [i32; 2],
    border: Border,
    flipped: bool,
    out: &mut [f32],
) {
    let source = |place: usize, shift: i32| -> Option<usize> {
        let (place, last) = (place as i32 + shift, size as i32 - 1);
        match border {
            _ if (0..=last).contains(&place) => Some(place as usize),
            Border::Mean => None,
            Border::Reflect if place < 0 => Some(-place as usize),
            Border::Reflect => Some((2 * last - place) as usize),
        }
    };
    let column = |x: usize| source(if flipped { size - 1 - x } else { x }, right);
    let columns: Vec<Option<usize>> = (0..size).map(column).collect();
    for (y, row) in out.chunks_exact_mut(size * 3).enumerate() {
        let Some(from) = source(y, down) else {
            row.fill(0.0);
            continue;
        };
        let from = &image[from * size * 3..(from + 1) * size * 3];
        for (pixel, column) in row.chunks_exact_mut(3).zip(&columns) {
            match column {
                Some(x) => normalise(&from[x * 3..x * 3 + 3], table, pixel),
                None => pixel.fill(0.0),
            }
        }
    }
}

/// One image or row without any change of place.
pub(super) fn normalise(bytes: &[u8], table: &[[f32; 256]; 3], out: &mut [f32]) {
    for (pixel, out) in bytes.chunks_exact(3).zip(out.chunks_exact_mut(3)) {
        for channel in 0..3 {
            out[channel] = table[channel][usize::from(pixel[channel])];
        }
    }
}

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug)]
struct Window {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

impl Window {
    /// Ten attempts at a window that fits, as torchvision does; then all of the image that the ratios allow.
    fn draw(size: usize, area: [f64; 2], ratio: [f64; 2], rng: &mut ChaCha8Rng) -> Window {
        let full = (size * size) as f64;
        for _ in 0..10 {
            let target = full * (area[0] + (area[1] - area[0]) * rng.random::<f64>());
            let (low, high) = (ratio[0].ln(), ratio[1].ln());
            let aspect = (low + (high - low) * rng.random::<f64>()).exp();
            let width = (target * aspect).sqrt().round() as usize;
            let height = (target / aspect).sqrt().round() as usize;
            if (1..=size).contains(&width) && (1..=size).contains(&height) {
                let top = rng.random_range(0..=size - height);
                let left = rng.random_range(0..=size - width);
                return Window { top, left, height, width };
            }
        }
        let aspect = 1.0_f64.clamp(ratio[0], ratio[1]);
        let width = ((size as f64 * aspect.min(1.0)).round() as usize).max(1);
        let height = ((size as f64 / aspect.max(1.0)).round() as usize).max(1);
        Window { top: (size - height) / 2, left: (size - width) / 2, height, width }
    }

    /// The window enlarged (it is never larger than the image) to size×size, bilinear, normalised.
    fn resized(&self, image: &[u8], size: usize, table: &[[f32; 256]; 3], flipped: bool, out: &mut [f32]) {
        let axis = |start: usize, length: usize| -> Vec<(usize, usize, f32)> {
            let scale = length as f32 / size as f32;
            let tap = |place: usize| {
                let centre = ((place as f32 + 0.5) * scale - 0.5).clamp(0.0, (length - 1) as f32);
                let low = centre as usize;
                (start + low, start + (low + 1).min(length - 1), centre - low as f32)
            };
            (0..size).map(tap).collect()
        };
        let (rows, mut columns) = (axis(self.top, self.height), axis(self.left, self.width));
        if flipped {
            columns.reverse();
        }
        for (&(above, below, down), row) in rows.iter().zip(out.chunks_exact_mut(size * 3)) {
            for (&(left, right, across), pixel) in columns.iter().zip(row.chunks_exact_mut(3)) {
                for (channel, out) in pixel.iter_mut().enumerate() {
                    let at = |y: usize, x: usize| table[channel][usize::from(image[(y * size + x) * 3 + channel])];
                    let top = at(above, left) + (at(above, right) - at(above, left)) * across;
                    let bottom = at(below, left) + (at(below, right) - at(below, left)) * across;
                    *out = top + (bottom - top) * down;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    /// Bytes as they are, plus one so that no byte looks like the mean colour.
    fn table() -> [[f32; 256]; 3] {
        std::array::from_fn(|_| std::array::from_fn(|byte| byte as f32 + 1.0))
    }

    /// A size×size image whose red is the row, green the column.
    fn coordinates(size: usize) -> Vec<u8> {
        (0..size * size).flat_map(|place| [(place / size) as u8, (place % size) as u8, 7]).collect()
    }

    fn red_and_green(out: &[f32], size: usize, y: usize, x: usize) -> (f32, f32) {
        (out[(y * size + x) * 3] - 1.0, out[(y * size + x) * 3 + 1] - 1.0)
    }

    #[test]
    fn a_shift_moves_every_pixel_and_mirrors_what_is_left() {
        let (size, mut out) = (6, vec![0.0; 6 * 6 * 3]);
        shifted(&coordinates(size), size, &table(), [2, -1], Border::Mean, false, &mut out);
        assert_eq!(red_and_green(&out, size, 0, 1), (2.0, 0.0));
        assert_eq!(red_and_green(&out, size, 3, 5), (5.0, 4.0));
        assert!(out[..3].iter().all(|&value| value == 0.0)); // column 0 comes from beyond the border
        assert!(out[4 * size * 3..].iter().all(|&value| value == 0.0)); // rows 4 and 5 too
        shifted(&coordinates(size), size, &table(), [2, -1], Border::Reflect, false, &mut out);
        assert_eq!(red_and_green(&out, size, 0, 0), (2.0, 1.0));
        assert_eq!(red_and_green(&out, size, 5, 3), (3.0, 2.0));
        shifted(&coordinates(size), size, &table(), [0, 0], Border::Mean, true, &mut out);
        assert_eq!(red_and_green(&out, size, 4, 0), (4.0, 5.0));
    }

    #[test]
    fn a_window_of_everything_is_the_image_and_half_of_it_is_enlarged() {
        let (size, mut out) = (8, vec![0.0; 8 * 8 * 3]);
        Window { top: 0, left: 0, height: 8, width: 8 }.resized(&coordinates(size), size, &table(), false, &mut out);
        assert_eq!(red_and_green(&out, size, 5, 3), (5.0, 3.0));
        Window { top: 2, left: 4, height: 4, width: 4 }.resized(&coordinates(size), size, &table(), false, &mut out);
        assert_eq!(red_and_green(&out, size, 0, 0), (2.0, 4.0));
        assert_eq!(red_and_green(&out, size, 3, 4), (2.0 + 1.25, 4.0 + 1.75));
        assert_eq!(red_and_green(&out, size, 7, 7), (5.0, 7.0));
    }

    #[test]
    fn windows_stay_inside_and_have_the_areas_and_ratios_asked_for() {
        let mut rng = generator(0, Purpose::Augment, 0, 0);
        for _ in 0..2000 {
            let window = Window::draw(64, [0.08, 1.0], [0.75, 4.0 / 3.0], &mut rng);
            assert!(window.top + window.height <= 64 && window.left + window.width <= 64);
            let ratio = window.width as f64 / window.height as f64;
            assert!((0.65..1.5).contains(&ratio), "{window:?}");
            assert!(window.width * window.height >= 290, "{window:?}");
        }
        let window = Window::draw(64, [1.0, 1.0], [2.0, 2.0], &mut rng);
        assert_eq!((window.width, window.height, window.top), (64, 32, 16));
    }

    #[test]
    fn a_cutout_blanks_a_square_and_half_the_images_are_flipped() {
        let size = 16;
        let augmentation = Augmentation { flip: true, cutout: Some(4), ..Augmentation::none() };
        let (mut flips, mut largest) = (0, 0);
        for seed in 0..400 {
            let mut out = vec![0.0; size * size * 3];
            let mut rng = generator(seed, Purpose::Augment, 0, 0);
            augmentation.view(&coordinates(size), size, &table(), &mut rng, &mut out);
            let blank = out.chunks_exact(3).filter(|pixel| **pixel == [0.0; 3]).count();
            assert!((4..=16).contains(&blank));
            largest = largest.max(blank);
            let shown = (0..size * size).find(|place| out[place * 3] != 0.0).unwrap();
            flips += usize::from(red_and_green(&out, size, shown / size, shown % size).1 != (shown % size) as f32);
        }
        assert_eq!(largest, 16);
        assert!((150..250).contains(&flips), "{flips}");
    }

    #[test]
    fn operations_that_change_nothing_give_the_bytes_back() {
        let size = 16;
        let table = std::array::from_fn(|channel| {
            std::array::from_fn(|byte| {
                (byte as f32 / 255.0 - [0.49, 0.48, 0.45][channel]) / [0.25, 0.24, 0.26][channel]
            })
        });
        let image: Vec<u8> = (0..size * size * 3).map(|at| (at * 7 % 256) as u8).collect();
        let view = |augmentation: &Augmentation| {
            let mut out = vec![0.0; size * size * 3];
            augmentation.view(&image, size, &table, &mut generator(3, Purpose::Augment, 0, 0), &mut out);
            out
        };
        let crop = Crop::Padded { padding: 2, border: Border::Mean };
        let plain = Augmentation { crop, flip: true, ..Augmentation::none() };
        let idle = Augmentation { colour_jitter: Some(ColourJitter::default()), ..plain.clone() };
        for (plain, idle) in view(&plain).into_iter().zip(view(&idle)) {
            assert!((plain - idle).abs() < 1e-5, "{plain} {idle}");
        }
        let strong = RandAugment { operations: 2, magnitude: 30.0 };
        let jitter = ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
        let changed = Augmentation { rand_augment: Some(strong), colour_jitter: Some(jitter), ..plain.clone() };
        assert_ne!(view(&changed), view(&plain));
    }

    #[test]
    fn recipes_write_it_briefly() {
        let read = |text: &str| serde_yaml::from_str::<Augmentation>(text);
        assert_eq!(read("{}").unwrap(), Augmentation::default());
        assert_eq!(read("{crop: {kind: random-resized}, flip: true}").unwrap(), Augmentation::photographs());
        let padded = Crop::Padded { padding: 2, border: Border::Reflect };
        let expected = Augmentation { crop: padded, flip: true, cutout: Some(8), ..Augmentation::none() };
        assert_eq!(read("{crop: {kind: padded, padding: 2, border: reflect}, cutout: 8}").unwrap(), expected);
        assert_eq!(read(&serde_yaml::to_string(&expected).unwrap()).unwrap(), expected);
        assert!(read("{mirror: true}").is_err());
        // What is not used is not written: recipes from before there was more keep their text.
        let usual = "crop:\n  kind: padded\n  padding: 4\n  border: mean\nflip: true\ncutout: null\n";
        assert_eq!(serde_yaml::to_string(&Augmentation::default()).unwrap(), usual);
        let all = Augmentation {
            rand_augment: Some(RandAugment { operations: 2, magnitude: 7.5 }),
            colour_jitter: Some(ColourJitter { hue: 0.1, ..ColourJitter::default() }),
            mixup: Some(Mix { alpha: 0.2, share: 1.0 }),
            cutmix: Some(Mix { alpha: 1.0, share: 0.5 }),
            ..Augmentation::default()
        };
        let text = "{rand_augment: {magnitude: 7.5}, colour_jitter: {hue: 0.1}, mixup: {alpha: 0.2}, \
                    cutmix: {alpha: 1, share: 0.5}}";
        assert_eq!(read(text).unwrap(), all);
        assert_eq!(read(&serde_yaml::to_string(&all).unwrap()).unwrap(), all);
        for unknown in ["{mixup: {}}", "{cutmix: {alpha: 1, chance: 1}}", "{colour_jitter: {gamma: 1}}"] {
            assert!(read(unknown).is_err(), "{unknown}");
        }
    }
}
