//! The published implementation's logits, from its checkpoint layout (values in `golden/ofa-mbv3-w1.0`).

use std::path::{Path, PathBuf};

use search::arch::ArchSpec;
use search::space::SearchSpace;
use supernet::calibrate::calibrate;
use supernet::extract::StaticSubnet;
use supernet::import::Family;
use supernet::import::once_for_all::import_once_for_all;
use supernet::npz::read_npz;
use supernet::subnet::Mode;
use supernet::supernet::Supernet;
use supernet::tensors::to_tensor;
use tch::{Device, Tensor};

fn golden() -> Option<PathBuf> {
    shared_data::file("golden/ofa-mbv3-w1.0")
}

fn load(folder: &Path) -> (SearchSpace, Supernet) {
    let space = SearchSpace::builtin("mbv3-w1.0").unwrap();
    let arrays = import_once_for_all(&folder.join("checkpoint.pth"), &space, Family::MobileNetV3).unwrap();
    let tensors = arrays.iter().map(|(name, array)| (name.clone(), to_tensor(array))).collect();
    let supernet = Supernet::from_tensors(&space, tensors, Device::Cpu).unwrap();
    (space, supernet)
}

fn subnets(space: &SearchSpace, path: &Path) -> Vec<ArchSpec> {
    space.parse_lines(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Largest difference over the population standard deviation of the expected logits.
fn error(found: &Tensor, expected: &Tensor) -> f64 {
    ((found - expected).abs().max() / expected.std(false)).double_value(&[])
}

#[test]
fn stored_statistics_give_the_published_logits() {
    let Some(folder) = golden() else { return };
    let (space, supernet) = load(&folder);
    let inputs = read_npz(&folder.join("inputs.npz")).unwrap();
    let expected = to_tensor(&read_npz(&folder.join("logits.npz")).unwrap()["logits"]);
    let archs = subnets(&space, &folder.join("subnets.jsonl"));
    assert_eq!(archs.len(), 8);
    for (index, arch) in archs.iter().enumerate() {
        let images = to_tensor(&inputs[&format!("r{}", arch.resolution())]);
        let subnet = supernet.subnet(&space.resolve(arch));
        let statistics = subnet.stored_statistics();
        let logits = tch::no_grad(|| subnet.forward(&images, Mode::Eval(&statistics)));
        let found = error(&logits, &expected.get(index as i64));
        assert!(found <= 1e-4, "subnet {index}: {found}");
    }
}

#[test]
fn calibrated_subnets_give_the_published_logits() {
    let Some(folder) = golden() else { return };
    let (space, supernet) = load(&folder);
    let images = to_tensor(&read_npz(&folder.join("inputs.npz")).unwrap()["r128"]);
    let batches = to_tensor(&read_npz(&folder.join("calibration.npz")).unwrap()["batches"]).unbind(0);
    let expected = to_tensor(&read_npz(&folder.join("recalibrated_logits.npz")).unwrap()["logits"]);
    let archs = subnets(&space, &folder.join("recalibrated_subnets.jsonl"));
    assert_eq!(archs.len(), 4);
    for (index, arch) in archs.iter().enumerate() {
        let subnet = supernet.subnet(&space.resolve(arch));
        let statistics = calibrate(&subnet, &batches);
        let extracted = StaticSubnet::extract(&subnet, &statistics);
        let found = error(&tch::no_grad(|| extracted.forward(&images)), &expected.get(index as i64));
        assert!(found <= 1e-4, "subnet {index}: {found}");
    }
}
