//! Which part of a list of things a process computes: as it is told, as Slurm and Kubernetes tell the tasks of an array, or
//! as its rank says in a group of processes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use storage::failure::{Failure, FailureKind, Setting};

/// What has no such part.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// No such shard.
    #[error("`{given}` is no shard: {problem}")]
    Wrong {
        /// What was given.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Pairs near the front, in parts.
    #[error("rounds near the front cannot be shared out: what one proposes follows from all pairs before it")]
    Rounds,
}

impl Failure for ShardError {
    fn kind(&self) -> FailureKind {
        FailureKind::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Wrong { .. } => "the second of four is 2/4".into(),
            Self::Rounds => format!(
                "leave {} out; when all parts are there, one process goes on with it and {}",
                Setting("near-front"),
                Setting("measured")
            ),
        })
    }
}

/// One of so many parts; each thing belongs to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    number: usize,
    of: usize,
}

impl Shard {
    /// Everything.
    pub const WHOLE: Shard = Shard { number: 0, of: 1 };

    /// Part `number`, from 0, of so many.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn new(number: usize, of: usize) -> Shard {
        assert!(number < of, "parts count from 0");
        Shard { number, of }
    }

    /// Whether the thing at a place is its.
    pub fn has(self, place: usize) -> bool {
        place % self.of == self.number
    }

    /// Whether it is not everything.
    pub fn is_part(self) -> bool {
        self.of > 1
    }

    /// The places of its things among so many, ascending.
    pub fn places(self, count: usize) -> impl Iterator<Item = usize> {
        (self.number..count).step_by(self.of)
    }

    /// The lines, from 1, that its things are in a file of one on each.
    pub fn lines(self) -> impl Iterator<Item = usize> {
        (self.number..).step_by(self.of).map(|place| place + 1)
    }

    /// Where its part of a file goes: `pairs.parquet` becomes `pairs-2-of-4.parquet`, everything stays where it is.
    pub fn path(self, whole: &Path) -> PathBuf {
        if !self.is_part() {
            return whole.to_path_buf();
        }
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let end = whole.extension().map_or(String::new(), |end| format!(".{}", end.to_string_lossy()));
        whole.with_file_name(format!("{}-{}-of-{}{end}", text(whole.file_stem()), self.number + 1, self.of))
    }

    /// As the environment of a task in an array says: `SLURM_ARRAY_TASK_ID` with `SLURM_ARRAY_TASK_COUNT` and `SLURM_ARRAY_TASK_MIN`, or
    /// `JOB_COMPLETION_INDEX` of a Kubernetes Indexed Job with `JOB_COMPLETIONS`, which the job's file has to set.
    ///
    /// # Errors
    /// A number that is none, or beyond the count.
    pub fn of_array(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Shard>, ShardError> {
        let number = |name: &str| -> Result<Option<usize>, ShardError> {
            let wrong = |given: String| ShardError::Wrong { given: format!("{name}={given}"), problem: "not a number" };
            variable(name).map(|text| text.trim().parse().map_err(|_| wrong(text))).transpose()
        };
        let task = match number("SLURM_ARRAY_TASK_ID")? {
            Some(id) => {
                let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
                number("SLURM_ARRAY_TASK_COUNT")?.map(|of| (id, id.checked_sub(first), of))
            }
            None => match number("JOB_COMPLETION_INDEX")? {
                Some(index) => number("JOB_COMPLETIONS")?.map(|of| (index, Some(index), of)),
                None => None,
            },
        };
        let Some((given, number, of)) = task else { return Ok(None) };
        match number.filter(|number| *number < of) {
            Some(number) => Ok(Some(Shard { number, of })),
            None => Err(ShardError::Wrong { given: given.to_string(), problem: "the array has fewer tasks" }),
        }
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    /// `2/4` is the second of four.
    fn from_str(text: &str) -> Result<Shard, ShardError> {
        let wrong = |problem| ShardError::Wrong { given: text.to_owned(), problem };
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        let (number, of): (usize, usize) =
            parts.ok_or(wrong("two whole numbers with a slash between them are wanted"))?;
        match number.checked_sub(1) {
            Some(number) if number < of => Ok(Shard { number, of }),
            _ => Err(wrong("the first number goes from 1 to the second")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_all_points_out() {
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().unwrap()).collect();
        for place in 0..20 {
            assert_eq!(shards.iter().filter(|shard| shard.has(place)).count(), 1);
        }
        let mut places: Vec<usize> = shards.iter().flat_map(|shard| shard.places(20)).collect();
        places.sort_unstable();
        assert!(places.into_iter().eq(0..20) && Shard::new(1, 3).places(20).all(|place| shards[1].has(place)));
        for wrong in ["0/3", "4/3", "1/0", "1", "a/b", "-1/3", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_of_a_file_has_a_name_of_its_own() {
        let path = |shard: Shard, whole: &str| shard.path(Path::new(whole)).display().to_string();
        assert_eq!(path(Shard::WHOLE, "a/pairs.parquet"), "a/pairs.parquet");
        assert_eq!(path(Shard::new(1, 4), "a/pairs.parquet"), "a/pairs-2-of-4.parquet");
        assert_eq!(path(Shard::new(0, 2), "pairs"), "pairs-1-of-2");
    }

    #[test]
    fn the_environment_of_an_array_names_the_shard() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, String)> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            Shard::of_array(move |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
        };
        assert_eq!(of(&[]).unwrap(), None);
        let slurm = [("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_COUNT", "4"), ("SLURM_ARRAY_TASK_MIN", "1")];
        assert_eq!(of(&slurm).unwrap(), Some("3/4".parse().unwrap()));
        let kubernetes = [("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "8")];
        assert_eq!(of(&kubernetes).unwrap(), Some("1/8".parse().unwrap()));
        assert!(of(&[("JOB_COMPLETION_INDEX", "8"), ("JOB_COMPLETIONS", "8")]).is_err());
        assert!(of(&[("SLURM_ARRAY_TASK_ID", "x"), ("SLURM_ARRAY_TASK_COUNT", "4")]).is_err());
    }
}
