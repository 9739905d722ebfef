use proptest::prelude::*;
use serde_json::{Value, json};
use storage::failure::Failure;

use super::*;
use crate::published::{self, NETWORKS};
use crate::shape_file::{self, ShapeFileError};
use crate::weights::{WeightError, Weights};

/// A small network with a branch, as JSON.
fn small() -> Value {
    json!({"schema": "ofa.network/1", "input": [8, 3], "layers": [
        {"name": "stem", "kind": "conv", "input": [8, 3], "output": [4, 6], "kernel": 3, "stride": 2, "padding": 1},
        {"name": "left", "kind": "conv", "input": [4, 6], "output": [4, 6]},
        {"name": "right", "kind": "mbconv", "input": [4, 6], "output": [4, 6], "mid": 13, "kernel": 3, "padding": 1,
         "expand_conv": true, "se": 2, "activation": "hswish", "reads": ["stem"]},
        {"name": "sum", "kind": "add", "input": [4, 6], "inputs": 2, "reads": ["left", "right"], "activation": "relu"},
        {"name": "pool", "kind": "avgpool", "input": [4, 6], "output": [1, 6], "kernel": 4},
        {"name": "classifier", "kind": "linear", "input": [1, 6], "outputs": 5, "bias": true}]})
}

fn parsed(file: &Value) -> Result<NetworkShape, ShapeFileError> {
    shape_file::parse(&file.to_string())
}

#[test]
fn what_is_written_is_read() {
    let published = NETWORKS.map(|(name, _)| published::network(name, None).unwrap());
    for network in published.into_iter().chain([parsed(&small()).unwrap()]) {
        let origin = json!({"published": "somewhere"});
        assert_eq!(parsed(&shape_file::to_json(&network, Some(&origin))).unwrap(), network);
    }
}

#[test]
fn widths_that_no_space_offers_are_a_network_like_any_other() {
    let network = parsed(&small()).unwrap();
    assert_eq!(network.output(), Map::new(1, 5));
    // 3·6·9·16 + 6·6·16 + (6·13 + 13·9 + 13·6)·16 + 2·13·2 + 6·5.
    assert_eq!(network.macs().0, 2592 + 576 + 273 * 16 + 52 + 30);
    let weights = Weights::random(&network, 1);
    assert_eq!(weights.get("right.depthwise.conv.weight").unwrap().shape, [13, 1, 3, 3]);
    let outputs = crate::execute::run(&network, &weights, &[0.5; 3 * 64]);
    assert!(outputs.len() == 5 && outputs.iter().all(|x| x.is_finite()));
    // A layer whose output is added later is not written over: image, stem, left and the block inside.
    let peak =
        crate::memory::peak_memory_of(&network.layers().into_iter().map(|named| named.layer).collect::<Vec<_>>());
    assert!(peak.activations.0 >= 96 + 96 + 208, "{peak:?}");
}

#[test]
fn layers_may_stand_in_any_order_and_run_after_what_they_read() {
    let mut file = small();
    let layers = file["layers"].as_array_mut().unwrap();
    layers[0]["reads"] = json!(["image"]);
    layers[1]["reads"] = json!(["stem"]);
    layers[4]["reads"] = json!(["sum"]);
    layers[5]["reads"] = json!(["pool"]);
    layers.reverse();
    let network = parsed(&file).unwrap();
    assert_eq!(network.macs(), parsed(&small()).unwrap().macs());
    assert_eq!(network.nodes()[0].name, "stem");
    assert_eq!(network.output(), Map::new(1, 5));
}

