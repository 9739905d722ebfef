//! Search spaces by name or path, and subnets out of files.

use std::path::Path;

use network::op::Workload;
use network::units::{Macs, Params};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use search::arch::ArchSpec;
use search::arch_file::ArchFile;
#[cfg(feature = "torch")]
use search::refine::refined::RefinedSubnet;
use search::space::SearchSpace;
use storage::file::{self, FileError};

use crate::error::{Error, Result};
use crate::folders::names;

/// A shipped space by its name, or one from a path: a YAML file, or a folder (a bundle) with `space.yaml`.
///
/// # Errors
/// An unknown name, a path that is not there, wrong content.
pub fn find(name: &str) -> Result<SearchSpace> {
    if SearchSpace::builtin_names().contains(&name) {
        return Ok(SearchSpace::builtin(name)?);
    }
    let path = Path::new(name);
    if path.join(names::SPACE).is_file() {
        return read(&path.join(names::SPACE));
    }
    let is_path = path.components().count() > 1 || path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    if path.is_file() || is_path {
        return read(path);
    }
    Ok(SearchSpace::builtin(name)?)
}

/// A space from its YAML file.
///
/// # Errors
/// A file that is not there or cannot be read, wrong content.
pub fn read(path: &Path) -> Result<SearchSpace> {
    let text = read_text(path)?;
    SearchSpace::from_yaml(&text).map_err(|problem| Error::in_file(path, problem))
}

/// The subnets of a file, one JSON object per line or one document, as members of `space`.
///
/// # Errors
/// A file that is not there or cannot be read; what is none of the space, with its line.
pub(crate) fn read_subnets(path: &Path, space: &SearchSpace) -> Result<Vec<ArchSpec>> {
    let subnet = |(place, file): (String, ArchFile)| {
        space.parse(&file).map_err(|problem| Error::in_file(path, problem.at(place)))
    };
    read_files(path)?.into_iter().map(subnet).collect()
}

/// The one subnet of a file, a member of `space` or one refined between its members.
///
/// # Errors
/// As [`read_subnets`]; several subnets.
#[cfg(feature = "torch")]
pub(crate) fn read_refined(path: &Path, space: &SearchSpace) -> Result<RefinedSubnet> {
    let text = read_text(path)?;
    // As `ofa refine` reports it, or as its steps keep it.
    if let Ok(value) = storage::json::parse(text.as_bytes())
        && let Some(refined) = value.get("refined").or(value.get("subnet")).filter(|one| one.get("channels").is_some())
    {
        return RefinedSubnet::from_json(space, refined).map_err(|problem| Error::in_file(path, problem));
    }
    let subnets = read_subnets(path, space)?;
    let [arch] = subnets.as_slice() else {
        return Err(Error::NotOneSubnet { path: path.to_path_buf(), got: subnets.len() });
    };
    Ok(RefinedSubnet::new(arch))
}

/// The subnets of a file, each with its line. What in them has no effect is said once.
fn read_files(path: &Path) -> Result<Vec<(String, ArchFile)>> {
    let text = read_text(path)?;
    let files = ArchFile::from_json_lines_placed(&text).map_err(|problem| Error::in_file(path, problem))?;
    let unread = files.iter().find_map(|(place, file)| Some((place, *file.unread_keys().first()?)));
    if let Some((place, key)) = unread {
        tracing::warn!("{}, {place}: {key:?} is no key of a subnet and has no effect", path.display());
    }
    Ok(files)
}

/// The space that the file at `from` names: built in, or a path, looked for beside that file first.
///
/// # Errors
/// As [`find`].
pub fn find_beside(from: &Path, name: &str) -> Result<SearchSpace> {
    let beside = from.parent().map(|folder| folder.join(name)).filter(|path| path.is_file());
    beside.map_or_else(|| find(name), |path| read(&path))
}

