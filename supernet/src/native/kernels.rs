//! The sets of kernels that there are, one for each instruction set.

use std::ffi::{CStr, c_char};

// SAFETY: the signature is that of `native/api.cpp`.
unsafe extern "C" {
    fn ofa_has_kernels(name: *const c_char) -> bool;
}

/// Names of all sets, fastest first.
const KERNELS: [&CStr; 4] = [c"avx512bf16", c"avx512", c"avx2", c"portable"];

/// Names of the sets that this processor runs, fastest first.
pub(crate) fn kernels_here() -> Vec<&'static str> {
    // SAFETY: a C string that outlives the call.
    let run_here = KERNELS.into_iter().filter(|name| unsafe { ofa_has_kernels(name.as_ptr()) });
    run_here.map(|name| name.to_str().expect("ASCII")).collect()
}
