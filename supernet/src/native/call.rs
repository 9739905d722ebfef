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

/// What a failed call says.
pub(super) fn message(answer: *mut c_char) -> Option<String> {
    if answer.is_null() {
        return None;
    }
    // SAFETY: a message is a C string that is ours to free, once.
    unsafe {
        let text = CStr::from_ptr(answer).to_string_lossy().into_owned();
        free(answer);
        Some(text)
    }
}

/// Frees a text that a call gave.
///
/// # Safety
/// It came from a call, and nobody uses it afterwards.
pub(super) unsafe fn free(text: *mut c_char) {
    // SAFETY: what the caller promises.
    unsafe { ofa_free_message(text) }
}

/// Panics with the message of a failed call.
pub(super) fn check(answer: *mut c_char) {
    if let Some(text) = message(answer) {
        panic!("{text}");
    }
}

/// The tensor that a call left in `out`.
pub(super) fn taken(out: *mut c_void) -> Tensor {
    assert!(!out.is_null(), "a call that succeeds gives a tensor");
    // SAFETY: it points to a new `at::Tensor` that nobody else owns; the result frees it.
    unsafe { Tensor::from_ptr(out.cast()) }
}
