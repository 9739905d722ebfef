//! Which rank a process is, as those say who launch many of them.

use std::time::Duration;

/// A launcher's words that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment says {name}={value}, {reason}")]
#[allow(missing_docs, reason = "the message says what each field is")]
pub struct NotLaunched {
    pub name: String,
    pub value: String,
    pub reason: &'static str,
}

/// A process's place among those that train together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub count: usize,
    /// Its number on its machine, by which it takes a GPU.
    pub local_rank: usize,
    /// Where the store is.
    pub host: String,
    /// Port of the store.
    pub port: u16,
    /// Whether the launcher serves the store itself.
    pub is_served: bool,
    /// Which start of the same group it is: a launcher may start all processes again.
    pub attempt: String,
    /// How long it waits for the others to come.
    pub patience: Duration,
    /// How long the others may be silent before they count as lost.
    pub silence: Duration,
}

/// The store's port where nobody says, as PyTorch has it.
const PORT: u16 = 29_500;
const PATIENCE: Duration = Duration::from_secs(300);
/// An evaluation by the first rank lies between two sums.
const SILENCE: Duration = Duration::from_secs(1800);

impl Launch {
    /// One of `count` processes on this machine, whose store is at `port`.
    pub fn on_this_machine(rank: usize, count: usize, port: u16) -> Launch {
        Launch {
            rank,
            count,
            local_rank: rank,
            host: "127.0.0.1".into(),
            port,
            is_served: false,
            attempt: "0".into(),
            patience: PATIENCE,
            silence: SILENCE,
        }
    }

    /// What this process's environment says: `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR` and `MASTER_PORT`, as torchrun
    /// and Kubeflow set them; or `SLURM_PROCID`, `SLURM_NTASKS` and `SLURM_LOCALID` in a process that srun started. `None`
    /// for a process of its own. `OFA_RANK_TIMEOUT` are the seconds after which a silent rank counts as lost.
    ///
    /// # Errors
    /// A number that is none, a rank beyond the last, or no address.
    pub fn from_environment() -> Result<Option<Launch>, NotLaunched> {
        Launch::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// The number of this process among those that were launched with it, and how many these are, for work that needs no
    /// meeting; `None` for a process of its own.
    ///
    /// # Errors
    /// A number that is none, or a rank beyond the last.
    pub fn place_in_environment() -> Result<Option<(usize, usize)>, NotLaunched> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let get = |name: &str| match name {
            "MASTER_ADDR" => Some(String::new()),
            name => get(name),
        };
        Ok(Launch::from(get)?.map(|launch| (launch.rank, launch.count)))
    }

    fn from(get: impl Fn(&str) -> Option<String>) -> Result<Option<Launch>, NotLaunched> {
        // In the script of a batch job these are set, too, but nobody started its tasks.
        let by_slurm = get("WORLD_SIZE").is_none() && get("SLURM_STEP_ID").is_some();
        let names = match by_slurm {
            true => ["SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"],
            false => ["RANK", "WORLD_SIZE", "LOCAL_RANK"],
        };
        let number = |name: &str| -> Result<Option<usize>, NotLaunched> {
            let Some(value) = get(name) else { return Ok(None) };
            let wrong =
                |_| NotLaunched { name: name.into(), value: value.clone(), reason: "but it must be a whole number" };
            value.parse().map(Some).map_err(wrong)
        };
        let missing =
            |name: &str| NotLaunched { name: name.into(), value: String::new(), reason: "but it must be set" };
        let Some(count) = number(names[1])?.filter(|count| *count > 1) else { return Ok(None) };
        let rank = number(names[0])?.ok_or_else(|| missing(names[0]))?;
        if rank >= count {
            let reason = "but ranks count from 0 to one less than there are processes";
            return Err(NotLaunched { name: names[0].into(), value: rank.to_string(), reason });
        }
        let host = get("MASTER_ADDR").or_else(|| get("SLURM_LAUNCH_NODE_IPADDR").filter(|_| by_slurm));
        let port = match number("MASTER_PORT")? {
            None => PORT,
            Some(port) => u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| NotLaunched {
                name: "MASTER_PORT".into(),
                value: port.to_string(),
                reason: "but it must be a port, 1 to 65535",
            })?,
        };
        let is = |name: &str, value: &str| get(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
        let silence = number("OFA_RANK_TIMEOUT")?.map_or(SILENCE, |seconds| Duration::from_secs(seconds.max(1) as u64));
        Ok(Some(Launch {
            rank,
            count,
            local_rank: number(names[2])?.unwrap_or(0),
            host: host.ok_or_else(|| missing("MASTER_ADDR"))?,
            port,
            is_served: is("TORCHELASTIC_USE_AGENT_STORE", "true"),
            attempt: get("TORCHELASTIC_RESTART_COUNT").unwrap_or_else(|| "0".into()),
            patience: PATIENCE.min(silence),
            silence,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Launch>, NotLaunched> {
        Launch::from(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_are_understood() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("RANK", "0"), ("WORLD_SIZE", "1")]), Ok(None));
        let torchrun = [
            ("RANK", "3"),
            ("WORLD_SIZE", "4"),
            ("LOCAL_RANK", "1"),
            ("MASTER_ADDR", "node-0"),
            ("MASTER_PORT", "29400"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
        ];
        let launch = read(&torchrun).unwrap().unwrap();
        assert_eq!((launch.rank, launch.count, launch.local_rank), (3, 4, 1));
        assert_eq!((launch.host.as_str(), launch.port, launch.attempt.as_str()), ("node-0", 29_400, "2"));
        assert!(launch.is_served);
        let slurm = [
            ("SLURM_PROCID", "1"),
            ("SLURM_NTASKS", "2"),
            ("SLURM_LOCALID", "0"),
            ("SLURM_LAUNCH_NODE_IPADDR", "10.0.0.7"),
        ];
        // The script of a batch job is no task of it.
        assert_eq!(read(&slurm), Ok(None));
        let launch = read(&[&slurm[..], &[("SLURM_STEP_ID", "0")]].concat()).unwrap().unwrap();
        assert_eq!((launch.rank, launch.count, launch.host.as_str(), launch.port), (1, 2, "10.0.0.7", PORT));
        assert!(!launch.is_served);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let with = |name, value| {
            let others = [("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "here")];
            let others = others.into_iter().filter(|(known, _)| *known != name);
            let all: Vec<_> = others.chain((!str::is_empty(value)).then_some((name, value))).collect();
            read(&all).unwrap_err().to_string()
        };
        for (name, value, words) in [
            ("RANK", "2", "RANK=2, but ranks count from 0"),
            ("RANK", "-1", "RANK=-1, but it must be a whole number"),
            ("RANK", "", "RANK=, but it must be set"),
            ("WORLD_SIZE", "two", "WORLD_SIZE=two"),
            ("MASTER_ADDR", "", "MASTER_ADDR=, but it must be set"),
            ("MASTER_PORT", "0", "MASTER_PORT=0, but it must be a port"),
            ("MASTER_PORT", "70000", "MASTER_PORT=70000, but it must be a port"),
        ] {
            assert!(with(name, value).contains(words), "{}", with(name, value));
        }
    }
}
