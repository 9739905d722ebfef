//! Calls across the border: tensors go as pointers, exceptions come back as panics.

use std::ffi::{CStr, c_char, c_void};

use tch::Tensor;

/// A `const at::Tensor *`.
pub(super) type Pointer = *const c_void;

// SAFETY: the signature is that of `native/api.cpp`.
unsafe extern "C" {
    fn ofa_free_message(message: *mut c_char);
}

pub(super) fn pointer(tensor: &Tensor) -> Pointer {
    tensor.as_ptr().cast()
}

/// Panics with the message of a failed call.
pub(super) fn check(message: *mut c_char) {
    if message.is_null() {
        return;
    }
    // SAFETY: a message is a C string that is ours to free, once.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        ofa_free_message(message);
        text
    };
    panic!("{text}");
}

/// The tensor that a call left in `out`.
pub(super) fn taken(out: *mut c_void) -> Tensor {
    assert!(!out.is_null(), "a call that succeeds gives a tensor");
    // SAFETY: it points to a new `at::Tensor` that nobody else owns; the result frees it.
    unsafe { Tensor::from_ptr(out.cast()) }
}
