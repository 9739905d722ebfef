//! What a sweep's file says about the stages before and after its searches.
//!
//! ```yaml
//! data: parquet:../cifar10             # for all of these; `--data` names the same images elsewhere
//! train:                               # bundles: every recipe, in every space
//!   recipes: [shrinking.yaml, sandwich.yaml]
//!   spaces: [mcu-cifar]                # without it, each recipe's own
//!   collect: {pairs: 400, seed: 0}     # what their predictors are fitted to
//! networks:                            # what becomes of every subnet found; {} takes it out and measures it
//!   refine: images                     # or: predictor
//!   finetune: {epochs: 5, set: [learning_rate=0.02]}
//!   export: [onnx, tflite]
//! ```

use crate::stages::settings::{Collect, Finetune, Format};
use crate::sweep::matrix::{Axis, Place};
use crate::sweep::yaml::{Node, Reader, place};

/// Bundles that a sweep trains.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrainSettings {
    /// All of them.
    pub(crate) bundles: Vec<Trained>,
    /// What their predictors are fitted to.
    pub(crate) collect: Collect,
}

/// A bundle that a sweep trains.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trained {
    /// What it is called: the recipe's file, and the space where several are asked for.
    pub(crate) name: String,
    /// The recipe's file, as the sweep's names it.
    pub(crate) recipe: String,
    /// The space instead of the recipe's own.
    pub(crate) space: Option<String>,
    /// Where the recipe stands.
    pub(crate) at: Place,
    /// Where the space stands.
    pub(crate) space_at: Place,
}

/// What becomes of every subnet that is found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetworkSettings {
    /// Whether, and by what, what the search left of the budget is spent between the points of the grid.
    pub(crate) refine: Option<Judge>,
    /// How it is trained on.
    pub(crate) finetune: Finetune,
    /// Which files are written.
    pub(crate) formats: Vec<Format>,
    /// Where they stand.
    pub(crate) at: Place,
}

/// What a refinement goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// Held-out images.
    Images,
    /// The predictor alone.
    Predictor,
}

impl Judge {
    /// Its name in a file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Judge::Images => "images",
            Judge::Predictor => "predictor",
        }
    }
}

/// Pairs and epochs beyond which a number is a slip.
const MOST: u64 = 1_000_000;
/// Pairs that a predictor is fitted to, where the file does not say.
const PAIRS: usize = 400;

pub(crate) fn train(reader: &mut Reader, node: &Node<'_>) -> TrainSettings {
    let (mut recipes, mut spaces): (Axis<String>, Axis<Option<String>>) = (Vec::new(), Vec::new());
    let mut collect = Collect { pairs: PAIRS, seed: 0 };
    let before = reader.mistakes.len();
    for (field, value) in reader.fields(node, "`train`", &["recipes", "spaces", "collect"]) {
        match field {
            "recipes" => recipes = reader.distinct(value, field, |reader, node| reader.text(node, field)),
            "spaces" => spaces = reader.distinct(value, field, |reader, node| reader.text(node, field).map(Some)),
            _ => {
                for (field, value) in reader.fields(value, "`collect`", &["pairs", "seed"]) {
                    let least = if field == "pairs" { 20 } else { 0 };
                    let Some(number) = reader.whole(value, field, least) else { continue };
                    match field {
                        "pairs" if number > MOST => {
                            reader.wrong(place(value), format!("`pairs` takes a whole number from 20 to {MOST}"));
                        }
                        "pairs" => collect.pairs = number as usize,
                        _ => collect.seed = number,
                    }
                }
            }
        }
    }
    if recipes.is_empty() && reader.mistakes.len() == before {
        reader.wrong(place(node), "`train` has `recipes`, for example [shrinking.yaml]");
    }
    let stem = |path: &str| {
        let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
        name.trim_end_matches(".yaml").trim_end_matches(".yml").trim_end_matches(".space").to_owned()
    };
    let own = [(None, place(node))];
    let spaces = if spaces.is_empty() { own.as_slice() } else { spaces.as_slice() };
    let mut bundles: Vec<Trained> = Vec::new();
    for (recipe, at) in &recipes {
        for (space, space_at) in spaces {
            let name = match space {
                Some(space) if spaces.len() > 1 => format!("{}-{}", stem(recipe), stem(space)),
                _ => stem(recipe),
            };
            if name.is_empty() || name.chars().all(|letter| letter == '.') {
                reader.wrong(*at, format!("`{recipe}` gives a bundle no name; give the file another one"));
            }
            if bundles.iter().any(|other| other.name == name) {
                reader.wrong(*at, format!("two bundles would be called `{name}`; give their files other names"));
            }
            let (recipe, space) = (recipe.clone(), space.clone());
            bundles.push(Trained { name, recipe, space, at: *at, space_at: *space_at });
        }
    }
    TrainSettings { bundles, collect }
}

pub(crate) fn networks(reader: &mut Reader, node: &Node<'_>) -> NetworkSettings {
    let mut settings =
        NetworkSettings { refine: None, finetune: Finetune::default(), formats: Vec::new(), at: place(node) };
    for (field, value) in reader.fields(node, "`networks`", &["refine", "finetune", "export"]) {
        match field {
            "refine" => {
                let word = reader.text(value, field);
                settings.refine =
                    [Judge::Images, Judge::Predictor].into_iter().find(|judge| Some(judge.name()) == word.as_deref());
                if let Some(word) = word.filter(|_| settings.refine.is_none()) {
                    reader.wrong(place(value), format!("`refine` goes by `images` or `predictor`, not by `{word}`"));
                }
            }
            "finetune" => {
                for (field, value) in reader.fields(value, "`finetune`", &["epochs", "set"]) {
                    match field {
                        "epochs" => settings.finetune.epochs = reader.whole(value, field, 1).unwrap_or(1),
                        _ => {
                            let entries = reader.list(value, field);
                            settings.finetune.set =
                                entries.iter().filter_map(|node| reader.text(node, field)).collect();
                        }
                    }
                }
                if settings.finetune.epochs == 0 {
                    reader.wrong(place(value), "`finetune` has `epochs`, for example {epochs: 5}");
                }
            }
            _ => {
                let formats = reader.distinct(value, field, |reader, node| {
                    let word = reader.text(node, "export")?;
                    let found = [("onnx", Format::Onnx), ("tflite", Format::Tflite)]
                        .into_iter()
                        .find(|(name, _)| *name == word);
                    if found.is_none() {
                        reader.wrong(place(node), format!("there is no format `{word}`; there are onnx, tflite"));
                    }
                    found.map(|(_, format)| format)
                });
                settings.formats = formats.into_iter().map(|(format, _)| format).collect();
            }
        }
    }
    settings
}
