//! What a search has evaluated so far, on disk, so that a killed one goes on where it was.
//!
//! First the digest of all that the search depends on (predictor, space, cost tables, settings): a file with another one
//! is begun anew. Then one record of 16 bytes for each evaluation, in order: the first half of a digest of subnet and
//! score, and the score. Search is a function of its settings and of the scores, so a search that is started again asks
//! for the same subnets in the same order and gets the recorded scores until the record ends; from there it evaluates.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use search::arch::{ArchSpec, BlockSpec};
use storage::digest::{self, Digest, Digester};

use crate::error::Error;
use crate::folders::names;

const RECORD: usize = 16;

/// The record of a search under way.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// Of all that scores and order depend on.
    identity: Digest,
    /// Opened with the first record, so that a search that cannot begin leaves nothing behind.
    file: Option<File>,
    /// Records of an earlier attempt that were not asked for yet.
    earlier: VecDeque<(u64, f64)>,
    /// Records that were used or written.
    done: u64,
    /// Scores taken from an earlier attempt.
    reused: u64,
    /// Why nothing is recorded any more.
    pub(crate) given_up: Option<io::Error>,
}

impl Journal {
    /// Opens the record in `folder`, or begins one; one of another identity is begun anew.
    ///
    /// # Errors
    /// [`Error::Write`] if there is one that cannot be read.
    pub(crate) fn open(folder: &Path, identity: Digest) -> Result<Journal, Error> {
        let path = folder.join(names::SEARCH_JOURNAL);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| write_error(&path, &error))?,
        };
        let records = bytes.strip_prefix(identity.as_bytes()).unwrap_or_default();
        // The last one may be torn.
        let earlier = records.chunks_exact(RECORD).map(|record| {
            let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| record[at + byte]));
            (word(0), f64::from_bits(word(8)))
        });
        Ok(Journal { identity, earlier: earlier.collect(), file: None, done: 0, reused: 0, given_up: None, path })
    }

    /// Scores that came from an earlier attempt.
    pub(crate) fn reused(&self) -> u64 {
        self.reused
    }

    /// Scores of `archs`, recorded ones first and the others from `evaluate`.
    pub(crate) fn scores<E>(
        &mut self,
        archs: &[ArchSpec],
        mut evaluate: impl FnMut(&[ArchSpec]) -> Result<Vec<f64>, E>,
    ) -> Result<Vec<f64>, E> {
        let recorded = archs.iter().zip(&self.earlier);
        let known = recorded.take_while(|(arch, (recorded, score))| hash(arch, *score) == *recorded).count();
        let mut scores: Vec<f64> = self.earlier.drain(..known).map(|(_, score)| score).collect();
        self.done += scores.len() as u64;
        self.reused += scores.len() as u64;
        if scores.len() < archs.len() {
            // The record ends here, or is another search's from here on.
            self.earlier.clear();
            let archs = &archs[scores.len()..];
            let new = evaluate(archs)?;
            let record = |(arch, score): (&ArchSpec, &f64)| [hash(arch, *score).to_le_bytes(), score.to_le_bytes()];
            let records = archs.iter().zip(&new).flat_map(record).flatten();
            if self.given_up.is_none()
                && let Err(error) = self.append(&records.collect::<Vec<u8>>())
            {
                // The search can do without; what is there may be torn.
                let _ = fs::remove_file(&self.path);
                self.given_up = Some(error);
            }
            self.done += new.len() as u64;
            scores.extend(new);
        }
        Ok(scores)
    }

    /// Writes after what is used, over what is not.
    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                self.path.parent().map_or(Ok(()), fs::create_dir_all)?;
                let file = none.insert(OpenOptions::new().create(true).append(true).open(&self.path)?);
                if self.done == 0 {
                    file.set_len(0)?;
                    file.write_all(self.identity.as_bytes())?;
                }
                file
            }
        };
        file.set_len(digest::BYTES as u64 + self.done * RECORD as u64)?;
        file.write_all(records)
    }
}

