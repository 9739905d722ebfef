//! Targets that are fitted to whole networks, against networks specialised for those devices by others.

use std::path::PathBuf;

use hw_targets::library::TargetLibrary;
use search::arch_file::ArchFile;
use search::space::SearchSpace;
use serde_json::Value;

/// The folder with published measurements and golden values, or `None` (said aloud).
fn shared() -> Option<PathBuf> {
    shared_data::file("golden").and_then(|folder| Some(folder.parent()?.to_path_buf()))
}

/// Networks that once-for-all's authors searched for these GPUs, in batches of 64: ReLU6, no squeeze-excite, width 1.3,
/// another runtime. Nothing of them was fitted to; milliseconds are whole.
#[test]
fn gpu_targets_rank_the_networks_specialised_for_them() {
    let Some(shared) = shared() else { return };
    let text = std::fs::read_to_string(shared.join("golden/ofa-specialized.json")).unwrap();
    let published: Vec<Value> = serde_json::from_str(&text).unwrap();
    let target = TargetLibrary::new(None).find("v100").unwrap();
    let mut rows: Vec<(f64, f64)> = Vec::new();
    for network in &published {
        let id = network["id"].as_str().unwrap();
        let Some((_, rest)) = id.split_once("v100_gpu64@") else { continue };
        let milliseconds: f64 = rest.split_once("ms").unwrap().0.parse().unwrap();
        let space = SearchSpace::builtin(network["space"].as_str().unwrap()).unwrap();
        let workload = space.parse_workload(&ArchFile::from_value(network.clone()).unwrap()).unwrap();
        let latency = target.cost_of(&workload).unwrap().latency.unwrap();
        println!("{id}: {milliseconds} ms published, {:.2} ± {:.2} ms", latency.value * 1e3, latency.sigma() * 1e3);
        assert!(latency.outside > 0, "{id} is wider than what was measured");
        rows.push((milliseconds, latency.value * 1e3));
    }
    assert_eq!(rows.len(), 4);
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(rows.windows(2).all(|pair| pair[0].1 < pair[1].1), "{rows:?}");
    // As the target's notes say: HELP's V100 takes twice as long, for small and large networks alike.
    assert!(rows.iter().all(|(published, said)| (1.9..2.4).contains(&(said / published))), "{rows:?}");
}
