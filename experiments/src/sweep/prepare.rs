//! What a sweep makes before it searches: bundles, trained by recipes, and predictors, fitted to what was measured of bundles.
//!
//! | stage | depends on | makes, in the folder of results |
//! |---|---|---|
//! | train | recipe, space, images, starting weights | `bundles/NAME/supernet/`, with the bundle in it |
//! | collect | weights, images, pairs, seed | `accuracy.parquet` of that bundle |
//! | fit | measurements, model | `predictor.safetensors` of that bundle, or a file in `bundles/NAME` or `predictors` |

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use predictors::encode::{ArchEncoder, Layout};
use predictors::ensemble::{AccuracyPredictor, LabelScale};
use predictors::ridge::AdditiveModel;
use search::space::SearchSpace;

use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::folders::names;
use crate::search::inputs::{BundleChoice, SearchInputs};
use crate::stages::bundle::{Making, bundle_in, clear_pairs, fit_pairs, in_bundle, inputs_of_training, measurements};
use crate::stages::record::{Inputs, Made, Record, Records, State, inputs, remove};
use crate::stages::settings::{Collect, Model};
use crate::stages::watcher::Watcher;
use crate::sweep::claim;
use crate::sweep::error::Mistake;
use crate::sweep::file::SweepFile;
use crate::sweep::folder::{BUNDLES, ORIGIN, PREDICTORS, SweepFolder};
use crate::sweep::matrix::Place;
use crate::sweep::settings::Trained;
use crate::sweep::yaml::mistake;
use crate::torch::{self, DataSource, DeviceChoice, TrainingInputs};

/// How often what other processes make is looked at.
const WAIT: Duration = Duration::from_secs(1);

/// Who watches the stages of a sweep.
pub trait StageWatcher: Watcher {
    /// A stage begins, or turns out to be there: `train shrinking`.
    fn begin(&mut self, stage: &str, state: &State);
    /// It ended.
    fn end(&mut self, stage: &str, record: &Record);
    /// Another process is at it.
    fn wait(&mut self, stage: &str);
}

/// With what stages are done.
#[derive(Clone)]
pub struct StageRequest<'r> {
    /// Images instead of the file's: the same ones, elsewhere.
    pub data: Option<DataSource>,
    /// Commit of the source that the program was built from.
    pub revision: &'static str,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Ends it early, everything saved.
    pub stop: &'r Arc<AtomicBool>,
}

/// What a sweep makes before it searches.
#[derive(Clone, Debug)]
pub(crate) struct Preparation {
    /// The folder of the sweep's file, and that where it was before it was copied.
    beside: Vec<PathBuf>,
    /// The folder of results, where there is one.
    out: Option<PathBuf>,
    data: Option<DataSource>,
    trained: Vec<Trained>,
    collect: Collect,
    /// Models that predictors are fitted with: the bundle, as the file names it, and the model.
    fits: Vec<(Option<String>, String, Model)>,
}

/// The model of that name.
pub(crate) fn model(words: &str) -> Option<Model> {
    [Model::Ensemble, Model::Additive, Model::Mlp, Model::Auto].into_iter().find(|model| model.name() == words)
}

impl Preparation {
    /// What the sweep `file` at `path` makes, in the folder `out`; with what is wrong with it.
    pub(crate) fn of(file: &SweepFile, path: &Path, out: Option<&Path>) -> (Preparation, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let mut wrong = |at: Place, error: &Error| {
            let mistake = mistake(at, error);
            if !mistakes.contains(&mistake) {
                mistakes.push(mistake);
            }
        };
        let data = file
            .data
            .as_ref()
            .and_then(|(words, at)| torch::data_source(words).map_err(|error| wrong(*at, &error)).ok());
        let (trained, collect) = match &file.train {
            Some(train) => (train.bundles.clone(), train.collect),
            None => (Vec::new(), Collect { pairs: 0, seed: 0 }),
        };
        let mut preparation = Preparation {
            beside: places(path),
            out: out.map(Path::to_path_buf),
            data,
            trained,
            collect,
            fits: Vec::new(),
        };
        for trained in &preparation.trained {
            if let Err(error) = preparation.inputs(trained) {
                wrong(if trained.space.is_some() { trained.space_at } else { trained.at }, &error);
            }
        }
        if let Some(settings) = &file.networks
            && let Err(error) = torch::check_finetune(&settings.finetune.set)
        {
            wrong(settings.at, &error);
        }
        for point in file.points() {
            let Some(model) = point.predictor.as_deref().and_then(model) else { continue };
            let fit = (point.bundle.clone(), point.target.clone(), model);
            if !preparation.fits.contains(&fit) {
                preparation.fits.push(fit);
            }
        }
        (preparation, mistakes)
    }

