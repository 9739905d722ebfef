//! Processes that train one supernet together, each on its share of every batch: ranks 0 to N − 1.
//!
//! They find each other as PyTorch's processes do ([`Launch`]: `RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`), by
//! PyTorch's own store, and then talk in a [`ring`] of TCP connections: sums over all ranks are all that training needs.
//! LibTorch's own process groups are not used: the wheel carries no headers of gloo, and NCCL's are in a library of CUDA's.

mod launch;
mod neighbours;
mod ring;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(test)]
use std::time::Duration;

pub use launch::{Launch, NotLaunched};
use neighbours::neighbours;
pub(crate) use ring::Number;
use ring::Ring;

use crate::native::{Store, Synchronised};

/// Processes that train together do not, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RankError {
    reason: String,
}

/// All processes of a training, as one of them sees them; a process of its own is rank 0 of 1.
#[derive(Clone, Debug)]
pub struct Ranks {
    rank: usize,
    count: usize,
    group: Option<Arc<Mutex<Group>>>,
    /// The same ranks in a ring of its own.
    beside: Option<Arc<Mutex<Group>>>,
}

#[derive(Debug)]
struct Group {
    ring: Ring,
    /// Why another rank was lost.
    lost: Option<String>,
}

impl Ranks {
    /// This process alone.
    pub fn alone() -> Ranks {
        Ranks { rank: 0, count: 1, group: None, beside: None }
    }

    /// Meets the other ranks of `launch`.
    ///
    /// # Errors
    /// [`RankError`] where they are not there in time or cannot be reached.
    pub fn meet(launch: &Launch) -> Result<Ranks, RankError> {
        let failed = |what: String| {
            let Launch { rank, count, host, port, .. } = launch;
            let reason = format!("rank {rank} of {count} did not meet the others at {host}:{port}: {what}");
            RankError { reason }
        };
        let serves = launch.rank == 0 && !launch.is_served;
        let store = Store::open(&launch.host, launch.port, serves, launch.patience).map_err(failed)?;
        let own = own_address(launch).map_err(|error| failed(error.to_string()))?;
        let listener = TcpListener::bind(SocketAddr::new(own, 0)).map_err(|error| failed(error.to_string()))?;
        let address = listener.local_addr().map_err(|error| failed(error.to_string()))?;
        let key = |rank: usize| format!("ofa/{}/{rank}", launch.attempt);
        store.set(&key(launch.rank), &address.to_string()).map_err(failed)?;
        let next = (launch.rank + 1) % launch.count;
        let address = store.get(&key(next)).map_err(failed)?;
        let address: SocketAddr = address.parse().map_err(|_| failed(format!("`{address}` is no address")))?;
        let rings = neighbours(launch.rank, launch.count, address, &listener, launch.patience).and_then(|ends| {
            let ring =
                |[next, previous]: [TcpStream; 2]| Ring::new(launch.rank, launch.count, next, previous, launch.silence);
            let [one, other] = ends;
            Ok([ring(one)?, ring(other)?])
        });
        let ranks = Ranks::of(rings.map_err(|error| failed(error.to_string()))?);
        // The store goes with the process that serves it: not before everybody is in the ring.
        ranks.wait();
        ranks.check()?;
        Ok(ranks)
    }

    fn of(rings: [Ring; 2]) -> Ranks {
        let (rank, count) = (rings[0].rank(), rings[0].count());
        let [group, beside] = rings.map(|ring| Some(Arc::new(Mutex::new(Group { ring, lost: None }))));
        Ranks { rank, count, group, beside }
    }

    /// The same ranks for one other thread: what it sums goes beside what this one does, which is why neither has to know
    /// where the other is.
    pub(crate) fn beside(&self) -> Ranks {
        Ranks { group: self.beside.clone(), beside: None, ..*self }
    }

    /// Which of them this one is.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether this one writes and speaks for all.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// Replaces each of `values` by its sum over all ranks, the same bits everywhere. Where a rank was lost they stay as they
    /// are: ask [`Ranks::check`] before they are used for anything that lasts.
    pub(crate) fn sum<T: Number>(&self, values: &mut [T]) {
        let Some(mut group) = self.group.as_ref().map(locked) else { return };
        if group.lost.is_none()
            && let Err(lost) = group.ring.sum(values)
        {
            group.lost = Some(lost);
        }
    }

    /// The mean over all ranks of what each has of its share of a batch.
    pub(crate) fn mean(&self, value: f64) -> f64 {
        let mut sum = [value];
        self.sum(&mut sum);
        sum[0] / self.count as f64
    }

    /// While the result lives, batch-norm statistics in this thread are those of all ranks' batches.
    pub(crate) fn synchronised(&self) -> Option<Synchronised> {
        let ranks = self.clone();
        let over_ranks = move |values: &mut [f64]| {
            ranks.sum(values);
            ranks.count as i64
        };
        (self.count > 1).then(|| Synchronised::by(Box::new(over_ranks)))
    }

    /// Waits until all ranks are here.
    pub fn wait(&self) {
        self.sum(&mut [0.0_f64]);
    }

    /// For each of `flags`, whether any rank has it set.
    ///
    /// # Errors
    /// A rank was lost.
    pub(crate) fn any<const N: usize>(&self, flags: [bool; N]) -> Result<[bool; N], RankError> {
        let mut values = flags.map(|flag| f64::from(u8::from(flag)));
        self.sum(&mut values);
        self.check()?;
        Ok(values.map(|value| value > 0.0))
    }

