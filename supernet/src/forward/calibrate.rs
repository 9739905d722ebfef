//! Batch-norm calibration: estimates the statistics of one subnet from images, weights untouched.

use std::borrow::Borrow;

use tch::Tensor;

use crate::forward::statistics::BnStatistics;
use crate::forward::subnet::{Mode, Subnet};

/// Statistics of `subnet` over `batches` (`[N, 3, R, R]` each, normalised), in their order.
pub fn calibrate(subnet: &Subnet, batches: impl IntoIterator<Item = impl Borrow<Tensor>>) -> BnStatistics {
    let mut statistics = BnStatistics::default();
    tch::no_grad(|| {
        for images in batches {
            let _ = subnet.forward(images.borrow(), Mode::Calibrate(&mut statistics));
        }
    });
    statistics
}
