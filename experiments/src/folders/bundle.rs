//! Bundles: a supernet with everything that searching and deploying need, as a folder.
//!
//! | file | what |
//! |---|---|
//! | `space.yaml` | the search space |
//! | `supernet.safetensors` | weights of all subnets |
//! | `predictor.safetensors` | top-1 from an architecture |
//! | `preprocessing.json` | normalisation, resize rule, class names |
//! | `calibration/` | images for batch-norm statistics, made by the project itself |
//! | `accuracy.parquet` | measured pairs that the predictor was fitted to |
//! | `recipe.yaml`, `MODEL_CARD.md` | how it was made |
//! | `energy.json` | what training it cost |
//!
//! A bundle is named by its folder, or by its name in a zoo: the user's (`$OFA_HOME/zoo`) or the one that ships.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use hw_targets::library::default_home;
use predictors::ensemble::AccuracyPredictor;
use predictors::saved;
use search::space::SearchSpace;
use storage::arrays::safetensors::load_metadata;
use storage::digest::Digest;

use crate::error::{Error, Result};
use crate::folders::{names, spaces};

/// A folder with a supernet and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    folder: PathBuf,
}

impl Bundle {
    /// The bundle in that folder, be it the run that made it, or of that name in a zoo.
    ///
    /// # Errors
    /// [`Error::UnknownBundle`], naming those that exist; [`Error::Unfinished`] for a run that has made none yet.
    pub fn find(name_or_path: &str) -> Result<Bundle, Error> {
        Self::find_in(name_or_path, &zoos())
    }

    fn find_in(name_or_path: &str, zoos: &[PathBuf]) -> Result<Bundle, Error> {
        let path = PathBuf::from(name_or_path);
        if path.is_dir() {
            // A run holds the files of its bundle but for the weights. Its checkpoints may be gone by now.
            // A build holds a run.
            let path = Some(path.join(names::TRAINED))
                .filter(|run| run.is_dir() && path.join(names::BUILD).is_file())
                .unwrap_or(path);
            let made = path.join(names::BUNDLE);
            let is_run = !path.join(names::SUPERNET).exists() && (is_in_run(&made) || is_bundle(&made));
            return match is_run && !is_bundle(&made) {
                true => Err(Error::Unfinished { run: path }),
                false => Ok(Bundle { folder: if is_run { made } else { path } }),
            };
        }
        Self::named_in(name_or_path, zoos)
    }

    /// The bundle of that name in a zoo, whatever folders there are where the program is run.
    ///
    /// # Errors
    /// [`Error::UnknownBundle`].
    pub fn named(name: &str) -> Result<Bundle, Error> {
        Self::named_in(name, &zoos())
    }

    fn named_in(name: &str, zoos: &[PathBuf]) -> Result<Bundle, Error> {
        let is_name = Path::new(name).components().count() == 1;
        let found = zoos.iter().map(|zoo| zoo.join(name)).find(|folder| is_name && is_bundle(folder));
        match found {
            Some(folder) => Ok(Bundle { folder }),
            None => Err(Error::UnknownBundle { name: name.to_owned(), known: names_in(zoos) }),
        }
    }

    /// The bundle in `folder`, whatever is there yet.
    pub fn at(folder: impl Into<PathBuf>) -> Bundle {
        Bundle { folder: folder.into() }
    }