#[test]
fn a_wrong_network_is_refused_with_the_layers_name() {
    let refused = |change: fn(&mut Value), words: &[&str]| {
        let mut file = small();
        change(&mut file);
        let error = parsed(&file).unwrap_err();
        let said = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not in: {said}");
        assert_eq!(error.kind().exit_code(), 3);
    };
    refused(|f| f["layers"][1]["input"] = json!([4, 7]), &["`left`", "4x4x7", "`stem`", "4x4x6"]);
    refused(|f| f["layers"][3]["reads"] = json!(["left", "rigth"]), &["`sum`", "`rigth`", "did you mean right?"]);
    refused(|f| f["layers"][1]["reads"] = json!(["sum"]), &["`left`", "reads itself", "`sum`"]);
    refused(|f| f["layers"][1]["reads"] = json!(["left"]), &["`left`", "reads itself"]);
    refused(|f| f["layers"][3]["reads"] = json!(["left"]), &["`sum`", "reads 1 maps and takes 2"]);
    refused(|f| f["layers"][2]["kind"] = json!("mbconf"), &["`right`", "`mbconf`", "did you mean mbconv?"]);
    refused(|f| f["layers"][2]["kernal"] = json!(3), &["`right`", "kernal"]);
    refused(|f| f["layers"][2]["activation"] = json!("swish"), &["`right`", "`swish`", "hswish"]);
    refused(|f| f["layers"][0]["output"] = json!([6, 6]), &["`stem`", "output size of 6", "stride 2"]);
    refused(|f| f["layers"][0]["groups"] = json!(2), &["`stem`", "3 channels", "2 groups"]);
    refused(|f| f["layers"][1]["name"] = json!("stem"), &["two layers", "`stem`"]);
    refused(|f| f["layers"][1]["name"] = json!("a b"), &["`a b`"]);
    refused(|f| f["layers"][2]["expand_conv"] = json!(false), &["`right`", "needs `expand_conv`"]);
    refused(|f| f["layers"][3]["reads"] = json!(["left", "left"]), &["nothing reads", "`right`"]);
    refused(|f| f["layers"][0]["output"] = json!([4, u32::MAX]), &["`stem`", "channels"]);
    refused(|f| f["layers"][2]["formats"] = json!({"expand": {}}), &["`right`", "`expand`", "expand.conv"]);
    refused(
        |f| f["layers"][2]["formats"] = json!({"expand.conv": {"weights": {"density": 1.5}}}),
        &["`right`", "density"],
    );
    refused(|f| drop(f["layers"][2].as_object_mut().unwrap().remove("kind")), &["`right`", "`kind`"]);
    refused(|f| drop(f["layers"][2].as_object_mut().unwrap().remove("name")), &["number 3", "`name`"]);
    // What cannot be held or counted is refused before anything is made of it.
    refused(|f| f["layers"][3]["inputs"] = json!(u32::MAX), &["`sum`", "4294967295 maps"]);
    refused(|f| f["layers"][5]["outputs"] = json!(u32::MAX), &["`classifier`", "channels"]);
    refused(
        |f| {
            let wide = json!([1 << 18, 1 << 20]);
            f["input"] = json!([1 << 18, 3]);
            f["layers"][0] = json!({"name": "stem", "kind": "conv", "input": [1 << 18, 3], "output": wide});
        },
        &["`stem`", "numbers"],
    );
    refused(
        |f| {
            let (wide, kernel) = (json!([1 << 10, 1 << 20]), (1 << 10) - 1);
            f["input"] = wide.clone();
            f["layers"][0] = json!({"name": "stem", "kind": "conv", "input": wide, "output": wide, "kernel": kernel,
                                    "padding": kernel / 2});
        },
        &["`stem`", "more than any network has"],
    );
    refused(
        |f| {
            f["layers"][1] = json!({"name": "left", "kind": "lrn", "input": [4, 6], "window": 5, "scale": 1.0, "power": 0.5,
                                    "bias": -1.0});
        },
        &["`left`", "bias -1"],
    );
    refused(|f| f["layers"] = json!([]), &["no layer"]);
    refused(|f| f["schema"] = json!("ofa.network/9"), &["ofa.network/9"]);
    refused(|f| f["layer"] = json!([]), &["`layer`", "layers"]);
    assert!(matches!(shape_file::parse("{"), Err(ShapeFileError::Syntax { .. })));
}

#[test]
fn weights_of_another_network_are_refused_by_name() {
    let network = parsed(&small()).unwrap();
    let arrays = Weights::random(&network, 1).arrays().clone();
    assert!(Weights::new(&network, arrays.clone()).is_ok());
    let changed = |change: fn(&mut std::collections::BTreeMap<String, crate::weights::Array>)| {
        let mut arrays = arrays.clone();
        change(&mut arrays);
        Weights::new(&network, arrays).unwrap_err()
    };
    let missing = changed(|arrays| drop(arrays.remove("right.project.bn.bias")));
    assert_eq!(missing, WeightError::Missing { name: "right.project.bn.bias".into() });
    let unused = changed(|arrays| drop(arrays.insert("odd".into(), arrays["stem.conv.weight"].clone())));
    assert_eq!(unused, WeightError::Unused { first: "odd".into(), count: 1 });
    let infinite = changed(|arrays| arrays.get_mut("classifier.bias").unwrap().values[0] = f32::INFINITY);
    assert_eq!(infinite, WeightError::NotFinite { name: "classifier.bias".into() });
    assert!(matches!(
        changed(|arrays| arrays.get_mut("classifier.weight").unwrap().shape.reverse()),
        WeightError::Shape { .. }
    ));
}

proptest! {
    /// Whatever is in a file, reading it ends, and what is read has shapes that meet.
    #[test]
    fn any_numbers_are_read_or_refused(
        layer in 0usize..6,
        field in prop::sample::select(vec!["kernel", "stride", "padding", "groups", "mid", "inputs", "outputs", "se"]),
        value in prop::sample::select(vec![0u64, 1, 2, 3, 7, 1 << 20, 1 << 31, u64::MAX]),
    ) {
        let mut file = small();
        file["layers"][layer][field] = json!(value);
        if let Ok(network) = parsed(&file) {
            let _ = network.params();
            prop_assert!(network.layers().iter().all(|named| named.layer.output.elements() > 0));
        }
    }
}
