//! A bundle's space at another size of images: the same blocks, its resolutions scaled, and a stride doubled for every
//! doubling of the size, so that a subnet costs about what it costs there.

use search::error::SearchError;
use search::space::SearchSpace;
use serde_yaml::Value;

/// How many times as large as a bundle's images others may be before they are made smaller.
const MOST_SCALED: usize = 4;
/// Smallest side that a space may offer.
const LEAST: u32 = 16;
/// Sides are multiples of it, so that strides divide them.
const STEP: u32 = 4;

/// Height and width for images whose shorter sides have this median, beside a bundle with images of `native` pixels.
pub(crate) fn image_size(median: u32, native: usize) -> usize {
    let most = (MOST_SCALED * native) as u32;
    (median.clamp(LEAST, most) / STEP * STEP) as usize
}

/// `space`, made for images of `native` pixels, for images of `size` pixels and so many classes.
///
/// # Errors
/// A space that does not hold together at that size.
pub(crate) fn scaled(
    space: &SearchSpace,
    native: usize,
    size: usize,
    classes: usize,
    name: &str,
) -> Result<SearchSpace, SearchError> {
    let mut resolutions: Vec<u32> = space
        .resolutions()
        .iter()
        .map(|resolution| {
            let exact = f64::from(*resolution) * size as f64 / native as f64;
            ((exact / f64::from(STEP)).round() as u32 * STEP).max(LEAST)
        })
        .collect();
    resolutions.dedup();
    let mut file: Value = serde_yaml::from_str(&space.to_yaml()).expect("a space's own file");
    file["name"] = name.into();
    file["resolutions"] = resolutions.into();
    file["classes"] = (classes as u64).into();
    // 48 pixels are nearer to 64 than to 32, and 90 to 128 than to 64.
    let doublings = (size as f64 / native as f64).log2().round().max(0.0) as usize;
    let stages = space.stages().len();
    for _ in 0..doublings {
        let strides = std::iter::once(&file["stem"]["stride"]);
        let strides = strides.chain((0..stages).map(|stage| &file["stages"][stage]["stride"]));
        match strides.into_iter().position(|stride| stride.as_u64() == Some(1)) {
            Some(0) => file["stem"]["stride"] = 2.into(),
            Some(stage) => file["stages"][stage - 1]["stride"] = 2.into(),
            None => break,
        }
    }
    SearchSpace::from_yaml(&serde_yaml::to_string(&file).expect("plain data"))
}

/// The text of a space, each list on the line of its key.
pub(crate) fn text(space: &SearchSpace) -> String {
    let yaml = space.to_yaml();
    let mut lines: Vec<String> = Vec::new();
    let mut list: Vec<&str> = Vec::new();
    let close = |lines: &mut Vec<String>, list: &mut Vec<&str>| {
        if let Some(last) = lines.last_mut().filter(|_| !list.is_empty()) {
            *last = format!("{last} [{}]", list.join(", "));
            list.clear();
        }
    };
    for line in yaml.lines() {
        match line.trim_start().strip_prefix("- ") {
            Some(number) if number.parse::<u32>().is_ok() => list.push(number),
            _ => {
                close(&mut lines, &mut list);
                lines.push(line.to_owned());
            }
        }
    }
    close(&mut lines, &mut list);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, size: usize, resolutions: &[u32]) {
        let space = SearchSpace::builtin(name).unwrap();
        let other = scaled(&space, 32, size, 7, "flowers").unwrap();
        assert_eq!((other.resolutions(), other.classes(), &*other.id().0), (resolutions, 7, "flowers"));
        let most = |space: &SearchSpace| {
            let resolutions = space.resolutions();
            space.lower(&space.largest(resolutions[resolutions.len() - 1]).unwrap()).macs().0 as f64
        };
        // About as expensive, but for the rounding of what is no power of two.
        let ratio = most(&other) / most(&space);
        assert!((0.4..2.1).contains(&ratio), "{name} at {size}: {ratio}");
        assert_eq!(SearchSpace::from_yaml(&text(&other)).unwrap(), other);
    }

    #[test]
    fn resolutions_follow_the_images_and_costs_stay() {
        check("mcu-cifar", 32, &[24, 28, 32]);
        check("mcu-cifar", 28, &[20, 24, 28]);
        check("mcu-cifar", 64, &[48, 56, 64]);
        check("mcu-cifar", 128, &[96, 112, 128]);
        check("fbnet-cifar", 64, &[48, 56, 64, 72, 80]);
    }

    #[test]
    fn a_size_is_that_of_the_images_within_what_a_space_can_follow() {
        let sizes = [8, 28, 30, 64, 500].map(|median| image_size(median, 32));
        assert_eq!(sizes, [16, 28, 28, 64, 128]);
    }

    #[test]
    fn a_text_has_each_list_on_one_line() {
        let text = text(&SearchSpace::builtin("mcu-cifar").unwrap());
        assert!(text.contains("resolutions: [24, 28, 32]\n") && text.contains("  expands: [2, 3, 4]\n"), "{text}");
    }
}
