//! Several pieces of work at a time, each on one thread of a CPU.
//!
//! Small networks leave several threads waiting for one another; and what one thread computes does not depend on how many
//! there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use tch::Device;

/// Does pieces of work 0 to `count` and hands the results to `each`, in their order, until it says `false` or one fails.
/// Every worker has a `tools` of its own, made before it begins. On a GPU there is one worker.
///
/// # Errors
/// The first failure, in the order of the work.
pub(crate) fn side_by_side<Tools: Send, T: Send, E: Send>(
    device: Device,
    count: usize,
    mut tools: impl FnMut() -> Tools,
    work: impl Fn(&Tools, usize) -> Result<T, E> + Sync,
    each: &mut dyn FnMut(usize, T) -> bool,
) -> Result<(), E> {
    let threads = if device == Device::Cpu { tch::get_num_threads().max(1) as usize } else { 1 };
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads.min(count) {
            let (tools, sender) = (tools(), sender.clone());
            let (work, next, stop) = (&work, &next, &stop);
            scope.spawn(move || {
                if device == Device::Cpu {
                    tch::set_num_threads(1);
                }
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || sender.send((index, work(&tools, index))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let (mut expected, mut failure) = (0, None);
        for (index, done) in receiver {
            early.insert(index, done);
            while let Some(done) = early.remove(&expected) {
                let goes_on = stop.load(Ordering::Relaxed)
                    || match done {
                        Ok(done) => each(expected, done),
                        Err(error) => {
                            failure = Some(error);
                            false
                        }
                    };
                if !goes_on {
                    stop.store(true, Ordering::Relaxed);
                }
                expected += 1;
            }
        }
        failure
    });
    if device == Device::Cpu {
        // The number is the whole process's, not the workers'.
        tch::set_num_threads(threads as i32);
    }
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(count: usize, fails: usize, until: usize) -> (Vec<usize>, Result<(), usize>) {
        let mut seen = Vec::new();
        let work = |base: &usize, at: usize| if at == fails { Err(at) } else { Ok(base + at) };
        let result = side_by_side(Device::Cpu, count, || 100, work, &mut |at, value| {
            assert_eq!(value, 100 + at);
            seen.push(at);
            at + 1 != until
        });
        (seen, result)
    }

    #[test]
    fn results_come_in_order_until_one_fails_or_nobody_wants_more() {
        assert_eq!(run(20, 99, 99), ((0..20).collect(), Ok(())));
        assert_eq!(run(20, 7, 99), ((0..7).collect(), Err(7)));
        assert_eq!(run(20, 7, 5), ((0..5).collect(), Ok(())));
        assert_eq!(run(0, 99, 99), (vec![], Ok(())));
    }
}
