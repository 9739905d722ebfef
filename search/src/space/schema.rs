//! JSON Schemas (draft 2020-12) of a space's and of a subnet's file, for editors and for programs that write them.
//!
//! The readers check more than a schema can say, above all a subnet against its space.

use serde_json::{Value, json};

use super::arch_file::SUBNET_SCHEMA;
use super::space_file::{SPACE_SCHEMA, SpaceFile};

/// A space (`ofa.space/1`).
pub fn space() -> Value {
    let mut schema = schemars::schema_for!(SpaceFile).to_value();
    schema["title"] = SPACE_SCHEMA.into();
    schema["properties"]["schema"]["const"] = SPACE_SCHEMA.into();
    schema
}

/// A subnet (`ofa.subnet/1`), or a genome of the published once-for-all implementation.
pub fn subnet() -> Value {
    let whole = json!({"type": "integer", "minimum": 1});
    let described = |mut schema: Value, words: &str| {
        schema["description"] = words.into();
        schema
    };
    let block = json!({
        "type": "object",
        "properties": {
            "kernel": described(whole.clone(), "Height and width of the depthwise kernel."),
            "expand": described(whole.clone(), "Channels inside, as a multiple of the input's."),
        },
        "required": ["kernel", "expand"],
    });
    let stages = json!({
        "type": "object",
        "title": SUBNET_SCHEMA,
        "properties": {
            "schema": {"const": SUBNET_SCHEMA},
            "space": {"type": "string", "description": "The name of its space."},
            "resolution": described(whole.clone(), "Height and width of the image in pixels."),
            "stages": {
                "description": "The blocks of each stage that are there, in order: its depth is their number.",
                "type": "array",
                "items": {"type": "array", "items": block, "minItems": 1},
            },
        },
        "required": ["schema", "space", "resolution", "stages"],
    });
    let genes = |words: &str| json!({"type": "array", "description": words});
    let size = json!({"anyOf": [whole, {"type": "array", "minItems": 1, "maxItems": 1}]});
    let genome = json!({
        "type": "object",
        "title": "genome",
        "properties": {
            "ks": genes("The kernel size of each block; those of blocks that are not there mean nothing."),
            "e": genes("Their expand ratios."),
            "d": genes("The depth of each stage."),
            "r": described(size.clone(), "Height and width of the image in pixels."),
            "image_size": described(size, "The same under another name."),
            "space": {"type": ["string", "null"]},
        },
        "required": ["ks", "e", "d"],
        "anyOf": [{"required": ["r"]}, {"required": ["image_size"]}],
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SUBNET_SCHEMA,
        "description": "One subnet; files of many have one a line.",
        "anyOf": [stages, genome],
    })
}
