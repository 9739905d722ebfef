//! The optimiser's step over all weights at once.

use std::ffi::c_char;
use std::ptr;

use tch::Tensor;

use super::call::{Pointer, check, pointer};

// SAFETY: the signature is that of `native/api.cpp`.
unsafe extern "C" {
    fn ofa_sgd(
        count: usize,
        weights: *const Pointer,
        velocities: *const Pointer,
        averages: *const Pointer,
        decays: *const f32,
        scale: f32,
        rate: f32,
        momentum: f32,
        average_decay: f32,
    ) -> *mut c_char;
}

/// One weight in [`sgd`].
pub(crate) struct SgdSlot<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) velocity: &'a Tensor,
    /// λ.
    pub(crate) decay: f64,
}

/// One step of Nesterov SGD over all slots, as [`crate::optim`] defines it, with `scale` times the gradients, which are
/// zero afterwards.
pub(crate) fn sgd<'a>(slots: impl Iterator<Item = SgdSlot<'a>>, scale: f64, rate: f64, momentum: f64) {
    let (mut weights, mut velocities, mut decays) = (Vec::new(), Vec::new(), Vec::new());
    for slot in slots {
        weights.push(pointer(slot.weight));
        velocities.push(pointer(slot.velocity));
        decays.push(slot.decay as f32);
    }
    // SAFETY: the lists are equally long, and the tensors are borrowed for longer than the call.
    check(unsafe {
        ofa_sgd(
            weights.len(),
            weights.as_ptr(),
            velocities.as_ptr(),
            ptr::null(),
            decays.as_ptr(),
            scale as f32,
            rate as f32,
            momentum as f32,
            0.0,
        )
    });
}
