//! Which part of a sweep a process computes: as it is told, or as Slurm and Kubernetes tell the tasks of an array.

use std::str::FromStr;

use crate::sweep::error::SweepError;

/// One of so many parts; each point belongs to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    number: usize,
    of: usize,
}

impl Shard {
    /// Everything.
    pub const WHOLE: Shard = Shard { number: 0, of: 1 };

    /// Whether the point at a place is its.
    pub fn has(self, place: usize) -> bool {
        place % self.of == self.number
    }

    /// Whether it is not everything.
    pub fn is_part(self) -> bool {
        self.of > 1
    }

    /// As the environment of a task says: `SLURM_ARRAY_TASK_ID` with `SLURM_ARRAY_TASK_COUNT` and `SLURM_ARRAY_TASK_MIN`, or
    /// `JOB_COMPLETION_INDEX` of a Kubernetes Indexed Job with `JOB_COMPLETIONS`, which the job's file has to set.
    ///
    /// # Errors
    /// A number that is none, or beyond the count.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Shard>, SweepError> {
        let number = |name: &str| -> Result<Option<usize>, SweepError> {
            let wrong = |given: String| SweepError::Shard { given: format!("{name}={given}"), problem: "not a number" };
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
            None => Err(SweepError::Shard { given: given.to_string(), problem: "the array has fewer tasks" }),
        }
    }
}

impl FromStr for Shard {
    type Err = SweepError;

    /// `2/4` is the second of four.
    fn from_str(text: &str) -> Result<Shard, SweepError> {
        let wrong = |problem| SweepError::Shard { given: text.to_owned(), problem };
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
        for wrong in ["0/3", "4/3", "1/0", "1", "a/b", "-1/3", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_environment_of_an_array_names_the_shard() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, String)> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            Shard::of_environment(move |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
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
