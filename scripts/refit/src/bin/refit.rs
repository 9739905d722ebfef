//! Refits the shipped targets to the published measurements and writes `hw-targets/targets/*.yaml`.
//!
//! `OFA_SHARED=… cargo run --release -p refit --bin refit`: the measurements are read from
//! `data/hw` in that folder (default: `../shared` beside the repository).

use std::path::{Path, PathBuf};

use hw_targets::manifest::Manifest;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("OFA_SHARED").map_or_else(|| root.join("../../../shared"), PathBuf::from);
    for manifest in refit::targets::refit(&shared.join("data/hw"))? {
        let name = manifest.name.clone().unwrap_or_default();
        let path = root.join(format!("../../hw-targets/targets/{name}.yaml"));
        manifest.write(&path)?;
        report(&name, &manifest);
    }
    println!("platforms measured with whole networks, leave-one-out error of energy and latency (* = the target):");
    for candidate in refit::targets::whole_networks::candidates(&shared.join("data/hw"))? {
        let (energy, latency) = (100.0 * candidate.energy.loo_mape, 100.0 * candidate.latency.loo_mape);
        let (mark, target) = (if candidate.chosen { "*" } else { " " }, candidate.target());
        println!("{mark} {target} {}: energy {energy:.2} %, latency {latency:.2} %", candidate.platform);
    }
    Ok(())
}

fn report(name: &str, manifest: &Manifest) {
    for (quantity, entry) in [("latency", &manifest.latency), ("energy", &manifest.energy)] {
        if let Some(fit) = entry.as_ref().and_then(|entry| entry.network_fit.as_ref()) {
            let (networks, loo, rel) = (fit.networks, 100.0 * fit.loo_mape, 100.0 * fit.rel_error);
            println!("{name} {quantity}: {networks} whole networks, held out {loo:.2} %, error of one {rel:.1} %");
        }
        if let Some(fit) = entry.as_ref().and_then(|entry| entry.per_mac.as_ref()) {
            let (loo, rel) = (100.0 * fit.loo_mape, 100.0 * fit.rel_error);
            println!(
                "{name} {quantity}: {} whole networks, leave-one-out {loo:.1} %, between {rel:.1} %",
                fit.left_out.len()
            );
        }
        if let Some(correction) = entry.as_ref().and_then(|entry| entry.correction) {
            let (scale, mape) = (correction.scale, 100.0 * correction.mape);
            println!(
                "{name} {quantity}: corrected on {} networks, × {scale:.3}, error {mape:.2} %",
                correction.networks
            );
        }
        let Some(fitted) = entry.as_ref().and_then(|entry| entry.fitted.as_ref()) else { continue };
        let percent = |share: Option<f64>| share.map_or("-".to_string(), |share| format!("{:.2} %", 100.0 * share));
        println!("{name} {quantity}: network sums {}", percent(fitted.network_mape));
        for (class, fit) in &fitted.classes {
            let (rows, loo) = (fit.rows, percent(fit.loo_mape));
            println!("  {class}: {rows} rows, leave-one-out {loo}, error of one answer {:.1} %", 100.0 * fit.rel_error);
        }
    }
}
