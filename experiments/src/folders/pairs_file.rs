//! Files of measured pairs, with the architectures that they are of and the space that they name.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use predictors::pairs::{self, AccuracyPair, Origin};
use search::arch::ArchSpec;
use search::space::SearchSpace;
use storage::digest::Digest;

use crate::error::{Error, Result};
use crate::folders::spaces;

/// The pairs of one or several files of one space, one file after the other.
#[derive(Clone, Debug)]
pub(crate) struct Pairs {
    /// Their space.
    pub space: SearchSpace,
    /// What was measured.
    pub measured: Vec<AccuracyPair>,
    /// Of which subnets, in the same order.
    pub archs: Vec<ArchSpec>,
    /// Of the weights that they were measured with, as far as the files name them.
    pub weights: BTreeSet<Digest>,
    /// Whether every file names its weights.
    pub are_all_known: bool,
    /// What a reader of a fit to them should know.
    pub notes: Vec<String>,
}

impl Pairs {
    /// Reads `paths`, of the space of that name or path; without one, of that which the files name.
    ///
    /// # Errors
    /// A file that is missing or wrong; [`Error::UnknownSpace`] where neither says which space it is; files of two spaces.
    pub(crate) fn read(paths: &[PathBuf], space: Option<&str>) -> Result<Pairs> {
        let mut files = Vec::new();
        for path in paths {
            if !path.exists() {
                return Err(Error::NotFound { path: path.clone() });
            }
            let (measured, origin) = pairs::read_with_origin(path)?;
            files.push((path, measured, origin));
        }
        let origins: Vec<(&Path, &Origin)> =
            files.iter().filter_map(|(path, _, origin)| Some((path.as_path(), origin.as_ref()?))).collect();
        let space = match space {
            Some(name) => spaces::find(name)?,
            None => named_space(paths, &origins)?,
        };
        let mut notes = differences(&origins);
        let weights = origins.iter().map(|(_, origin)| origin.weights).collect();
        let are_all_known = origins.len() == paths.len();
        let (mut measured, mut archs) = (Vec::new(), Vec::new());
        for (path, more, _) in files {
            archs.extend(pairs::architectures(&more, &space, path)?);
            measured.extend(more);
        }
        notes.extend(contradictions(&archs, &measured));
        if measured.len() > 1 && measured.iter().all(|pair| pair.top1 == measured[0].top1) {
            notes.push(format!(
                "all pairs have a top-1 of {:.2} %: nothing tells subnets apart",
                100.0 * measured[0].top1
            ));
        }
        Ok(Pairs { space, measured, archs, weights, are_all_known, notes })
    }
}

/// The space that the files name.
fn named_space(paths: &[PathBuf], origins: &[(&Path, &Origin)]) -> Result<SearchSpace> {
    let Some((path, origin)) = origins.first() else {
        return Err(Error::UnknownSpace { path: paths.first().cloned().unwrap_or_default() });
    };
    SearchSpace::from_yaml(&origin.space).map_err(|problem| Error::in_file(*path, problem))
}

/// One sentence for every file that was measured with something else than the first.
fn differences(origins: &[(&Path, &Origin)]) -> Vec<String> {
    let Some(((first, origin), others)) = origins.split_first() else { return Vec::new() };
    let said = others.iter().filter_map(|(path, other)| {
        let what = origin.difference(other)?;
        Some(format!("{} was measured with {what} than {}", path.display(), first.display()))
    });
    said.collect()
}

/// Subnets that are there more than once with accuracies further apart than four standard errors, in words.
fn contradictions(archs: &[ArchSpec], measured: &[AccuracyPair]) -> Option<String> {
    let mut first = HashMap::new();
    let (mut count, mut most) = (0, 0.0_f64);
    for (arch, pair) in archs.iter().zip(measured) {
        let before: &mut &AccuracyPair = first.entry(arch).or_insert(pair);
        let images = before.images.min(pair.images).max(1) as f64;
        let middle = 0.5 * (before.top1 + pair.top1);
        let (apart, error) = ((before.top1 - pair.top1).abs(), (2.0 * middle * (1.0 - middle) / images).sqrt());
        if apart > 4.0 * error + 1e-9 {
            (count, most) = (count + 1, most.max(apart));
        }
    }
    (count > 0).then(|| {
        format!(
            "{count} pairs contradict others of the same subnet, by up to {:.2} points: they were not measured on the same \
             weights and images",
            100.0 * most
        )
    })
}

