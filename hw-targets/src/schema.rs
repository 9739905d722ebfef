//! JSON Schemas (draft 2020-12) of the table and of its manifest, for editors and for programs that write tables.
//!
//! The readers check more than a schema can say (a duplicate key, a value far off its neighbours), and say it with the
//! line.

use serde_json::{Map, Value, json};

use crate::accelerator;
use crate::cost::{Grade, Method, Scope, Statistic};
use crate::manifest::{Manifest, TABLE_SCHEMA, TARGET_SCHEMA};
use crate::table_file::{KEY_COLUMNS, OTHER_COLUMNS};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Other names that the reader takes for fields of a manifest.
const ALIASES: [(&str, &str); 7] = [
    ("schema_version", "schema"),
    ("device_id", "name"),
    ("device_name", "device"),
    ("source_url", "source"),
    ("license", "licence"),
    ("power_mode", "clock"),
    ("thermal", "ambient"),
];

/// One row of a table as an object: the column's name to its cell. An empty cell is `null`, or is not there.
pub fn table_row() -> Value {
    let columns = KEY_COLUMNS.iter().chain(&OTHER_COLUMNS);
    let properties: Map<String, Value> = columns.map(|name| (name.to_string(), column(name))).collect();
    let when = |kinds: &[&str], then: Value| {
        let is = json!({"properties": {"op_type": {"enum": kinds}}});
        json!({"if": is, "then": {"properties": then}})
    };
    let above_zero = json!({"type": "integer", "minimum": 1});
    json!({
        "$schema": DRAFT,
        "title": format!("a row of {TABLE_SCHEMA}"),
        "description": "One operator with what was measured of it. Every key column must be there; a cell may be empty \
            where its description says so. Columns about the conditions (device, runtime, threads, clock, ...) may \
            stand beside these, with the same value in every row.",
        "type": "object",
        "properties": properties,
        "required": KEY_COLUMNS,
        "anyOf": [{"required": ["latency_ms"]}, {"required": ["energy_mJ"]}],
        "allOf": [
            when(&["conv", "dwconv", "mbconv"], json!({
                "in_h": above_zero, "in_w": above_zero, "out_h": above_zero, "out_w": above_zero, "out_c": above_zero,
                "kernel": above_zero, "stride": above_zero, "activation": {"type": "string"},
            })),
            when(&["mbconv"], json!({"mid_c": above_zero})),
            when(&["linear"], json!({"in_h": {"enum": [1, null]}, "out_h": {"enum": [1, null]}, "out_c": above_zero})),
            when(&["avgpool"], json!({"in_h": above_zero, "in_w": above_zero})),
        ],
    })
}

/// The YAML beside a table, and that of a target.
pub fn manifest() -> Value {
    let mut schema = schemars::schema_for!(Manifest).to_value();
    schema["anyOf"] = json!([{"required": ["schema"]}, {"required": ["schema_version"]}]);
    schema["title"] = json!(format!("{TABLE_SCHEMA} and {TARGET_SCHEMA}"));
    let properties = &mut schema["properties"];
    properties["schema"]["enum"] = json!([TABLE_SCHEMA, TARGET_SCHEMA]);
    properties["composition"]["enum"] = json!(["sum", "sum+const", "layers", null]);
    properties["energy_scope"]["enum"] = or_null(Scope::WORDS);
    let entry = &mut schema["$defs"]["QuantityEntry"]["properties"];
    let words = [("method", Method::WORDS), ("basis", Method::WORDS), ("scope", Scope::WORDS), ("grade", Grade::WORDS)];
    words.into_iter().for_each(|(field, words)| entry[field]["enum"] = or_null(words));
    for (alias, name) in ALIASES {
        let mut property = schema["properties"][name].clone();
        property["description"] = json!(format!("Another name for `{name}`."));
        schema["properties"][alias] = property;
    }
    // One thing under two names is refused.
    schema["allOf"] = ALIASES.iter().map(|(alias, name)| json!({"not": {"required": [alias, name]}})).collect();
    schema
}

