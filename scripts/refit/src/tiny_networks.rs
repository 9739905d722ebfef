//! The four reference networks of MLPerf Tiny (Banbury et al., NeurIPS 2021 datasets and benchmarks, arXiv:2106.07597;
//! github.com/mlcommons/tiny, `benchmark/training`), whose energies on microcontrollers are published.

use hw_targets::table_op::{TableKind, TableOp, workload};
use network::op::Workload;
use network::published;
use network::units::Macs;

/// Name in words and multiply-accumulates of the network of a benchmark: `ad`, `ic`, `kws` or `vww`.
pub(crate) fn network(benchmark: &str) -> Option<(&'static str, Macs)> {
    Some(match benchmark {
        "ad" => ("autoencoder", autoencoder().macs()),
        "ic" => ("resnet-8", published::resnet8(10).macs()),
        "kws" => ("ds-cnn", ds_cnn_macs()),
        "vww" => ("mobilenet-v1-0.25", published::mobilenet_v1(25, 96, 2).macs()),
        _ => return None,
    })
}

/// Anomaly detection: fully connected layers around a bottleneck of 8.
fn autoencoder() -> Workload {
    let widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640];
    let layer = |pair: &[u32]| TableOp::plain(TableKind::Linear, 1, pair[0], 1, pair[1]);
    workload(1, &widths.windows(2).map(layer).collect::<Vec<TableOp>>())
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
}
