//! The JSON Schema (draft 2020-12) of `network.json`, for editors and for programs that write one.
//!
//! The reader checks more than a schema can say: that layers meet, and that they can run in some order.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::records::{
    ACTIVATIONS, AddFile, BottleneckFile, ConcatFile, ConvFile, FireFile, InceptionFile, LayerFormatFile, LinearFile,
    LocalResponseFile, Pair, PoolFile, ResidualFile,
};
use super::{KINDS, SCHEMA};

/// A network (`ofa.network/1`).
pub fn schema() -> Value {
    let mut generator = SchemaGenerator::default();
    let layers: Vec<Value> = KINDS.iter().map(|kind| layer(kind, &mut generator)).collect();
    let input = generator.subschema_for::<Pair>().to_value();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
        "type": "object",
        "properties": {
            "schema": {"const": SCHEMA},
            "origin": {"description": "Where it comes from; for the reader only."},
            "input": described(input, "Height and width of the image, and its channels."),
            "batch_norm_eps": {
                "type": ["number", "null"], "minimum": 0, "default": 1e-5,
                "description": "What every batch norm adds to its variances.",
            },
            "layers": {"type": "array", "items": {"oneOf": layers}},
        },
        "required": ["schema", "input", "layers"],
        "additionalProperties": false,
        "$defs": generator.take_definitions(true),
    })
}

fn described(mut schema: Value, words: &str) -> Value {
    schema["description"] = words.into();
    schema
}

/// A layer of one kind: its own fields, and those of all.
fn layer(kind: &str, generator: &mut SchemaGenerator) -> Value {
    let mut schema = match kind {
        "conv" => of::<ConvFile>(generator),
        "mbconv" => of::<BottleneckFile>(generator),
        "avgpool" | "maxpool" => of::<PoolFile>(generator),
        "linear" => of::<LinearFile>(generator),
        "residual" => of::<ResidualFile>(generator),
        "fire" => of::<FireFile>(generator),
        "inception" => of::<InceptionFile>(generator),
        "lrn" => of::<LocalResponseFile>(generator),
        "add" => of::<AddFile>(generator),
        _ => of::<ConcatFile>(generator),
    };
    let formats = generator.subschema_for::<Option<BTreeMap<String, LayerFormatFile>>>().to_value();
    let common = [
        ("name", json!({"type": "string", "description": "Weights are found by it."})),
        ("kind", json!({"const": kind})),
        (
            "reads",
            json!({
                "type": ["array", "null"], "items": {"type": "string"},
                "description": "Names of the layers that it reads, `image` for the network's input; without it, the one before.",
            }),
        ),
        ("formats", described(formats, "Bits and densities of weights and inputs, by part.")),
    ];
    for (name, field) in common {
        schema["properties"][name] = field;
    }
    for activation in ["activation", "output_activation"] {
        if schema["properties"].get(activation).is_some() {
            schema["properties"][activation]["enum"] = ACTIVATIONS.map(|activation| activation.name()).into();
        }
    }
    schema["title"] = kind.into();
    if let Some(required) = schema["required"].as_array_mut() {
        required.extend([json!("name"), json!("kind")]);
    }
    schema
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published;
    use crate::shape_file::to_json;

    #[test]
    fn published_networks_are_accepted_and_odd_layers_refused() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for (name, _) in published::NETWORKS {
            let network = published::network(name, None).unwrap();
            let file = to_json(&network, Some(&json!({"published": name})));
            let problems: Vec<String> = validator.iter_errors(&file).map(|error| error.to_string()).collect();
            assert!(problems.is_empty(), "{name}: {problems:?}");
            for (field, odd) in [("kind", json!("lstm")), ("kernle", json!(3)), ("name", json!(null))] {
                let mut file = file.clone();
                file["layers"][0][field] = odd;
                assert!(!validator.is_valid(&file), "{name}: {field}");
            }
        }
    }
}
