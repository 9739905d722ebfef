//! Fits whole networks of HELP and judges the fits on networks they have not seen: the numbers of
//! `scripts/compare-network-latency`.
//!
//! `cargo run --release -p refit --bin judge-network-fits -- DATA FILE COLUMN FITTED
//! [--ablation | --counts]`: DATA is the folder with `help-latency/`, FILE `mbv3` or `fbnet`, FITTED how many of the first
//! networks to fit to. Prints one JSON object per judged network (its place and the predicted seconds); with
//! `--ablation` one per count instead, with the error without it; with `--counts` one per network, with its counts.

use std::path::Path;

use hw_targets::error::HwError;
use hw_targets::model::NetworkFit;
use hw_targets::model::network_features::{DETAILED, detailed_counts};
use network::op::Workload;
use refit::targets::help::{HelpFile, networks};

/// NaN for a network with an operator of a class that was not fitted to.
fn predict(fit: &NetworkFit, network: &Workload) -> f64 {
    fit.predict(network).unwrap_or(f64::NAN)
}

fn error(fit: &NetworkFit, judged: &[(Workload, f64)]) -> f64 {
    let off = |(network, value): &(Workload, f64)| (predict(fit, network) / value - 1.0).abs();
    judged.iter().map(off).sum::<f64>() / judged.len() as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [data, file, column, fitted, rest @ ..] = &words[..] else {
        return Err("give DATA, FILE, COLUMN and FITTED".into());
    };
    let file = match file.as_str() {
        "mbv3" => HelpFile::MobileNetV3,
        "fbnet" => HelpFile::FbNet,
        other => return Err(format!("{other} is neither mbv3 nor fbnet").into()),
    };
    let all = networks(Path::new(data), file, column)?;
    if rest.iter().any(|word| word == "--counts") {
        for (network, _) in &all {
            println!("{}", serde_json::json!({"counts": detailed_counts(network)}));
        }
        return Ok(());
    }
    let fitted: usize = fitted.parse()?;
    if fitted >= all.len() {
        return Err(format!("{fitted} of {} networks to fit leave none to judge", all.len()).into());
    }
    let (to_fit, judged) = all.split_at(fitted);
    let fit = NetworkFit::fit(to_fit, 0.0)?;
    if rest.iter().any(|word| word == "--ablation") {
        let full = error(&fit, judged);
        println!("{}", serde_json::json!({"without": "", "mape": full, "by_input_size": fit.by_input_size.len()}));
        for count in DETAILED {
            let without: Result<NetworkFit, HwError> = NetworkFit::fit_without(to_fit, 0.0, &[count]);
            println!("{}", serde_json::json!({"without": count.name(), "mape": error(&without?, judged)}));
        }
        return Ok(());
    }
    for (at, (network, _)) in judged.iter().enumerate() {
        println!("{}", serde_json::json!({"at": fitted + at, "seconds": predict(&fit, network)}));
    }
    Ok(())
}