/// The YAML of an accelerator (`ofa.accelerator/1`).
pub fn accelerator() -> Value {
    accelerator::schema()
}

/// A closed set of words, or nothing.
fn or_null(words: &str) -> Value {
    words.split_whitespace().map(Value::from).chain([Value::Null]).collect()
}

fn column(name: &str) -> Value {
    let whole = |least: u32, description: &str| json!({"type": ["integer", "null"], "minimum": least, "description": description});
    let number = |description: &str| json!({"type": ["number", "null"], "minimum": 0, "description": description});
    let value =
        |description: &str| json!({"type": ["number", "null"], "exclusiveMinimum": 0, "description": description});
    let text = |description: &str| json!({"type": ["string", "null"], "description": description});
    let words = |words: &str, description: &str| json!({"enum": or_null(words), "description": description});
    let flag = |description: &str| json!({"enum": [0, 1, true, false, null], "description": description});
    match name {
        "op_type" => json!({
            "enum": ["conv", "dwconv", "mbconv", "linear", "avgpool", "se", "identity"],
            "description": "What it computes: a convolution with batch norm and activation, a depthwise one, an inverted \
                bottleneck, a fully connected layer, global average pooling. Rows of se and identity are parts of \
                blocks and are left out.",
        }),
        "in_h" => whole(1, "Height of the input in pixels; empty for linear."),
        "in_w" => whole(1, "Width of the input, equal to its height; empty for linear."),
        "in_c" => json!({"type": "integer", "minimum": 1, "description": "Channels of the input."}),
        "out_h" => whole(1, "Height of the output; empty for linear and avgpool."),
        "out_w" => whole(1, "Width of the output, equal to its height; empty for linear and avgpool."),
        "out_c" => whole(1, "Channels of the output; empty for avgpool."),
        "kernel" => whole(
            1,
            "Height and width of the kernel, that of the depthwise convolution in a block; empty for \
                              linear and avgpool.",
        ),
        "stride" => whole(1, "Stride; empty for linear and avgpool."),
        "groups" => whole(
            1,
            "Groups of the convolution, or of the 1x1 convolutions of a block; empty = 1, and the \
                              channels of a dwconv.",
        ),
        "mid_c" => whole(0, "Channels inside a block, absolute, never a ratio; empty or 0 otherwise."),
        "se" => flag("Whether a block has squeeze-excite; empty = as se_mid_c says."),
        "se_mid_c" => whole(0, "Channels inside the squeeze-excite; empty or 0 = none."),
        "activation" => words("none relu relu6 hswish h_swish", "Activation; empty = none for linear and avgpool."),
        "residual" => flag("Whether the input is added to the output of a block; empty = no."),
        "network_resolution" => whole(1, "Input size of the networks that the row holds for; empty = any."),
        "expand_conv" => flag("Whether a block begins with its 1x1 convolution; empty = unless mid_c equals in_c."),
        "expand_ratio" => number("mid_c / in_c, for the reader only."),
        "latency_ms" => value("Latency in milliseconds; empty = not measured, never 0."),
        "energy_mJ" => value("Energy in millijoules; empty = not measured, never 0."),
        "latency_ms_std" => number("Standard deviation of the runs, in milliseconds."),
        "energy_mJ_std" => number("Standard deviation of the runs, in millijoules."),
        "latency_n" | "energy_n" => whole(0, "Runs."),
        "latency_stat" | "energy_stat" => words(Statistic::WORDS, "Which number of the runs."),
        "latency_rel_unc" | "energy_rel_unc" => number("Systematic error common to all rows, as a fraction."),
        "energy_method" => words(Method::WORDS, "How the energy came about."),
        "energy_scope" => words(Scope::WORDS, "What the energy includes."),
        "data_quality" => words("A B C", "Quality of the measurement; rows marked X are refused."),
        "macs" | "params" => number("Of the operator, for the reader only."),
        "source_id" => text("Which source the row is from."),
        "source_key" => text("What its source, or the work list, calls the operator."),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::library::SHIPPED;
    use crate::table::OpTable;
    use crate::table_op::{TableKind, TableOp};
    use crate::work_list::work_list;
    use network::op::Activation;

    fn accepts(schema: &Value, instance: &Value) -> bool {
        jsonschema::validator_for(schema).unwrap().is_valid(instance)
    }

    /// A row as the reader gets it from CSV: numbers where a cell is one, `null` where it is empty.
    fn cells(header: &[&str], line: &str) -> Value {
        let cell = |text: &str| match text {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        };
        header
            .iter()
            .zip(line.split(','))
            .map(|(name, text)| (name.to_string(), cell(text)))
            .collect::<Map<_, _>>()
            .into()
    }

    fn operators() -> Vec<TableOp> {
        let conv = TableOp {
            kernel: 3,
            stride: 2,
            activation: Activation::HSwish,
            ..TableOp::plain(TableKind::Conv, 32, 3, 16, 16)
        };
        let depthwise = TableOp { kernel: 3, groups: 16, ..TableOp::plain(TableKind::Conv, 16, 16, 16, 16) };
        let block = TableOp {
            kernel: 5,
            mid_channels: 64,
            expand_conv: true,
            ..TableOp::plain(TableKind::MbConv, 16, 16, 16, 16)
        };
        let squeezed = TableOp { se_channels: 16, residual: true, ..block };
        vec![
            conv,
            depthwise,
            block,
            squeezed,
            TableOp::plain(TableKind::AvgPool, 16, 16, 1, 16),
            TableOp::plain(TableKind::Linear, 1, 16, 1, 10),
        ]
    }

    #[test]
    fn every_column_is_described() {
        let schema = table_row();
        assert!(schema["properties"].as_object().unwrap().values().all(|column| column["description"].is_string()));
        let manifest = manifest();
        assert!(manifest["properties"].as_object().unwrap().values().all(|field| field["description"].is_string()));
    }

    /// They are written for rustdoc, but read in editors.
    #[test]
    fn descriptions_hold_no_links_of_rustdoc() {
        fn descriptions(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("description").and_then(Value::as_str).map(str::to_string));
                    fields.values().for_each(|value| descriptions(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| descriptions(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        [table_row(), manifest()].iter().for_each(|schema| descriptions(schema, &mut found));
        assert!(found.len() > 100, "{}", found.len());
        for description in found {
            assert!(!["crate::", "]: ", "[`"].iter().any(|odd| description.contains(odd)), "{description}");
        }
    }

    /// In the reader's words, so that a new alias cannot be forgotten.
    #[test]
    fn other_names_of_fields_are_accepted_as_the_reader_does() {
        let aliases: Vec<&str> = include_str!("manifest/mod.rs")
            .split("alias = \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(
            aliases,
            ["schema_version", "device_id", "device_name", "power_mode", "thermal", "source_url", "license"]
        );
        let schema = manifest();
        let check = |instance: Value, good: bool| {
            assert_eq!(accepts(&schema, &instance), good, "schema: {instance}");
            let read = Manifest::parse(Path::new("t.yaml"), &serde_yaml::to_string(&instance).unwrap());
            assert_eq!(read.is_ok(), good, "reader: {instance}");
        };
        check(json!({"schema_version": TABLE_SCHEMA}), true);
        check(json!({"schema_version": "ofa.table/2"}), false);
        for (alias, name) in ALIASES {
            assert!(aliases.contains(&alias), "{alias}");
            let words = if name == "schema" { TABLE_SCHEMA } else { "words" };
            check(json!({"schema": TABLE_SCHEMA, alias: words}), alias != "schema_version");
            check(json!({"schema": TABLE_SCHEMA, alias: words, name: words}), false);
            check(json!({"schema": TABLE_SCHEMA, alias: [3]}), false);
        }
    }

    #[test]
    fn rows_that_the_program_writes_are_accepted() {
        let mut text = Vec::new();
        work_list(&operators(), Path::new("t")).unwrap().write_rows(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (header, rows) = text.trim().split_once('\n').unwrap();
        let header: Vec<&str> = header.split(',').collect();
        let schema = table_row();
        for row in rows.lines() {
            assert!(accepts(&schema, &cells(&header, row)), "{row}");
        }
    }

    #[test]
    fn what_the_reader_refuses_in_a_row_the_schema_refuses() {
        let header = format!("{},latency_ms", KEY_COLUMNS.join(","));
        let names: Vec<&str> = header.split(',').collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.csv");
        let schema = table_row();
        let check = |line: &str, good: bool| {
            fs::write(&file, format!("{header}\n{line}\n")).unwrap();
            assert_eq!(OpTable::read(&file).is_ok(), good, "reader: {line}");
            assert_eq!(accepts(&schema, &cells(&names, line)), good, "schema: {line}");
        };
        check("mbconv,16,16,16,8,8,24,5,2,1,48,1,12,relu6,0,0.25", true);
        check("mbconv,16,16,16,8,8,24,5,2,1,48,,,relu6,,0.25", true);
        check("linear,,,16,,,10,,,,,,,,,0.25", true);
        check("avgpool,16,16,16,,,,,,,,,,,,0.25", true);
        check("dwconv,16,16,16,16,16,16,3,1,,,,,relu,,0.25", true);
        check("lstm,16,16,16,8,8,24,5,2,1,48,0,0,relu6,0,0.25", false);
        check("mbconv,16,16,16,8,8,24,5,2,1,,0,0,relu6,0,0.25", false);
        check("mbconv,16,16,16,8,8,24,5,2,1,48,0,0,gelu,0,0.25", false);
        check("conv,16,16,16,8,8,24,,2,1,,,,relu,,0.25", false);
        check("conv,16,16,16,8,8,24,3,2,1,,,,,,0.25", false);
        check("conv,16,16,0,8,8,24,3,2,1,,,,relu,,0.25", false);
        check("conv,16,16,16.5,8,8,24,3,2,1,,,,relu,,0.25", false);
        check("conv,16,16,16,8,8,24,3,2,1,,,,relu,,0", false);
        check("conv,16,16,16,8,8,24,3,2,1,,,,relu,,-1", false);
        check("conv,16,16,16,8,8,24,3,2,1,,,,relu,2,0.25", false);
        check("linear,4,4,16,,,10,,,,,,,,,0.25", false);
    }

    #[test]
    fn shipped_targets_are_accepted_and_odd_manifests_refused() {
        let schema = manifest();
        for (name, text) in SHIPPED {
            let value: Value = serde_yaml::from_str(text).unwrap();
            let errors: Vec<String> = jsonschema::validator_for(&schema)
                .unwrap()
                .iter_errors(&value)
                .map(|error| error.to_string())
                .collect();
            assert!(errors.is_empty(), "{name}: {errors:?}");
        }
        assert!(accepts(&schema, &json!({"schema": TABLE_SCHEMA, "threads": 1, "energy_scope": "chip"})));
        assert!(accepts(&schema, &json!({"schema": TARGET_SCHEMA, "sram": "320KiB"})));
        for odd in [
            json!({}),
            json!({"schema": "ofa.table/2"}),
            json!({"schema": TABLE_SCHEMA, "watts": 3}),
            json!({"schema": TABLE_SCHEMA, "energy_scope": "everything"}),
            json!({"schema": TARGET_SCHEMA, "energy": {"method": "guessed"}}),
            json!({"schema": TARGET_SCHEMA, "latency": {"fitted": {"classes": {"block": {"rows": 3}}}}}),
        ] {
            assert!(!accepts(&schema, &odd), "{odd}");
        }
    }
}
