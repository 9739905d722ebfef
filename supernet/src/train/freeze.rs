//! Layers of a supernet that stay as they are while the others are trained: what they may be called.
//!
//! A layer is called as its weights are, without what comes after it: `stem`, `first`, `stages.0` with all its blocks,
//! `stages.0.1`, `stages.0.1.depthwise`, `head.0`, `classifier`; stages and blocks are counted from 0.

use search::space::SearchSpace;
use search::subnet::BlockPosition;
use storage::names::nearest;

use super::plan_error::require;
use crate::error::SupernetError;
use crate::weights::is_in;

/// Whether a supernet of `space` has all layers `frozen`, and others to train.
///
/// # Errors
/// [`SupernetError::UnknownPart`]; a plan that trains nothing.
pub(super) fn check(space: &SearchSpace, frozen: &[String]) -> Result<(), SupernetError> {
    let (parts, layers) = names(space);
    let known = || parts.iter().chain(&layers);
    if let Some(name) = frozen.iter().find(|name| !known().any(|layer| layer == *name)) {
        let nearest = nearest(name, known().map(String::as_str));
        let (name, space) = (name.clone(), space.id().to_string());
        return Err(SupernetError::UnknownPart { name, space, nearest, parts: parts.join(", ") });
    }
    let stays = |layer: &String| frozen.iter().any(|name| is_in(layer, name));
    let is_whole = |layer: &String| layers.iter().any(|other| other != layer && is_in(other, layer));
    let trains = layers.iter().any(|layer| !is_whole(layer) && !stays(layer));
    Ok(require(trains, "freeze", "all there is", "but something must be left to train")?)
}

