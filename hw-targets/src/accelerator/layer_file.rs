//! The layer file of the published energy-estimation tool: one line per layer, 25 numbers.
//!
//! In order: the layer's index, from 1; height, width, channels, maps, zero entries and bit width of the input; height,
//! width, channels, filters, zero entries and bit width of the weights; six numbers of the output, as of the input;
//! vertical and horizontal stride; padding at the top, bottom, left and right. Maps are the images of a batch. Zero
//! entries are counted over the whole tensor. Empty lines are skipped; there is no header.

use std::path::Path;

use super::layer::{Layer, LayerShape, TensorShape};
use crate::error::HwError;
use storage::file::{FileError, read_text};

/// Numbers of one line.
const NUMBERS: usize = 25;
/// Beyond this many layers a file is something else.
const MOST_LAYERS: usize = 10_000;
/// Bytes of text that are quoted back.
const QUOTED: usize = 40;

const FIELDS: [&str; NUMBERS] = [
    "layer index",
    "ifmap height",
    "ifmap width",
    "ifmap channels",
    "ifmap maps",
    "ifmap zero entries",
    "ifmap bitwidth",
    "filter height",
    "filter width",
    "filter channels",
    "filter filters",
    "filter zero entries",
    "filter bitwidth",
    "ofmap height",
    "ofmap width",
    "ofmap channels",
    "ofmap maps",
    "ofmap zero entries",
    "ofmap bitwidth",
    "stride y",
    "stride x",
    "padding top",
    "padding bottom",
    "padding left",
    "padding right",
];

impl Layer {
    /// Reads a layer file.
    ///
    /// # Errors
    /// [`HwError::BadLayer`] with line and field, [`HwError::EmptyLayers`], and those of reading the file.
    pub fn read_file(path: &Path) -> Result<Vec<Self>, HwError> {
        if !path.exists() {
            return Err(FileError::not_found(path).into());
        }
        Self::parse_file(path, &read_text(path, "layer")?)
    }

    /// Reads the text of a layer file; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Layer::read_file`].
    pub fn parse_file(path: &Path, text: &str) -> Result<Vec<Self>, HwError> {
        let mut layers = Vec::new();
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let bad = |field: &str, problem: String, hint: &str| HwError::BadLayer {
                path: path.to_path_buf(),
                line: at as u64 + 1,
                field: field.to_owned(),
                problem,
                hint: hint.to_owned(),
            };
            if layers.len() == MOST_LAYERS {
                return Err(bad(FIELDS[0], format!("there are more than {MOST_LAYERS} layers"), "split the file"));
            }
            let numbers = numbers(line).map_err(|(field, problem, hint)| bad(field, problem, hint))?;
            let index = layers.len() as u64 + 1;
            if numbers[0] != index {
                let problem = format!("{} is not {index}, where this layer stands", numbers[0]);
                return Err(bad(FIELDS[0], problem, "number the layers from 1, one line each, without gaps"));
            }
            let tensor = |from: usize| TensorShape {
                height: numbers[from],
                width: numbers[from + 1],
                channels: numbers[from + 2],
                count: numbers[from + 3],
                zeros: numbers[from + 4],
                bits: numbers[from + 5],
            };
            let shape = LayerShape {
                ifmap: tensor(1),
                filter: tensor(7),
                ofmap: tensor(13),
                stride: [numbers[19], numbers[20]],
                padding: [numbers[21], numbers[22], numbers[23], numbers[24]],
            };
            let layer =
                Layer::new(index.to_string(), &shape).map_err(|wrong| bad(&wrong.field, wrong.problem, &wrong.hint))?;
            layers.push(layer);
        }
        if layers.is_empty() {
            return Err(HwError::EmptyLayers { path: path.to_path_buf() });
        }
        Ok(layers)
    }
}

