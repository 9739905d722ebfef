//! What a file says of itself, whatever its format.

use std::path::Path;

use network::shape::NetworkShape;
use serde_json::{Value, json};
use supernet::data::PreprocessingFile;

use crate::folders::names;
use crate::training::network_data::origin_of;

/// Names and values in order.
pub(crate) type Facts = Vec<(String, Value)>;

/// Of the network in `folder`; `found` is where the result of the search that found it may lie.
pub(crate) fn facts_of(
    folder: &Path,
    found: Option<&Path>,
    shape: &NetworkShape,
    described: Option<&PreprocessingFile>,
    reads_bytes: bool,
) -> Facts {
    let origin = origin_of(folder);
    let mut facts: Facts = vec![
        ("ofa.output".into(), "logits: one number a class, before softmax".into()),
        ("ofa.macs".into(), shape.macs().0.into()),
        ("ofa.parameters".into(), shape.params().0.into()),
    ];
    if let Some(result) = [found, Some(folder)].into_iter().flatten().find_map(|folder| result_of(folder, &origin)) {
        facts.push(("ofa.search".into(), result));
    }
    facts.push(("ofa.origin".into(), origin));
    if let Some(PreprocessingFile { native_size, mean, std, class_names, interpolation, .. }) = described {
        let scale = match reads_bytes {
            true => json!({"scale": "bytes of pixels, 0 to 255; normalised inside"}),
            false => json!({"scale": "0 to 1, minus mean, over std", "mean": mean, "std": std}),
        };
        let mut input = json!({
            "channels": "RGB", "size": shape.input().size, "resized_from": native_size, "interpolation": interpolation,
        });
        if let (Some(input), Some(scale)) = (input.as_object_mut(), scale.as_object()) {
            input.extend(scale.clone());
        }
        facts.push(("ofa.input".into(), input));
        facts.push(("ofa.class_names".into(), json!(class_names)));
    }
    facts
}

/// Target, costs and predicted accuracy, where the search in `folder` found this very subnet.
fn result_of(folder: &Path, origin: &Value) -> Option<Value> {
    let text = std::fs::read_to_string(folder.join(names::RESULT)).ok()?;
    let result: Value = serde_json::from_str(&text).ok()?;
    if origin.get("subnet").is_none() || result.get("subnet") != origin.get("subnet") {
        return None;
    }
    let of = |key: &str| Some((key.to_owned(), result.get(key).filter(|value| !value.is_null())?.clone()));
    let kept = ["target", "bundle", "top1", "top1_is", "costs", "budgets", "verified", "seed"];
    Some(Value::Object(kept.into_iter().filter_map(of).collect()))
}

/// A value as text: strings as they are, everything else as JSON.
pub(crate) fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use network::published;

    use super::*;

    #[test]
    fn a_search_is_named_only_by_the_subnet_that_it_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        write(names::NETWORK, json!({"origin": {"subnet": {"resolution": 24}, "files": {}}}));
        let result = |resolution: u32| json!({"subnet": {"resolution": resolution}, "target": "pixel3", "front": 3});
        let facts = || facts_of(folder.path(), None, &published::resnet8(10), None, false);
        let search = |facts: Facts| facts.into_iter().find(|(name, _)| name == "ofa.search").map(|(_, value)| value);
        write(names::RESULT, result(24));
        assert_eq!(search(facts()), Some(json!({"target": "pixel3"})));
        write(names::RESULT, result(28));
        assert_eq!(search(facts()), None);
    }
}
