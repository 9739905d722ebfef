//! A backward pass that says when each weight's gradient is complete.

use std::ffi::{c_char, c_void};
use std::ptr;

use tch::Tensor;

use super::call::{Pointer, check, pointer};

type Heard = extern "C" fn(context: *mut c_void, weight: usize);

// SAFETY: the signatures are those of `native/api.cpp`.
unsafe extern "C" {
    fn ofa_watch_gradients(out: *mut *mut c_void, count: usize, weights: *const Pointer) -> *mut c_char;
    fn ofa_watched_backward(watch: *mut c_void, loss: Pointer, heard: Heard, context: *mut c_void) -> *mut c_char;
    fn ofa_end_watch(watch: *mut c_void);
}

/// While it lives, this thread's forward passes count what will be added to the gradients of some weights. One at a time.
pub(crate) struct GradientWatch(*mut c_void);

impl GradientWatch {
    /// Of `weights`, which are leaves.
    pub(crate) fn of(weights: &[Tensor]) -> GradientWatch {
        let pointers: Vec<Pointer> = weights.iter().map(pointer).collect();
        let mut watch = ptr::null_mut();
        // SAFETY: as many pointers to tensors that outlive the call, which keeps tensors of its own.
        check(unsafe { ofa_watch_gradients(&mut watch, pointers.len(), pointers.as_ptr()) });
        GradientWatch(watch)
    }

    /// The backward pass of `loss`, whose forward pass was all that was computed since the watch began. Hears of each weight,
    /// by its place, once nothing is added to its gradient any more; of some perhaps never, which then are complete in the
    /// end.
    pub(crate) fn backward(self, loss: &Tensor, mut heard: impl FnMut(usize) + Send) {
        // On a GPU a thread of LibTorch's calls it, while this one waits.
        let mut heard: &mut (dyn FnMut(usize) + Send) = &mut heard;
        let context = ptr::from_mut(&mut heard).cast();
        // SAFETY: `context` is what `call` takes it for, and outlives the pass.
        check(unsafe { ofa_watched_backward(self.0, pointer(loss), call, context) });
    }
}

impl Drop for GradientWatch {
    fn drop(&mut self) {
        // SAFETY: it was made by `ofa_watch_gradients`, and is ended once.
        unsafe { ofa_end_watch(self.0) }
    }
}

extern "C" fn call(context: *mut c_void, weight: usize) {
    // SAFETY: `GradientWatch::backward` gives it, and waits.
    let heard = unsafe { &mut *context.cast::<&mut (dyn FnMut(usize) + Send)>() };
    heard(weight);
}
