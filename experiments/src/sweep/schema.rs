//! The JSON Schema (draft 2020-12) of a sweep's file, for editors and for programs that write one.
//!
//! The reader checks more than a schema can say: names, units, and whether the points can be computed.

use network::units::Quantity;
use serde_json::{Map, Value, json};

use crate::sweep::baseline::Baseline;
use crate::sweep::file::{ENTRY_FIELDS, EVALUATIONS, FIELDS, SCHEMA, TAKEN};

/// A sweep (`ofa.sweep/1`).
pub(crate) fn schema() -> Value {
    let fields = |names: &[&str], of: fn(&str) -> Value| -> Value {
        names.iter().map(|name| ((*name).to_owned(), of(name))).collect::<Map<_, _>>().into()
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
        "type": "object",
        "properties": fields(&FIELDS, field),
        "required": ["schema"],
        "anyOf": [{"required": ["targets", "budgets"]}, {"required": ["include"]}],
        "additionalProperties": false,
        "$defs": {
            "budget": {
                "type": "object",
                "properties": Quantity::ALL.map(|quantity| (quantity.name().to_owned(), ceiling()))
                    .into_iter().collect::<Map<_, _>>(),
                "minProperties": 1,
                "additionalProperties": false,
            },
            "entry": {
                "type": "object",
                "properties": fields(&ENTRY_FIELDS, entry_field),
                "additionalProperties": false,
            },
        },
    })
}

fn ceiling() -> Value {
    json!({"type": "string", "description": "With its unit (50mJ, 20ms, 300M, 320KiB), or a share of the target's range (40%)."})
}

/// One value, or a list of several.
fn some(one: &Value, description: &str) -> Value {
    json!({"description": description, "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
}

fn algorithms() -> Value {
    json!({"enum": TAKEN.map(|algorithm| algorithm.name())})
}

fn baselines() -> Value {
    json!({"enum": Baseline::ALL.map(|baseline| baseline.name())})
}

fn object(properties: &Value, required: &[&str], description: &str) -> Value {
    json!({
        "type": "object", "description": description, "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

fn field(name: &str) -> Value {
    let (word, whole) = (json!({"type": ["string", "number"]}), json!({"type": "integer", "minimum": 0}));
    let entries = |words: &str| some(&json!({"$ref": "#/$defs/entry"}), words);
    match name {
        "schema" => json!({"const": SCHEMA}),
        "name" => {
            json!({"type": ["string", "number"], "description": "What reports are called; without it, the file's name."})
        }
        "targets" => some(&word, "Names or paths of targets."),
        "budgets" => some(&json!({"$ref": "#/$defs/budget"}), "Ceilings; several in one budget hold together."),
        "seeds" => some(&whole, "Seeds of the searches; without them, 0."),
        "algorithms" => some(&algorithms(), "Without them, evolution."),
        "baselines" => some(&baselines(), "What searches are held against."),
        "bundles" => some(&word, "Names or paths of bundles; `default` is each target's own."),
        "predictors" => {
            some(&word, "`default` is the bundle's own; ensemble, additive, mlp and auto are fitted; files.")
        }
        "evaluations" => {
            json!({"type": "integer", "minimum": 1, "default": EVALUATIONS, "description": "Of each search."})
        }
        "confidence" => {
            json!({"type": ["number", "string"], "description": "Probability with which a search keeps its budget."})
        }
        "data" => {
            json!({"type": "string", "description": "Images for `train` and `networks`: parquet:PATH, folder:PATH, …"})
        }
        "train" => {
            let collect = json!({"pairs": {"type": "integer", "minimum": 20}, "seed": whole});
            let fields = json!({
                "recipes": some(&word, "Every recipe, by its file."),
                "spaces": some(&word, "Every recipe in every space; without them, in its own."),
                "collect": object(&collect, &[], "Subnets measured for the predictor."),
            });
            object(&fields, &["recipes"], "Bundles that are trained before the searches.")
        }
        "networks" => {
            let finetune = json!({
                "epochs": {"type": "integer", "minimum": 1},
                "set": some(&json!({"type": "string"}), "Values of a recipe of fine-tuning: learning_rate=0.02."),
            });
            let fields = json!({
                "refine": {"enum": ["images", "predictor"], "description": "What a refinement goes by."},
                "finetune": object(&finetune, &["epochs"], "How each network is trained on."),
                "export": some(&json!({"enum": ["onnx", "tflite"]}), "Files that others run."),
            });
            object(&fields, &[], "What becomes of every subnet found.")
        }
        "exclude" => entries("Points that are left out: all that an entry describes."),
        "include" => entries("Further points, each with a target and a budget."),
        _ => json!({}),
    }
}

fn entry_field(name: &str) -> Value {
    match name {
        "budget" => json!({"$ref": "#/$defs/budget"}),
        "seed" => json!({"type": "integer", "minimum": 0}),
        "algorithm" => algorithms(),
        "baseline" => baselines(),
        _ => json!({"type": ["string", "number"]}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that the reader gets must not be forgotten here.
    #[test]
    fn every_field_is_described() {
        let schema = schema();
        for field in FIELDS.iter().filter(|field| **field != "schema") {
            assert!(schema["properties"][field]["description"].is_string(), "{field}");
        }
    }
}