/// The subnets of a file as operators, at any resolution of at least 16: for questions of cost. FBNet operator lists
/// are read too.
///
/// # Errors
/// As [`read_subnets`].
pub fn read_workloads(path: &Path, space: &SearchSpace) -> Result<Vec<Workload>> {
    let workload = |(place, file): (String, ArchFile)| {
        space.parse_workload(&file).map_err(|problem| Error::in_file(path, problem.at(place)))
    };
    read_files(path)?.into_iter().map(workload).collect()
}

/// `count` subnets drawn independently, every distinct subnet equally likely; the same seed gives the same draws.
pub fn sample(space: &SearchSpace, count: usize, seed: u64) -> Vec<ArchSpec> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| space.sample(&mut rng)).collect()
}

/// How many distinct subnets a space holds, as decimal numbers: they exceed 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceCount {
    /// At each resolution.
    pub per_resolution: String,
    /// Number of resolutions.
    pub resolutions: usize,
    /// At all resolutions together.
    pub total: String,
}

/// Counts the distinct subnets of `space`, exactly.
pub fn count(space: &SearchSpace) -> SpaceCount {
    SpaceCount {
        per_resolution: space.count_per_resolution().to_string(),
        resolutions: space.resolutions().len(),
        total: space.count().to_string(),
    }
}

/// What a space holds at its ends: MACs and parameters of the smallest and the largest subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceRange {
    /// Smallest subnet at the lowest resolution, largest at the highest.
    pub macs: (Macs, Macs),
    /// Parameters of the smallest and the largest subnet.
    pub params: (Params, Params),
}

/// MACs and parameters of the smallest and the largest subnet of `space`.
pub fn range(space: &SearchSpace) -> SpaceRange {
    let resolutions = space.resolutions();
    let smallest = space.lower(&space.smallest(resolutions[0]).expect("its own resolution"));
    let largest = space.lower(&space.largest(resolutions[resolutions.len() - 1]).expect("its own resolution"));
    SpaceRange { macs: (smallest.macs(), largest.macs()), params: (smallest.params(), largest.params()) }
}

/// A file's text.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Read`]; [`Error::Hw`] for what is no text.
pub fn read_text(path: &Path) -> Result<String, Error> {
    file::read_text(path, "text").map_err(|error| match error {
        FileError::NotFound { path } => Error::NotFound { path },
        FileError::Io { path, source } => Error::Read { path, source },
        other => Error::Hw(other.into()),
    })
}

#[cfg(test)]
mod tests {
    use storage::failure::{Failure, FailureKind};

    use super::*;

    #[test]
    fn a_space_is_found_by_name_file_and_folder() {
        let folder = tempfile::tempdir().unwrap();
        let space = find("mcu-cifar").unwrap();
        let file = folder.path().join(names::SPACE);
        std::fs::write(&file, space.to_yaml()).unwrap();
        assert_eq!(find(file.to_str().unwrap()).unwrap(), space);
        assert_eq!(find(folder.path().to_str().unwrap()).unwrap(), space);
        let unknown = find("mcu-cifra").unwrap_err();
        assert_eq!(unknown.kind(), FailureKind::Usage);
        let absent = find("nowhere/space.yaml").unwrap_err();
        assert_eq!(absent.kind(), FailureKind::Usage);
    }

    #[test]
    fn a_wrong_subnet_is_named_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let (mcu, fbnet) = (find("mcu-cifar").unwrap(), find("fbnet-cifar").unwrap());
        let lines = [
            mcu.to_subnet_json(&mcu.largest(32).unwrap()).to_string(),
            fbnet.to_subnet_json(&fbnet.largest(32).unwrap()).to_string(),
        ];
        let path = folder.path().join("subnets.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let error = read_subnets(&path, &mcu).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Content);
        assert_eq!(error.place().unwrap().place, format!("{}:2", path.display()));
        assert!(!error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn the_published_counts() {
        let of = |name: &str| count(&find(name).unwrap()).per_resolution;
        assert_eq!(of("mbv3-w1.0"), "21758655492572485851");
        assert_eq!(of("proxyless-w1.3"), "195827899433152372659");
    }
}