    /// Names of all bundles in the zoos, in alphabetical order.
    pub fn names() -> Vec<String> {
        names_in(&zoos())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder's name; that of the run where it lies in one.
    pub fn name(&self) -> String {
        let folder = fs::canonicalize(&self.folder).unwrap_or_else(|_| self.folder.clone());
        let run = folder.parent().filter(|_| is_in_run(&folder));
        run.unwrap_or(&folder).file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether it is the one of its name in a zoo.
    pub fn has_known_name(&self) -> bool {
        let whole = |folder: &Path| fs::canonicalize(folder).ok();
        Bundle::named(&self.name()).is_ok_and(|named| whole(&named.folder) == whole(&self.folder))
    }

    /// What its images are called: by the section "Data" of its model card, else by the source that its recipe names.
    pub fn data_set(&self) -> Option<String> {
        let read = |file: &str| fs::read_to_string(self.folder.join(file)).ok();
        let card = read(names::MODEL_CARD).and_then(|card| {
            let (_, section) = card.split_once("\n## Data\n")?;
            // `CIFAR-10 (Krizhevsky 2009), 10 classes`: the name comes first.
            let name = section.trim_start().split(['(', ',', ';', '\n']).next()?.trim().trim_end_matches('.');
            (!name.is_empty()).then(|| name.to_owned())
        });
        card.or_else(|| {
            let recipe: serde_yaml::Value = serde_yaml::from_str(&read(names::RECIPE)?).ok()?;
            Some(recipe.get("data")?.as_str()?.to_owned())
        })
    }

    /// Its search space.
    ///
    /// # Errors
    /// The file is missing or wrong.
    pub fn space(&self) -> Result<SearchSpace> {
        spaces::read(&self.require(names::SPACE)?)
    }

    /// Its accuracy predictor, which must belong to `space`.
    ///
    /// # Errors
    /// The file is missing, wrong, or for another space.
    pub fn predictor(&self, space: &SearchSpace) -> Result<AccuracyPredictor> {
        let path = self.require(names::PREDICTOR)?;
        Ok(saved::load(&path, space)?)
    }

    /// The digest that its weights state of themselves; none in files of earlier versions, nor where there are none.
    ///
    /// # Errors
    /// A damaged file.
    pub(crate) fn stated_weights(&self) -> Result<Option<Digest>> {
        let path = self.folder.join(names::SUPERNET);
        if !path.exists() {
            return Ok(None);
        }
        Ok(load_metadata(&path)?.get(names::WEIGHTS_DIGEST).and_then(|digest| digest.parse().ok()))
    }

    /// What tells its weights from others: the digest that the file states, or else that of the file.
    ///
    /// # Errors
    /// No weights, or a file that cannot be read.
    #[cfg(feature = "torch")]
    pub(crate) fn weights_digest(&self) -> Result<String, Error> {
        let path = self.require(names::SUPERNET)?;
        if let Some(stated) = self.stated_weights()? {
            return Ok(stated.to_string());
        }
        let bytes = storage::file::read_bytes(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        Ok(storage::digest::Digester::new("file of weights").bytes(&bytes).finish().to_string())
    }

    /// Refuses a predictor whose pairs were measured with others than `weights`, those of this bundle.
    ///
    /// # Errors
    /// [`Error::OtherWeights`].
    pub(crate) fn check_predictor(&self, predictor: &AccuracyPredictor, weights: Option<Digest>) -> Result<(), Error> {
        match predictor.weights().zip(weights) {
            Some((measured, own)) if measured != own => {
                Err(Error::OtherWeights { path: self.folder.join(names::PREDICTOR), bundle: self.folder.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The weights of all subnets.
    ///
    /// # Errors
    /// [`Error::BundleLacks`].
    pub fn supernet(&self) -> Result<PathBuf, Error> {
        self.require(names::SUPERNET)
    }

    /// Normalisation, resize rule and class names.
    ///
    /// # Errors
    /// [`Error::BundleLacks`].
    pub fn preprocessing(&self) -> Result<PathBuf, Error> {
        self.require(names::PREPROCESSING)
    }

    /// The folder of calibration images.
    ///
    /// # Errors
    /// [`Error::BundleLacks`], also where images were begun but are not finished.
    pub fn calibration(&self) -> Result<PathBuf, Error> {
        let folder = self.require(names::CALIBRATION)?;
        match folder.join(names::CALIBRATION_IMAGES).exists() {
            true => Ok(folder),
            false => Err(Error::BundleLacks { bundle: self.folder.clone(), file: names::CALIBRATION }),
        }
    }

    /// The measured pairs.
    ///
    /// # Errors
    /// [`Error::BundleLacks`].
    pub fn accuracy(&self) -> Result<PathBuf, Error> {
        self.require(names::ACCURACY)
    }

    /// The recipe.
    ///
    /// # Errors
    /// [`Error::BundleLacks`].
    pub fn recipe(&self) -> Result<PathBuf, Error> {
        self.require(names::RECIPE)
    }

    /// The path of one of its files.
    ///
    /// # Errors
    /// [`Error::BundleLacks`] if it is not there.
    pub fn require(&self, file: &'static str) -> Result<PathBuf, Error> {
        let path = self.folder.join(file);
        if path.exists() { Ok(path) } else { Err(Error::BundleLacks { bundle: self.folder.clone(), file }) }
    }
}

/// Folders of bundles, the user's first.
fn zoos() -> Vec<PathBuf> {
    let mut zoos: Vec<PathBuf> = default_home().map(|home| home.join("zoo")).into_iter().collect();
    zoos.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo"));
    // An installed or moved binary: `zoo/` beside it, or that of the checkout whose target folder it is in.
    let executable = env::current_exe().and_then(fs::canonicalize).unwrap_or_default();
    for above in executable.ancestors().skip(1).take(3) {
        zoos.push(above.join("zoo"));
        zoos.push(above.join("experiments/zoo"));
    }
    zoos
}

/// Whether that is where a run puts its bundle.
fn is_in_run(folder: &Path) -> bool {
    let run = folder.parent().unwrap_or(folder);
    folder.ends_with(names::BUNDLE) && (run.join(names::CHECKPOINTS).is_dir() || run.join(names::RUN).is_file())
}

fn is_bundle(folder: &Path) -> bool {
    folder.join(names::SPACE).is_file()
}

fn names_in(zoos: &[PathBuf]) -> Vec<String> {
    let entries = zoos.iter().filter_map(|zoo| fs::read_dir(zoo).ok()).flatten().flatten();
    let folders = entries.map(|entry| entry.path()).filter(|path| is_bundle(path));
    let mut names: Vec<String> =
        folders.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use storage::failure::{Failure, FailureKind};

    use super::*;

    #[test]
    fn a_bundle_is_found_by_path_and_by_name() {
        let zoo = tempfile::tempdir().unwrap();
        let folder = zoo.path().join("small");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(names::SPACE), SearchSpace::builtin("mcu-cifar").unwrap().to_yaml()).unwrap();
        let zoos = [zoo.path().join("absent"), zoo.path().to_path_buf()];
        let by_name = Bundle::find_in("small", &zoos).unwrap();
        assert_eq!(by_name, Bundle::find_in(folder.to_str().unwrap(), &[]).unwrap());
        assert_eq!(by_name.name(), "small");
        assert_eq!(&*by_name.space().unwrap().id().0, "mcu-cifar");

        assert_eq!(by_name.data_set(), None);
        fs::write(folder.join(names::RECIPE), "schema: ofa.recipe/1\ndata: folder:img\n").unwrap();
        assert_eq!(by_name.data_set().as_deref(), Some("folder:img"));
        fs::write(folder.join(names::MODEL_CARD), "# small\n\n## Data\n\nFlowers 17 (Nilsback 2006), 17 classes\n")
            .unwrap();
        assert_eq!(by_name.data_set().as_deref(), Some("Flowers 17"));
        assert_eq!(Bundle::find("mcu-cifar").unwrap().data_set().as_deref(), Some("CIFAR-10"));

        // The folder of the run that made it will do as well, once there is something in it.
        let run = zoo.path().join("run");
        fs::create_dir_all(run.join(names::CHECKPOINTS)).unwrap();
        let find = || Bundle::find_in(run.to_str().unwrap(), &[]);
        assert!(matches!(find(), Err(Error::Unfinished { .. })));
        fs::create_dir(run.join(names::BUNDLE)).unwrap();
        fs::copy(folder.join(names::SPACE), run.join(names::BUNDLE).join(names::SPACE)).unwrap();
        let made = find().unwrap();
        assert_eq!((made.folder(), &*made.name()), (&*run.join(names::BUNDLE), "run"));
        // Checkpoints are removed when they are no longer needed, and bundles moved without them.
        fs::remove_dir(run.join(names::CHECKPOINTS)).unwrap();
        assert_eq!(find().unwrap().folder(), run.join(names::BUNDLE));
        fs::write(run.join(names::RUN), "{}").unwrap();
        assert_eq!((find().unwrap().name(), Bundle::at(&run).name()), ("run".to_owned(), "run".to_owned()));

        let unknown = Bundle::find_in("large", &zoos).unwrap_err();
        assert_eq!(unknown.kind(), FailureKind::Usage);
        assert!(unknown.hint().unwrap().contains("small"));

        let lacks = by_name.predictor(&by_name.space().unwrap()).unwrap_err();
        assert_eq!(lacks.kind(), FailureKind::Content);
        assert!(lacks.to_string().contains(names::PREDICTOR));
    }
}