/// The pairs of one file of `space`.
///
/// # Errors
/// A file that is missing or wrong.
pub(crate) fn read(path: &Path, space: &SearchSpace) -> Result<(Vec<AccuracyPair>, Vec<ArchSpec>)> {
    if !path.exists() {
        return Err(Error::NotFound { path: path.to_path_buf() });
    }
    let measured = pairs::read(path)?;
    let archs = pairs::architectures(&measured, space, path)?;
    Ok((measured, archs))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use storage::digest::Digester;

    use super::*;

    #[test]
    fn pairs_that_contradict_each_other_are_counted() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (one, other) = (space.sample(&mut rng), space.sample(&mut rng));
        let pair = |arch: &ArchSpec, top1| AccuracyPair {
            subnet: AccuracyPair::subnet_json(&space, arch),
            resolution: arch.resolution(),
            top1,
            top5: 1.0,
            loss: 1.0,
            images: 1000,
            seed: 0,
            seconds: 1.0,
            halves: None,
        };
        let of = |pairs: &[(&ArchSpec, f64)]| {
            let archs: Vec<ArchSpec> = pairs.iter().map(|(arch, _)| (*arch).clone()).collect();
            let measured: Vec<AccuracyPair> = pairs.iter().map(|(arch, top1)| pair(arch, *top1)).collect();
            contradictions(&archs, &measured)
        };
        assert_eq!(of(&[(&one, 0.5), (&other, 0.9), (&one, 0.52)]), None, "noise");
        let note = of(&[(&one, 0.3), (&other, 0.9), (&one, 0.7)]).unwrap();
        assert!(note.starts_with("1 pairs contradict") && note.contains("40.00 points"), "{note}");
    }

    #[test]
    fn files_name_their_space_and_what_differs_between_them_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let digest = |text: &str| Digester::new("test").text(text).finish();
        let (weights, images, calibration) = (digest("w"), digest("i"), digest("c"));
        let origin = Origin { space: space.to_yaml(), weights, images, calibration };
        let mut file = |name: &str, origin: Option<&Origin>| {
            let arch = space.sample(&mut rng);
            let pair = AccuracyPair {
                subnet: AccuracyPair::subnet_json(&space, &arch),
                resolution: arch.resolution(),
                top1: 0.5 + name.len() as f64 / 100.0,
                top5: 0.9,
                loss: 1.0,
                images: 100,
                seed: 0,
                seconds: 1.0,
                halves: None,
            };
            let path = folder.path().join(name);
            pairs::write(&path, &[pair], origin).unwrap();
            path
        };
        let (one, same) = (file("one.parquet", Some(&origin)), file("same.parquet", Some(&origin)));
        let other = file("other.parquet", Some(&Origin { weights: digest("v"), ..origin.clone() }));
        let bare = file("bare.parquet", None);
        let read = Pairs::read(&[one.clone(), same, bare.clone()], None).unwrap();
        assert_eq!((read.space, read.measured.len(), read.notes), (space.clone(), 3, Vec::<String>::new()));
        let notes = Pairs::read(&[one, other], None).unwrap().notes;
        assert!(
            notes.len() == 1 && notes[0].contains("other.parquet was measured with other weights than"),
            "{notes:?}"
        );
        assert!(matches!(Pairs::read(std::slice::from_ref(&bare), None), Err(Error::UnknownSpace { .. })));
        assert_eq!(Pairs::read(&[bare], Some("mcu-cifar")).unwrap().space, space);
    }
}