/// What a supernet of `space` consists of, stages as a whole; and its single layers, with the blocks that they are in.
fn names(space: &SearchSpace) -> (Vec<String>, Vec<String>) {
    let largest = space.resolve(&space.largest(space.resolutions()[0]).expect("its own resolution"));
    let (mut parts, mut layers) = (vec!["stem".to_owned()], vec!["stem".to_owned()]);
    for shape in &largest.blocks {
        let (part, block) = match shape.position {
            BlockPosition::First => ("first".to_owned(), "first".to_owned()),
            BlockPosition::Elastic { stage, index } => (format!("stages.{stage}"), format!("stages.{stage}.{index}")),
        };
        if parts.last() != Some(&part) {
            parts.push(part);
        }
        let optional = [shape.expand_conv.then_some("expand"), shape.se_channels.map(|_| "se")];
        let within = optional.into_iter().flatten().chain(["depthwise", "project"]);
        layers.extend(within.map(|layer| format!("{block}.{layer}")));
        layers.push(block);
    }
    for rest in (0..largest.head.len()).map(|index| format!("head.{index}")).chain(["classifier".to_owned()]) {
        parts.push(rest.clone());
        layers.push(rest);
    }
    (parts, layers)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use storage::failure::Failure;
    use tch::{Device, Tensor};

    use super::super::observer::{Epoch, Observer, Step};
    use super::super::phase::{LearningRate, ShrinkingPhase};
    use super::super::plan::tests::{full, settings, shrink};
    use super::super::plan::{TrainPlan, TrainSettings};
    use super::super::state::{Position, State};
    use super::super::trainer::{Start, Trainer};
    use super::*;
    use crate::data::{DataSource, Preprocessing};
    use crate::ranks::Ranks;
    use crate::supernet::Supernet;

    fn frozen(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_layer_has_weights_and_every_weight_a_layer() {
        for name in ["mcu-cifar", "fbnet-cifar", "mbv3-w1.0", "proxyless-w1.3"] {
            let space = SearchSpace::builtin(name).unwrap();
            let supernet = Supernet::new(&space, 1, Device::Cpu);
            let (parts, layers) = names(&space);
            for layer in parts.iter().chain(&layers) {
                assert!(supernet.weights().iter().any(|weight| is_in(&weight.name, layer)), "{name}: {layer}");
            }
            for weight in supernet.weights() {
                assert_eq!(parts.iter().filter(|part| is_in(&weight.name, part)).count(), 1, "{name}: {}", weight.name);
                assert!(layers.iter().any(|layer| is_in(&weight.name, layer)), "{name}: {}", weight.name);
            }
        }
    }

    #[test]
    fn a_layer_that_there_is_not_is_named_with_the_nearest() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let refused = |names: &[&str]| check(&space, &frozen(names)).unwrap_err();
        for names in [&["stem"][..], &["stages.0", "stages.1.0", "stages.1.1.project", "classifier"], &[]] {
            check(&space, &frozen(names)).unwrap();
        }
        for (name, hint) in [
            ("stage.0", "did you mean stages.0"),
            ("stages.0.expnd", "did you mean stages.0"),
            ("backbone", "consists of stem, first, stages.0"),
            ("stages.0.0.depthwise.conv", "did you mean stages.0.0.depthwise"),
        ] {
            let error = refused(&["stem", name]);
            assert!(error.to_string().contains(&format!("has no layer `{name}` to freeze")), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{name}: {:?}", error.hint());
        }
    }

    #[test]
    fn something_must_be_left_to_train() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let (parts, _) = names(&space);
        let error = check(&space, &parts).unwrap_err().to_string();
        assert!(error.contains("must be left to train"), "{error}");
        check(&space, &parts[1..]).unwrap();
        // A block by its layers instead of as a whole.
        let layers: Vec<String> = names(&space).1.into_iter().filter(|layer| layer != "stages.0.0").collect();
        let error = check(&space, &layers).unwrap_err().to_string();
        assert!(error.contains("must be left to train"), "{error}");
    }

    /// Stops after this many steps of a run.
    struct Until(u64);

    impl Observer for Until {
        fn step(&mut self, step: &Step) -> bool {
            step.position.global_step + 1 != self.0
        }

        fn epoch(&mut self, _: &Epoch, _: &Supernet) -> Result<(), SupernetError> {
            Ok(())
        }

        fn saved(&mut self, _: Position) {}
    }

    /// The largest subnet, then a sandwich with sorted channels, from fresh weights, interrupted after the steps of `stops`:
    /// weights before and after, and what has momentum at the end.
    fn trained(
        frozen_layers: &[&str],
        average: Option<f64>,
        stops: &[u64],
    ) -> (BTreeMap<String, Tensor>, BTreeMap<String, Tensor>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let before = Supernet::new(&space, 1, Device::Cpu).tensors();
        let own = LearningRate::Own { peak: 0.05, warm_up_epochs: 0.0 };
        let phases = vec![full(1), ShrinkingPhase { learning_rate: own, ramp_epochs: 0.0, ..shrink(2) }];
        let sgd = crate::optim::SgdSettings { weight_decay: 0.1, ..settings().sgd };
        let settings = TrainSettings { frozen: frozen(frozen_layers), average, sgd, batch_size: 20, ..settings() };
        let plan = TrainPlan::new(settings, phases).unwrap();
        let data: DataSource = "synthetic:60".parse().unwrap();
        let images = Arc::new(data.train(&Default::default()).unwrap().images);
        for until in stops.iter().copied().chain([u64::MAX]) {
            let start = Start::From(Box::new(Supernet::new(&space, 1, Device::Cpu)));
            let (images, preprocessing) = (Arc::clone(&images), Preprocessing::measured(&images).unwrap());
            let (plan, text) = (plan.clone(), "plan".to_owned());
            let mut trainer =
                Trainer::new(&space, plan, text, images, preprocessing, start, folder.path(), true, Ranks::alone())
                    .unwrap();
            let ended = trainer.run(folder.path(), Duration::MAX, &mut Until(until));
            assert_eq!(ended.is_err(), until != u64::MAX);
            if ended.is_ok() {
                return (before, trainer.supernet().tensors(), momentum(folder.path()));
            }
        }
        unreachable!("the last run ends")
    }

    fn momentum(checkpoints: &Path) -> Vec<String> {
        State::load_newest(checkpoints, "plan").unwrap().0.unwrap().momentum.into_keys().collect()
    }

    fn differ(some: &BTreeMap<String, Tensor>, others: &BTreeMap<String, Tensor>) -> Vec<String> {
        some.iter().filter(|(name, tensor)| !tensor.equal(&others[*name])).map(|(name, _)| name.clone()).collect()
    }

    #[test]
    fn frozen_layers_keep_their_bits_while_the_others_learn_and_a_stopped_run_ends_in_the_same() {
        let layers = ["stem", "first", "stages.0", "stages.1.0.project", "stages.2.1", "head.0"];
        let is_frozen = |name: &String| layers.iter().any(|layer| is_in(name, layer));
        for average in [None, Some(0.9)] {
            let (before, after, momentum) = trained(&layers, average, &[]);
            let changed = differ(&before, &after);
            assert!(before.keys().filter(|name| is_frozen(name)).count() > 30);
            assert!(!changed.iter().any(is_frozen), "{changed:?}");
            // Training leaves a supernet's running statistics alone.
            let moves = |name: &&String| !is_frozen(name) && !name.contains(".running_");
            assert_eq!(changed, before.keys().filter(moves).cloned().collect::<Vec<_>>());
            assert_eq!(momentum, changed, "what is trained has momentum");
            let (_, again, _) = trained(&layers, average, &[2, 5]);
            assert_eq!(differ(&after, &again), Vec::<String>::new());
        }
    }

    #[test]
    fn a_subnet_of_frozen_layers_alone_takes_part_without_a_gradient() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let last = names(&space).1.into_iter().filter(|layer| layer.starts_with("stages.")).max().unwrap();
        let block = last.rsplit_once('.').map_or(last.clone(), |(block, _)| block.to_owned());
        let (parts, layers) = names(&space);
        let stays: Vec<&str> = parts
            .iter()
            .filter(|part| !part.starts_with("stages."))
            .chain(layers.iter().filter(|layer| layer.starts_with("stages.") && !is_in(layer, &block)))
            .map(String::as_str)
            .collect();
        let (before, after, _) = trained(&stays, None, &[]);
        let changed = differ(&before, &after);
        assert!(!changed.is_empty() && changed.iter().all(|name| is_in(name, &block)), "{block}: {changed:?}");
    }
}
