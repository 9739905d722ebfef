//! The files of a new folder, as text, with a comment for everything that may be changed.

use network::units::Quantity;
use search::space::SearchSpace;

use super::scale;
use super::schedule::Schedule;
use crate::build::file::SCHEMA as BUILD_SCHEMA;
use crate::sweep::file::SCHEMA as SWEEP_SCHEMA;

/// How far from the cheapest to the most expensive subnet budgets are, in percent: close where accuracy is steep.
pub(crate) const BUDGETS: [u32; 12] = [2, 5, 9, 14, 20, 27, 35, 44, 54, 66, 80, 100];

/// What the recipe is about.
pub(crate) struct RecipeFacts<'a> {
    /// Name of it, and of its space.
    pub(crate) name: &'a str,
    /// Bundle that it takes after.
    pub(crate) like: &'a str,
    /// Bundle whose weights it begins with, if it does.
    pub(crate) begins_with: Option<&'a str>,
    /// Source of images, by its whole path.
    pub(crate) data: &'a str,
    /// Height and width of images.
    pub(crate) size: usize,
    /// Shorter sides of the images: smallest, median, largest.
    pub(crate) sides: [u32; 3],
    /// Images to train on, held out, for testing.
    pub(crate) images: [usize; 3],
    /// Mean and deviation of each channel.
    pub(crate) normalisation: [[f64; 3]; 2],
    /// Images in a batch.
    pub(crate) batch: usize,
    /// Batches of calibration, and images in each.
    pub(crate) calibration: (usize, usize),
    /// Seed of everything.
    pub(crate) seed: u64,
}

/// Largest learning rate of the shipped recipe, for its batches.
const RATE: f64 = 0.2;
const ELASTIC_RATE: f64 = 0.12;
const BATCH: f64 = 128.0;
/// Below so many images weights are held smaller.
const FEW: usize = 10_000;
/// Below so many images seen, each as often as it is, a training begins with the weights of a bundle that has seen more:
/// fresh ones would still be learning.
const SEEN: u64 = 1_000_000;

/// Whether a training on so many images, for so many epochs, goes further from weights that have seen many others.
pub(crate) fn is_short_of_images(train: usize, epochs: u64) -> bool {
    train < FEW || train as u64 * epochs < SEEN
}

/// `recipe.yaml`, with so many epochs of the largest subnet alone and of all of them.
pub(crate) fn recipe(facts: &RecipeFacts<'_>, epochs: [u64; 2]) -> String {
    let RecipeFacts { name, like, size, sides, images, batch, seed, .. } = facts;
    let data = quoted(facts.data);
    let [train, held_out, test] = images;
    let [mean, std] = facts.normalisation.map(|values| values.map(|value| format!("{value:.4}")).join(", "));
    let rate = |largest: f64| format!("{:.3}", largest * *batch as f64 / BATCH);
    let decay = if *train < FEW { "5.0e-4" } else { "2.0e-4" };
    let init = match facts.begins_with {
        Some(bundle) => format!("init: {}", quoted(bundle)),
        None => format!("# init: {}", quoted(like)),
    };
    let warm_up = |epochs: u64| if epochs >= 10 { "1" } else { "0" };
    let (full, elastic) = (epochs[0], epochs[1]);
    let (about, count, largest) = match full {
        0 => ("", "one phase", String::new()),
        _ => {
            let (rate, warm_up) = (rate(RATE), warm_up(full));
            let phase = format!(
                "name: full, epochs: {full}, learning_rate: {rate}, warm_up_epochs: {warm_up}, with_largest: true"
            );
            (
                "; the two phases want about as many",
                "two phases",
                format!("  # The largest alone.\n  - {{ {phase} }}\n"),
            )
        }
    };
    format!(
        "# How the supernet is trained. `ofa build` trains it again when this file says something else.
schema: ofa.recipe/1
name: {name}
space: space.yaml
# {train} images to train on, {held_out} held out, {test} to test with; shorter sides {} to {} pixels, median {}.
data: {data}
# A bundle whose weights it begins with, all but the classifier: few images go further from there. Without it, fresh ones.
{init}
# The shorter side is resized to it, and the centre cropped.
image_size: {size}
# Images that all decisions are made by; the test images decide nothing.
held_out: {held_out}
seed: {seed}
batch_size: {batch}
weight_decay: {decay}
label_smoothing: 0.05
augmentation:
  crop: {{ kind: padded, padding: {}, border: mean }}
  # false where left and right matter: text, digits, road signs.
  flip: true
# Of your images.
normalisation: {{ mean: [{mean}], std: [{std}] }}
# Images that a subnet's batch-norm statistics are taken from.
calibration: {{ batches: {}, batch_size: {} }}
# More epochs take longer in proportion{about}. After `{like}`, in {count} instead of four.
phases:
{largest}  # All of them: the largest, the smallest and a random one in every step. The largest learns from the labels and teaches the
  # others.
  - name: elastic
    epochs: {elastic}
    learning_rate: {}
    warm_up_epochs: {}
    kernels: all
    depths: all
    expands: all
    with_largest: true
    with_smallest: true
    random_subnets: 1
    distillation: 1.0
    label_loss: 0.5
    teacher: largest
    sort_channels: true
",
        sides[0],
        sides[2],
        sides[1],
        size / 8,
        facts.calibration.0,
        facts.calibration.1,
        rate(if full > 0 { ELASTIC_RATE } else { RATE }),
        warm_up(elastic),
    )
}

