//! The four reference networks of MLPerf Tiny (Banbury et al., NeurIPS 2021 datasets and benchmarks, arXiv:2106.07597;
//! github.com/mlcommons/tiny, `benchmark/training`), whose energies on microcontrollers are published.

use crate::reference_networks::mobilenet_v1_with;
use crate::table_op::{TableKind, TableOp, workload};
use network::op::{Activation, Workload};
use network::units::Macs;

/// Name in words and multiply-accumulates of the network of a benchmark: `ad`, `ic`, `kws` or `vww`.
pub(crate) fn network(benchmark: &str) -> Option<(&'static str, Macs)> {
    Some(match benchmark {
        "ad" => ("autoencoder", autoencoder().macs()),
        "ic" => ("resnet-8", resnet_8().macs()),
        "kws" => ("ds-cnn", ds_cnn_macs()),
        "vww" => ("mobilenet-v1-0.25", mobilenet_v1_with(25, 96, 2).macs()),
        _ => return None,
    })
}

/// Anomaly detection: fully connected layers around a bottleneck of 8.
fn autoencoder() -> Workload {
    let widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640];
    let layer = |pair: &[u32]| TableOp::plain(TableKind::Linear, 1, pair[0], 1, pair[1]);
    workload(1, &widths.windows(2).map(layer).collect::<Vec<TableOp>>())
}

/// Image classification on CIFAR-10: three stages of one residual pair each, 16, 32 and 64 wide.
fn resnet_8() -> Workload {
    let conv = |size: u32, from: u32, kernel: u32, stride: u32, to: u32| TableOp {
        kernel,
        stride,
        activation: Activation::Relu,
        batch_norm: true,
        ..TableOp::plain(TableKind::Conv, size, from, size / stride, to)
    };
    let mut ops = vec![conv(32, 3, 3, 1, 16), conv(32, 16, 3, 1, 16), conv(32, 16, 3, 1, 16)];
    for (size, from) in [(32, 16), (16, 32)] {
        let (to, half) = (2 * from, size / 2);
        // The pair, and the 1×1 convolution that brings its input to the same shape.
        ops.extend([conv(size, from, 3, 2, to), conv(half, to, 3, 1, to), conv(size, from, 1, 2, to)]);
    }
    ops.extend([TableOp::plain(TableKind::AvgPool, 8, 64, 1, 64), TableOp::plain(TableKind::Linear, 1, 64, 1, 10)]);
    workload(32, &ops)
}

/// Keyword spotting: 64 channels on maps of 25 × 5, which are not square and so no [`Workload`].
fn ds_cnn_macs() -> Macs {
    let (positions, width, classes) = (25 * 5, 64, 12);
    let stem = positions * 10 * 4 * width;
    let pair = positions * (9 * width + width * width);
    Macs(stem + 4 * pair + width * classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Millions of MACs, to the digits that collections of these results give them with.
    #[test]
    fn the_reference_networks_count_their_macs() {
        for (benchmark, millions, digits) in [("ic", 12.5, 1), ("vww", 7.5, 1), ("kws", 2.7, 1), ("ad", 0.26, 2)] {
            let (name, macs) = network(benchmark).unwrap();
            println!("{name}: {} MACs", macs.0);
            assert_eq!(format!("{:.digits$}", macs.0 as f64 / 1e6), format!("{millions:.digits$}"), "{name}");
        }
        assert_eq!(network("sww"), None);
    }

    /// Shapes follow on each other, but for the convolutions that run beside a pair.
    #[test]
    fn operators_follow_on_each_other() {
        for network in [autoencoder(), mobilenet_v1_with(25, 96, 2)] {
            for pair in network.ops.windows(2) {
                assert_eq!(pair[0].output().channels, pair[1].input().channels, "{} {}", pair[0], pair[1]);
            }
        }
        let classifier = resnet_8().ops.pop().unwrap();
        assert_eq!((classifier.input().channels, classifier.output().channels), (64, 10));
    }
}
