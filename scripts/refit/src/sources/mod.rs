//! Files of measurements that only the shipped targets are made of, one format each.

pub mod mlperf_power;
pub mod mlperf_tiny;
pub mod ofa_specialized;