    /// Whether there is anything to make.
    pub(crate) fn is_empty(&self) -> bool {
        self.trained.is_empty() && self.fits.is_empty()
    }

    /// The images that stages use.
    pub(crate) fn data<'d>(&'d self, request: &'d StageRequest<'_>) -> Option<&'d DataSource> {
        request.data.as_ref().or(self.data.as_ref())
    }

    /// Something that is named by its place beside the sweep's file, or as it stands.
    pub(crate) fn beside(&self, name: &str) -> String {
        let near = self.beside.iter().map(|folder| folder.join(name)).find(|near| near.exists());
        near.map_or_else(|| name.to_owned(), |near| near.to_string_lossy().into_owned())
    }

    /// The bundle of that name, if it is one that is trained.
    pub(crate) fn trained(&self, name: &str) -> Option<&Trained> {
        self.trained.iter().find(|trained| trained.name == name)
    }

    fn recipe(&self, trained: &Trained) -> (PathBuf, Vec<String>) {
        let space = trained.space.iter().map(|space| format!("space={}", self.beside(space)));
        (PathBuf::from(self.beside(&trained.recipe)), space.collect())
    }

    fn space_of(&self, trained: &Trained) -> Result<SearchSpace> {
        let (recipe, overrides) = self.recipe(trained);
        torch::recipe_space(&recipe, &overrides)
    }

    /// The folder of the stages of a trained bundle.
    fn root(&self, trained: &Trained) -> Option<PathBuf> {
        self.out.as_ref().map(|out| out.join(BUNDLES).join(&trained.name))
    }

    /// What is searched in a trained bundle, and whether its predictor is yet to be fitted.
    ///
    /// # Errors
    /// A recipe or a space that is wrong.
    pub(crate) fn inputs(&self, trained: &Trained) -> Result<(SearchInputs, bool)> {
        let whole = self.root(trained).and_then(|root| {
            let bundle = Bundle::at(bundle_in(&root));
            // What is damaged is made again: the records of its stages tell.
            bundle.stated_weights().ok()??;
            let space = bundle.space().ok()?;
            let predictor = bundle.predictor(&space).ok()?;
            Some(SearchInputs { space, predictor, bundle: Some(bundle) })
        });
        match whole {
            Some(inputs) => Ok((inputs, false)),
            None => {
                let space = self.space_of(trained)?;
                let resolutions = space.resolutions().to_vec();
                let encoder = ArchEncoder::new(Layout::Blocks, &space, &resolutions)?;
                let nothing = AdditiveModel { constant: 0.0, shares: vec![0.0; encoder.width()] };
                let predictor = AccuracyPredictor::new(encoder, LabelScale::UNIT, Some(nothing), Vec::new());
                Ok((SearchInputs { space, predictor, bundle: None }, true))
            }
        }
    }

    /// Where the predictor with that model lies that is fitted for a bundle: the folder of its stages, and the file in it.
    ///
    /// # Errors
    /// Measurements that cannot be read.
    pub(crate) fn fitted(
        &self,
        trained: Option<&Trained>,
        bundle: &Bundle,
        model: Model,
    ) -> Result<Option<[PathBuf; 2]>> {
        let Some(out) = &self.out else { return Ok(None) };
        let name = model.name();
        Ok(Some(match trained {
            Some(trained) => [out.join(BUNDLES).join(&trained.name), format!("{name}.safetensors").into()],
            None => {
                // By what it is fitted to, so that two bundles of one name are two.
                let measured = measurements(&bundle.accuracy()?)?;
                let file = format!("{}-{}-{name}.safetensors", bundle.name(), &measured[..8.min(measured.len())]);
                [out.to_path_buf(), Path::new(PREDICTORS).join(file)]
            }
        }))
    }

    /// What is to be made, in words: what there is none of yet, what depends on something that changed, and what comes after
    /// either. Images that are not here are taken for those that were there.
    pub(crate) fn missing(&self) -> Vec<String> {
        let (mut missing, mut open) = (Vec::new(), Vec::new());
        for trained in &self.trained {
            let mut is_open = false;
            for stage in ["train", "collect", "fit"] {
                let state = if is_open { State::New } else { self.state(trained, stage) };
                is_open |= !matches!(state, State::Found(_));
                match state {
                    State::Found(_) => {}
                    State::New => missing.push(format!("{stage} {}", trained.name)),
                    State::Begun => missing.push(format!("{stage} {}: goes on", trained.name)),
                    State::Again(why) => missing.push(format!("{stage} {} again: {}", trained.name, why.join(", "))),
                }
            }
            open.extend(is_open.then_some(&trained.name));
        }
        for (bundle, target, model) in &self.fits {
            let words = format!("fit {} to {}", model.name(), bundle.as_ref().unwrap_or(target));
            let is_open = bundle.as_ref().is_some_and(|bundle| open.contains(&bundle));
            if (is_open || !self.is_fitted(bundle.as_deref(), target, *model)) && !missing.contains(&words) {
                missing.push(words);
            }
        }
        missing
    }

    /// How a stage of a trained bundle stands, those before it being done.
    fn state(&self, trained: &Trained, stage: &str) -> State {
        let Some(root) = self.root(trained) else { return State::New };
        let records = Records::of(&root);
        let Some(record) = records.read(stage) else { return State::New };
        // What it depends on as far as that is here, else as it was.
        let now = match stage {
            "train" => {
                let (recipe, overrides) = self.recipe(trained);
                torch::training_inputs(&recipe, &overrides, self.data.as_ref()).ok().map(|of| inputs_of_training(&of))
            }
            "collect" => record.inputs.get("images").map(|images| self.inputs_of_pairs(&root, images)),
            _ => inputs_of_fit(&root).ok(),
        };
        records.state(stage, &now.unwrap_or_else(|| record.inputs.clone()))
    }

    /// What measurements depend on, once the bundle is trained.
    fn inputs_of_pairs(&self, root: &Path, images: &str) -> Inputs {
        let weights = Bundle::at(bundle_in(root)).stated_weights().ok().flatten();
        let weights = weights.map(|digest| digest.to_string()).unwrap_or_default();
        let Collect { pairs, seed } = self.collect;
        inputs([("weights", &*weights), ("images", images), ("pairs", &pairs.to_string()), ("seed", &seed.to_string())])
    }

    fn is_fitted(&self, bundle: Option<&str>, target: &str, model: Model) -> bool {
        let of = self.bundle_of(bundle, target).ok().flatten();
        let trained = bundle.and_then(|name| self.trained(name));
        let fitted = of.and_then(|of| self.fitted(trained, &of, model).ok().flatten());
        fitted.is_some_and(|[root, file]| root.join(file).is_file())
    }

    /// The bundle that a file calls `name`, or the default of the target.
    fn bundle_of(&self, name: Option<&str>, target: &str) -> Result<Option<Bundle>> {
        match name.map(|name| (name, self.trained(name))) {
            Some((_, Some(trained))) => Ok(self.root(trained).map(|root| Bundle::at(bundle_in(&root)))),
            Some((name, None)) => Bundle::find(&self.beside(name)).map(Some),
            None => {
                let target = crate::target::list::find(target)?;
                Ok(SearchInputs::choose(&BundleChoice::default(), Some(&target))?.bundle)
            }
        }
    }

    /// Makes all of it, but for what is there or what other processes make meanwhile.
    ///
    /// # Errors
    /// What a stage meets; [`Error::Interrupted`].
    pub(crate) fn run(
        &self,
        folder: &SweepFolder,
        request: &StageRequest<'_>,
        watcher: &mut dyn StageWatcher,
    ) -> Result<()> {
        for trained in &self.trained {
            self.alone(folder, &format!("train-{}", trained.name), request, watcher, |watcher| {
                self.train(trained, request, watcher)
            })?;
        }
        let mut done = Vec::new();
        for (name, target, model) in &self.fits {
            let trained = name.as_deref().and_then(|name| self.trained(name));
            let bundle = self.bundle_of(name.as_deref(), target)?;
            let Some(bundle) = bundle else { continue };
            let Some([root, file]) = self.fitted(trained, &bundle, *model)? else { continue };
            if done.contains(&root.join(&file)) {
                continue;
            }
            done.push(root.join(&file));
            let name = format!("fit-{}", file.file_stem().unwrap_or_default().to_string_lossy());
            let claim = trained.map_or_else(|| name.clone(), |trained| format!("{name}-{}", trained.name));
            let report = file.with_extension("report.json");
            let outputs = [&file, &report].map(|path| path.to_string_lossy().into_owned());
            self.alone(folder, &claim, request, watcher, |watcher| {
                let measured = measurements(&bundle.accuracy()?)?;
                let inputs = inputs([("measurements", &*measured), ("model", model.name())]);
                let clear = |_: &State| outputs.iter().try_for_each(|output| remove(&root.join(output)));
                let stage = format!(
                    "fit {} to {}",
                    model.name(),
                    trained.map_or_else(|| bundle.name(), |one| one.name.clone())
                );
                let work = |watcher: &mut dyn StageWatcher| fit_pairs(&bundle, &root, *model, &outputs, watcher);
                go(&Records::of(&root), &name, &stage, &inputs, clear, watcher, work).map(|_| ())
            })?;
        }
        Ok(())
    }

    /// Does `work` while nobody else does.
    fn alone(
        &self,
        folder: &SweepFolder,
        key: &str,
        request: &StageRequest<'_>,
        watcher: &mut dyn StageWatcher,
        work: impl FnOnce(&mut dyn StageWatcher) -> Result<()>,
    ) -> Result<()> {
        let mut is_told = false;
        loop {
            if request.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            match claim::take(&folder.claims(), key).map_err(|source| Error::Write { source })? {
                Some(claim) => {
                    let done = claim::keep(&claim, || work(watcher));
                    claim.release();
                    return done;
                }
                None => {
                    if !is_told {
                        watcher.wait(key);
                        is_told = true;
                    }
                    std::thread::sleep(WAIT);
                }
            }
        }
    }

    fn train(&self, trained: &Trained, request: &StageRequest<'_>, watcher: &mut dyn StageWatcher) -> Result<()> {
        let Some(root) = self.root(trained) else { return Ok(()) };
        let (recipe, overrides) = self.recipe(trained);
        let of_training = torch::training_inputs(&recipe, &overrides, self.data(request))?;
        let TrainingInputs { data, images, epochs, .. } = &of_training;
        let making = Making {
            root: &root,
            recipe,
            overrides: &overrides,
            data,
            revision: request.revision,
            device: request.device,
            stop: request.stop,
        };
        let (records, name) = (Records::of(&root), &trained.name);
        let of_training = inputs_of_training(&of_training);
        let clear = |_: &State| remove(&root.join(names::TRAINED));
        go(&records, "train", &format!("train {name}"), &of_training, clear, watcher, |watcher| {
            making.train(*epochs, watcher)
        })?;

        Bundle::at(bundle_in(&root)).stated_weights()?;
        let of_pairs = self.inputs_of_pairs(&root, images);
        let file = root.join(in_bundle(names::ACCURACY));
        let of = self.collect;
        let clear = |state: &State| clear_pairs(&file, state, of.pairs);
        go(&records, "collect", &format!("collect {name}"), &of_pairs, clear, watcher, |watcher| {
            making.collect(of, watcher)
        })?;

        let (of_fit, model) = (inputs_of_fit(&root)?, Model::default());
        let outputs = [in_bundle(names::PREDICTOR), in_bundle(names::PREDICTOR_REPORT)];
        let clear = |_: &State| outputs.iter().try_for_each(|output| remove(&root.join(output)));
        let work =
            |watcher: &mut dyn StageWatcher| fit_pairs(&Bundle::at(bundle_in(&root)), &root, model, &outputs, watcher);
        go(&records, "fit", &format!("fit {name}"), &of_fit, clear, watcher, work).map(|_| ())
    }
}

/// What a trained bundle's predictor depends on, once subnets are measured.
fn inputs_of_fit(root: &Path) -> Result<Inputs> {
    let measured = measurements(&root.join(in_bundle(names::ACCURACY)))?;
    Ok(inputs([("measurements", &*measured), ("model", Model::default().name())]))
}

/// Where what the sweep's file at `path` names may lie beside.
fn places(path: &Path) -> Vec<PathBuf> {
    let own = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let origin = std::fs::read_to_string(own.join(ORIGIN)).ok().map(|text| PathBuf::from(text.trim_end_matches('\n')));
    [Some(own), origin].into_iter().flatten().collect()
}

/// A stage that is watched.
fn go(
    records: &Records,
    name: &str,
    stage: &str,
    inputs: &Inputs,
    clear: impl FnOnce(&State) -> Result<()>,
    watcher: &mut dyn StageWatcher,
    work: impl FnOnce(&mut dyn StageWatcher) -> Result<Made>,
) -> Result<Record> {
    let state = records.state(name, inputs);
    watcher.begin(stage, &state);
    let record = records.go(name, inputs, state, clear, || work(watcher))?;
    watcher.end(stage, &record);
    Ok(record)
}