    /// Refuses to go on where `number` is not the first rank's: `what` it says the ranks disagree about.
    ///
    /// # Errors
    /// They do, or a rank was lost.
    pub fn agree(&self, number: u64, what: &str) -> Result<(), RankError> {
        if self.count == 1 {
            return Ok(());
        }
        // Halves, which a double holds exactly.
        let halves = [number >> 32, number & 0xffff_ffff].map(|half| half as f64);
        let mut first = if self.is_first() { halves } else { [0.0; 2] };
        self.sum(&mut first);
        let [others] = self.any([first != halves])?;
        match others {
            true => Err(RankError { reason: format!("the ranks do not have the same {what}") }),
            false => Ok(()),
        }
    }

    /// Whether all ranks are still there.
    ///
    /// # Errors
    /// [`RankError`] where one was lost.
    pub fn check(&self) -> Result<(), RankError> {
        let groups = self.group.iter().chain(&self.beside);
        match groups.filter_map(|group| locked(group).lost.clone()).next() {
            Some(reason) => Err(RankError { reason }),
            None => Ok(()),
        }
    }
}

fn locked(group: &Arc<Mutex<Group>>) -> MutexGuard<'_, Group> {
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address by which this machine reaches the store, and so the others this machine.
fn own_address(launch: &Launch) -> std::io::Result<IpAddr> {
    // Nothing is sent: connecting a socket for datagrams chooses a way.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect((launch.host.as_str(), launch.port))?;
        socket.local_addr()
    });
    let probe = probe.or_else(|_| {
        let socket = std::net::UdpSocket::bind("[::]:0")?;
        socket.connect((launch.host.as_str(), launch.port))?;
        socket.local_addr()
    });
    Ok(probe?.ip())
}

/// Ranks in threads of this process; for tests.
#[cfg(test)]
pub(crate) fn in_threads<T: Send>(count: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let (addresses, work) = (&addresses, &work);
    std::thread::scope(|scope| {
        let one = |(rank, listener): (usize, TcpListener)| {
            scope.spawn(move || {
                let patience = Duration::from_secs(60);
                let ends = neighbours(rank, count, addresses[(rank + 1) % count], &listener, patience).unwrap();
                let rings = ends.map(|[next, previous]| Ring::new(rank, count, next, previous, patience).unwrap());
                work(Ranks::of(rings))
            })
        };
        let threads: Vec<_> = listeners.into_iter().enumerate().map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_same_bits_on_every_rank() {
        for count in [2, 3, 5] {
            for length in [1, 2, 4, 1000, 100_003] {
                let value = |rank: usize, at: usize| ((rank * 7919 + at * 104_729) % 1009) as f32 / 997.0 - 0.5;
                let sums = in_threads(count, |ranks| {
                    let mut values: Vec<f32> = (0..length).map(|at| value(ranks.rank(), at)).collect();
                    ranks.sum(&mut values);
                    ranks.check().unwrap();
                    values
                });
                assert!(sums.iter().all(|one| one == &sums[0]));
                for (at, sum) in sums[0].iter().enumerate() {
                    let expected: f64 = (0..count).map(|rank| f64::from(value(rank, at))).sum();
                    assert!((f64::from(*sum) - expected).abs() < 1e-5, "{at}: {sum} for {expected}");
                }
            }
        }
    }

    #[test]
    fn what_one_rank_wants_all_do_and_what_differs_is_refused() {
        let answers = in_threads(3, |ranks| {
            let any = ranks.any([ranks.rank() == 2, false]).unwrap();
            ranks.agree(u64::MAX - 5, "weights").unwrap();
            let refused = ranks.agree(1 << 40 | u64::from(ranks.rank() == 1), "images").unwrap_err();
            (any, refused.to_string())
        });
        for (any, refused) in answers {
            assert_eq!((any, refused.as_str()), ([true, false], "the ranks do not have the same images"));
        }
    }

    #[test]
    fn a_lost_rank_is_noticed_by_all_others() {
        let answers = in_threads(4, |ranks| {
            ranks.wait();
            if ranks.rank() == 2 {
                return String::new();
            }
            let mut values = vec![1.0_f32; 50_000];
            ranks.sum(&mut values);
            ranks.sum(&mut values);
            ranks.check().unwrap_err().to_string()
        });
        for (rank, answer) in answers.iter().enumerate().filter(|(rank, _)| *rank != 2) {
            assert!(answer.contains("is gone"), "rank {rank}: {answer}");
        }
    }

    #[test]
    fn ranks_meet_by_the_store() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let launch = move |rank| Launch { rank, count: 2, port, ..Launch::on_this_machine(0, 2, 0) };
        let meet = move |rank| {
            let ranks = Ranks::meet(&launch(rank)).unwrap();
            let mut values = [rank as f64 + 1.0];
            ranks.sum(&mut values);
            values[0]
        };
        let other = std::thread::spawn(move || meet(1));
        assert_eq!((meet(0), other.join().unwrap()), (3.0, 3.0));
        // Nobody is there.
        let late = Launch { patience: Duration::from_secs(1), ..launch(1) };
        let error = Ranks::meet(&late).unwrap_err().to_string();
        assert!(error.contains("rank 1 of 2 did not meet the others"), "{error}");
    }
}