/// The numbers of a line; or the field, what is wrong, and what to try.
fn numbers(line: &str) -> Result<[u64; NUMBERS], (&'static str, String, &'static str)> {
    let mut numbers = [0; NUMBERS];
    // A comma at the end is how some writers end a line.
    let line = line.trim();
    let cells = line.strip_suffix(',').unwrap_or(line).split(',');
    let mut count = 0;
    for cell in cells {
        if count < NUMBERS {
            let cell = cell.trim();
            numbers[count] = cell.parse().map_err(|_| {
                let quoted: String = cell.chars().take(QUOTED).collect();
                let problem = format!("{quoted:?} is not a whole number at or above 0");
                (FIELDS[count], problem, "write 25 whole numbers separated by commas, and no header")
            })?;
        }
        count += 1;
    }
    if count != NUMBERS {
        let hint = "index; six numbers each of input, filters, output; two of the stride; four of the padding";
        return Err(("numbers", format!("there are {count} instead of {NUMBERS}"), hint));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use storage::failure::Failure;

    use super::super::{Accelerator, estimate_network};
    use super::*;

    const CONV2: &str = "1,27,27,96,4,0,16,5,5,48,256,0,16,27,27,256,4,0,16,1,1,2,2,2,2";

    fn parse(text: &str) -> Result<Vec<Layer>, HwError> {
        Layer::parse_file(Path::new("net.csv"), text)
    }

    fn check(text: &str, words: &[&str]) {
        let error = parse(text).unwrap_err();
        let said = format!("{error} {}", error.hint().unwrap_or_default());
        for word in ["net.csv"].iter().chain(words) {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    }

    /// The line with its number `at` replaced.
    fn with(at: usize, value: &str) -> String {
        let mut cells: Vec<&str> = CONV2.split(',').collect();
        cells[at] = value;
        cells.join(",")
    }

    #[test]
    fn a_grouped_layer_is_read_with_spaces_and_empty_lines() {
        let layers = parse(&format!("\u{feff}\r\n {} ,\r\n\n", CONV2.replace(',', " , "))).unwrap();
        assert_eq!((layers[0].groups, layers[0].channels, layers[0].filters), (2, 48, 128));
        assert_eq!(layers[0].macs(), 223_948_800.0);
        assert_eq!((layers[0].images(), layers[0].padded_width), (4, 31));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        check("", &["no layer"]);
        check(&format!("{CONV2}\n{CONV2}"), &["line 2", "layer index", "2"]);
        check(&with(0, "0"), &["line 1", "layer index"]);
        check(&with(1, "tall"), &["ifmap height", "\"tall\"", "whole number"]);
        check(&with(1, "-3"), &["ifmap height", "-3"]);
        check(&with(5, "0.5"), &["ifmap zero entries", "0.5"]);
        check(&with(5, "999999999"), &["ifmap zero entries", "279936"]);
        check(&with(1, "99999999999999999999999"), &["ifmap height"]);
        check(&with(1, "18446744073709551615"), &["ifmap height", "1048576"]);
        check(&with(4, "0"), &["ifmap maps", "65536"]);
        check(&with(6, "0"), &["ifmap bitwidth", "64"]);
        check(&with(7, "50"), &["filter height", "31"]);
        check(&with(9, "7"), &["filter channels", "depthwise"]);
        check(&with(10, "255"), &["filter filters", "2 groups"]);
        check(&with(13, "28"), &["ofmap height", "28", "27"]);
        check(&with(15, "255"), &["ofmap channels", "256"]);
        check(&with(16, "5"), &["ofmap maps", "4"]);
        check(&with(19, "0"), &["stride y"]);
        check(&CONV2[..CONV2.len() - 2], &["numbers", "24", "25"]);
        check(&format!("{CONV2},7"), &["numbers", "26", "25"]);
        check(&format!("layer,height\n{CONV2}"), &["line 1", "no header"]);
        let large =
            "1,1048576,1048576,1048576,1,0,16,1048576,1048576,1048576,1048576,0,16,1,1,1048576,1,0,16,1,1,0,0,0,0";
        check(large, &["2^53"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Whatever the text, there is a layer or an error, and a layer has an energy or an error.
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_damage_to_a_good_line_makes_it_panic(
            changes in prop::collection::vec((0usize..25, prop_oneof![
                any::<u64>().prop_map(|number| number.to_string()),
                (0u64..300).prop_map(|number| number.to_string()),
                (0u32..64).prop_map(|power| (1u64 << power).to_string()),
                "[-+.,0-9eE a-z]{0,8}",
            ]), 1..4),
        ) {
            let mut cells: Vec<String> = CONV2.split(',').map(str::to_owned).collect();
            for (at, value) in changes {
                cells[at] = value;
            }
            if let Ok(layers) = parse(&cells.join(",")) {
                let _ = estimate_network(&layers, &Accelerator::builtin("eyeriss").unwrap());
            }
        }
    }
}