fn hash(arch: &ArchSpec, score: f64) -> u64 {
    let blocks = arch.stages().iter().flat_map(|stage| {
        let block = |block: &BlockSpec| [f64::from(block.kernel), f64::from(block.expand)];
        [stage.blocks.len() as f64].into_iter().chain(stage.blocks.iter().flat_map(block))
    });
    let numbers: Vec<f64> = [f64::from(arch.resolution()), score].into_iter().chain(blocks).collect();
    let digest = Digester::new("evaluation").numbers(numbers.into_iter()).finish();
    digest.as_bytes().first_chunk().map_or(0, |half| u64::from_le_bytes(*half))
}

/// Removes the record in `folder`, if there is one: the result is written.
pub(crate) fn remove(folder: &Path) -> Result<(), Error> {
    let path = folder.join(names::SEARCH_JOURNAL);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(&path, &error)),
        _ => Ok(()),
    }
}

fn write_error(path: &Path, error: &io::Error) -> Error {
    Error::Write { source: io::Error::new(error.kind(), format!("{}: {error}", path.display())) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use search::space::SearchSpace;

    use super::*;

    /// Asks for `archs` in batches of 10 for a predictor that adds `plus`; the scores and how many were evaluated.
    fn ask(folder: &Path, archs: &[ArchSpec], plus: f64) -> (Vec<f64>, usize) {
        let identity = Digester::new("test").numbers([plus].into_iter()).finish();
        let mut journal = Journal::open(folder, identity).unwrap();
        let mut evaluated = 0;
        let mut scores = Vec::new();
        for batch in archs.chunks(10) {
            let evaluate = |archs: &[ArchSpec]| -> Result<Vec<f64>, std::convert::Infallible> {
                evaluated += archs.len();
                Ok(archs
                    .iter()
                    .map(|arch| plus + arch.stages().iter().map(|s| s.blocks.len()).sum::<usize>() as f64)
                    .collect())
            };
            scores.extend(journal.scores(batch, evaluate).unwrap());
        }
        (scores, evaluated)
    }

    #[test]
    fn what_is_recorded_is_not_evaluated_again_and_never_believed_of_another_search() {
        let folder = tempfile::tempdir().unwrap();
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let archs: Vec<ArchSpec> = (0..60).map(|_| space.sample(&mut rng)).collect();
        let whole = ask(folder.path(), &archs, 0.0);
        assert_eq!(whole.1, 60);
        let path = folder.path().join(names::SEARCH_JOURNAL);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), digest::BYTES + 60 * RECORD);
        // Killed anywhere, in the middle of a record or of the digest too.
        for kept in [0, 7, 32, 32 + 16, 32 + 16 * 10, 32 + 16 * 33 + 5, 32 + 16 * 60] {
            fs::write(&path, &bytes[..kept]).unwrap();
            let again = ask(folder.path(), &archs, 0.0);
            assert_eq!(again.0, whole.0);
            assert_eq!(again.1, 60 - kept.saturating_sub(digest::BYTES) / RECORD);
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        // A score that is not what was written.
        let mut damaged = bytes.clone();
        damaged[32 + 16 * 20 + 12] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(ask(folder.path(), &archs, 0.0), (whole.0.clone(), 60 - 20));
        assert_eq!(fs::read(&path).unwrap(), bytes);
        // Another predictor, whatever the first scores say.
        assert_eq!(ask(folder.path(), &archs, 1.0).0, whole.0.iter().map(|score| score + 1.0).collect::<Vec<_>>());
        // Another order from the middle on.
        fs::write(&path, &bytes).unwrap();
        let mut other = archs.clone();
        other[25..].reverse();
        let fresh = tempfile::tempdir().unwrap();
        assert_eq!(ask(folder.path(), &other, 0.0).0, ask(fresh.path(), &other, 0.0).0);
        assert_eq!(fs::read(&path).unwrap(), fs::read(fresh.path().join(names::SEARCH_JOURNAL)).unwrap());
    }
}
