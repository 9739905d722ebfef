//! How many threads everything computes with.

/// Sets the number of threads of Rust's pool and LibTorch's, for the whole process. Call it before anything computes.
pub fn set(threads: usize) {
    // A pool that exists already stays as it is: results do not depend on it.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    #[cfg(feature = "torch")]
    supernet::device::set_threads(threads);
}
