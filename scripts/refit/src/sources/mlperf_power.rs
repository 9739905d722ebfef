//! Rows of MLPerf Inference power results (edge, SingleStream): MobileNet v1 and v2 on small boards, energy at the wall
//! plug and 90th-percentile latency of whole networks.
//!
//! The name of a row's model gives width multiplier, resolution and precision, and those give every operator
//! ([`network::published`]). The measured networks have 1001 outputs. Other models (ResNet-50) are not read.

use std::path::Path;

use hw_targets::error::HwError;
use network::op::Workload;
use network::published::{mobilenet_v1, mobilenet_v2};
use storage::file::read_text;
use storage::table::{Cells, Line};

/// Of the measured networks: ImageNet's classes and background.
const OUTPUTS: u32 = 1001;

/// One network measured whole.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerRow {
    /// Release of the results: `v3.0`.
    pub version: String,
    /// Who measured.
    pub organization: String,
    /// Board in words, as submitted.
    pub system: String,
    /// Board, runtime and power mode in one word: what is measured under one set of conditions.
    pub platform: String,
    /// Runtime in words, as submitted.
    pub framework: String,
    /// Cores of the CPU, as submitted.
    pub cores: String,
    /// Whether the network runs in 8-bit integers.
    pub quantized: bool,
    /// Its operators.
    pub network: Workload,
    /// 90th-percentile latency in seconds.
    pub latency: f64,
    /// Joules per inference.
    pub energy: f64,
}

/// All MobileNet v1 and v2 rows of a file (`.csv` or `.csv.gz`).
///
/// # Errors
/// Those of reading; [`HwError::File`] for a MobileNet whose name or numbers make no sense.
pub fn read(path: &Path) -> Result<Vec<PowerRow>, HwError> {
    parse(path, &read_text(path, "CSV")?)
}

fn parse(path: &Path, text: &str) -> Result<Vec<PowerRow>, HwError> {
    let table = Cells::from_csv(path, text.as_bytes())?;
    let columns = table.index(path)?;
    let mut rows = Vec::new();
    for (place, cells) in &table.rows {
        let line = Line { path, place: *place, columns: &columns, cells };
        let model = line.text("model");
        if !model.starts_with("mobilenet-v1-") && !model.starts_with("mobilenet-v2-") {
            continue;
        }
        let (network, quantized) = network(model).ok_or_else(|| {
            line.bad("model", "is not mobilenet-v1 or -v2 with a width, a resolution and a precision")
        })?;
        let number = |column: &str| {
            let value = line.number(column)?.filter(|value| *value > 0.0);
            value.ok_or_else(|| line.bad(column, "is no measurement"))
        };
        let word = |column: &str| line.text(column).to_string();
        rows.push(PowerRow {
            version: word("mlperf_version"),
            organization: word("organization"),
            system: word("system"),
            platform: word("platform"),
            framework: word("framework"),
            cores: word("cores"),
            quantized,
            network,
            latency: number("latency_p90_ms")? * 1e-3,
            energy: number("energy_mJ_per_inference")? * 1e-3,
        });
    }
    Ok(rows)
}

/// `mobilenet-v1-0.25-128-non-quantized` or `mobilenet-v1-precision_float-0.25-128`: the network, and whether it is
/// quantized.
fn network(model: &str) -> Option<(Workload, bool)> {
    let (family, rest) = model.strip_prefix("mobilenet-v")?.split_once('-')?;
    let (size, quantized) = if let Some(size) = rest.strip_suffix("-non-quantized") {
        (size, false)
    } else if let Some(size) = rest.strip_suffix("-quantized") {
        (size, true)
    } else if let Some(size) = rest.strip_prefix("precision_float-") {
        (size, false)
    } else {
        (rest.strip_prefix("precision_uint8-")?, true)
    };
    let (width, resolution) = size.split_once('-')?;
    let percent = (width.parse::<f64>().ok().filter(|width| (0.1..=4.0).contains(width))? * 100.0).round() as u32;
    let resolution = resolution.parse().ok().filter(|size| (32..=1024).contains(size))?;
    match family {
        "1" => Some((mobilenet_v1(percent, resolution, OUTPUTS).workload(), quantized)),
        "2" => Some((mobilenet_v2(percent, resolution, OUTPUTS).workload(), quantized)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "mlperf_version,organization,system,platform,framework,model,latency_p90_ms,energy_mJ_per_inference\n";

    #[test]
    fn both_spellings_of_a_network_are_the_same_network() {
        let (network_a, quantized) = network("mobilenet-v1-0.25-128-non-quantized").unwrap();
        assert_eq!(network("mobilenet-v1-precision_float-0.25-128"), Some((network_a, quantized)));
        assert!(!quantized && network("mobilenet-v2-1.4-224-quantized").unwrap().1);
        for odd in ["mobilenet-v1-0.25", "mobilenet-v2-x-224-quantized", "mobilenet-v1-1.0-9-quantized"] {
            assert_eq!(network(odd), None);
        }
    }

    #[test]
    fn rows_are_read_and_other_models_passed_over() {
        let text = format!(
            "{HEADER}v3.0,Org,Board,b-tflite,TFLite,mobilenet-v2-1.0-224-non-quantized,50,250\n\
                            v3.0,Org,Board,b-tflite,TFLite,resnet50,,\n"
        );
        let rows = parse(Path::new("p.csv"), &text).unwrap();
        assert_eq!(rows.len(), 1);
        assert!((rows[0].latency - 0.05).abs() < 1e-12 && (rows[0].energy - 0.25).abs() < 1e-12);
        for (bad, column) in [("0,250", "latency_p90_ms"), ("50,", "energy_mJ_per_inference")] {
            let text = format!("{HEADER}v3.0,Org,Board,b,TFLite,mobilenet-v2-1.0-224-quantized,{bad}\n");
            let error = parse(Path::new("p.csv"), &text).unwrap_err().to_string();
            assert!(error.contains(column) && error.contains("line 2"), "{error}");
        }
    }
}
