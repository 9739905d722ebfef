//! Batch-norm statistics over the batches of all processes that train together.

use std::cell::RefCell;

// SAFETY: the signature is that of `native/api.cpp`.
unsafe extern "C" {
    fn ofa_synchronise_statistics(sum: Option<extern "C" fn(*mut f64, i64) -> i64>);
}

/// Replaces numbers by their sums over all processes; gives how many these are.
pub(crate) type SumOverRanks = Box<dyn Fn(&mut [f64]) -> i64>;

thread_local! {
    static SUM: RefCell<Option<SumOverRanks>> = const { RefCell::new(None) };
}

/// As long as it lives, statistics of a batch are those of all processes' batches, in this thread, forwards and backwards.
pub(crate) struct Synchronised(());

impl Synchronised {
    /// Over the processes that `over_ranks` sums over.
    pub(crate) fn by(over_ranks: SumOverRanks) -> Synchronised {
        SUM.set(Some(over_ranks));
        // SAFETY: the function lives for ever.
        unsafe { ofa_synchronise_statistics(Some(sum)) };
        Synchronised(())
    }
}

impl Drop for Synchronised {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { ofa_synchronise_statistics(None) };
        SUM.set(None);
    }
}

extern "C" fn sum(values: *mut f64, count: i64) -> i64 {
    // SAFETY: the caller's vector, of which nobody else knows.
    let values = unsafe { std::slice::from_raw_parts_mut(values, count as usize) };
    SUM.with_borrow(|over_ranks| over_ranks.as_ref().map_or(1, |over_ranks| over_ranks(values)))
}
