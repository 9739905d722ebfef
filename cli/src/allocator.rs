//! Freed memory is kept for the next tensor.

/// Largest block that comes from the heap; beyond it (larger images and networks than a CPU trains) the kernel maps it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FROM_HEAP: libc::c_int = 1 << 30;
/// By how much the heap grows at a time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GROWTH: libc::c_int = 64 << 20;

/// Asks the C library's allocator, which LibTorch uses on the CPU, not to give memory back to the kernel.
///
/// A training step allocates and frees some hundred activations of megabytes each. By default most of them go back
/// at once, and the next step pays again for every page: on a virtual machine more than the arithmetic costs.
pub(crate) fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` takes two numbers, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, FROM_HEAP);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_TOP_PAD, GROWTH);
    }
}