/// A path or name as YAML reads it back whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `space.yaml`.
pub(crate) fn space(space: &SearchSpace, like: &str, [least, most]: [u64; 2]) -> String {
    let million = |macs: u64| format!("{:.1}", macs as f64 / 1e6);
    format!(
        "# What the networks are chosen from: {} to {} M MACs. The blocks of `{like}`, at your images' size; where that is\n\
         # larger, strides are, too, so that a network costs about what it costs there. A stride of 1 instead of 2 makes\n\
         # everything behind it four times as expensive.\n{}",
        million(least),
        million(most),
        scale::text(space)
    )
}

/// `sweep.yaml`.
pub(crate) fn sweep(name: &str, target: &str, quantity: Quantity) -> String {
    let budgets: String = BUDGETS.iter().map(|percent| format!("  - {{{}: {percent}%}}\n", quantity.name())).collect();
    format!(
        "# Which networks are looked for: the best within each budget, on each target (`ofa target list`).
schema: {SWEEP_SCHEMA}
name: {name}
targets: [{target}]
# What the stage `train` makes, beside this file.
bundles: [supernet]
# So far from the cheapest to the most expensive subnet, or absolute: {{latency: 2ms}}, {{macs: 5M}}.
budgets:
{budgets}"
    )
}

/// `build.yaml`.
pub(crate) fn build(schedule: &Schedule, seed: u64) -> String {
    format!(
        "# What `ofa build` does between training and search, and after them. A setting that is changed makes again what\n\
         # depends on it, and nothing else.
schema: {BUILD_SCHEMA}
# Subnets whose accuracy is measured, for the predictor.
collect: {{ pairs: {}, seed: {seed} }}
# ensemble, additive, mlp, or auto for the best of the three, which takes longer.
fit: {{ model: ensemble }}
# Updates of the images that the bundle gets for calibration without data; 0 for none.
calibrate: {{ steps: {} }}
# Passes over the images that each network is trained on by itself, the largest its teacher; minutes for each, so 0.
finetune: {{ epochs: 0 }}
# What each network is written as, beside its weights: onnx, tflite.
export: {{ formats: [onnx, tflite] }}
",
        schedule.pairs, schedule.updates
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::recipe_file::Recipe;

    /// A recipe for so many training images, read back.
    fn read_back(data: &str, begins_with: Option<&str>) -> Recipe {
        let facts = RecipeFacts {
            name: "flowers",
            like: "mcu-cifar",
            begins_with,
            data,
            size: 32,
            sides: [32, 40, 64],
            images: [100, 20, 20],
            normalisation: [[0.5; 3], [0.25; 3]],
            batch: 32,
            calibration: (5, 20),
            seed: 0,
        };
        serde_yaml::from_str(&recipe(&facts, [2, 2])).unwrap()
    }

    #[test]
    fn a_recipe_names_any_path_and_the_bundle_that_it_begins_with() {
        let odd = "folder:/home/o'neil/# my: photos";
        let fresh = read_back(odd, None);
        assert_eq!((fresh.data.as_deref(), fresh.init), (Some(odd), None));
        let bundle = "/home/o'neil/bundle";
        assert_eq!(read_back(odd, Some(bundle)).init.as_deref(), Some(bundle));
    }

    #[test]
    fn few_images_and_short_trainings_begin_with_weights_that_have_seen_many() {
        assert!(is_short_of_images(1800, 700) && is_short_of_images(55_000, 4));
        assert!(!is_short_of_images(55_000, 80) && !is_short_of_images(FEW, 100));
    }

    #[test]
    fn budgets_rise_to_everything() {
        assert!(BUDGETS.is_sorted() && BUDGETS[11] == 100);
        let text = sweep("flowers", "pixel3", Quantity::Latency);
        assert!(text.contains("  - {latency: 2%}\n") && text.contains("  - {latency: 100%}\n"), "{text}");
    }
}
