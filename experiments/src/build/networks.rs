//! What a build ends with: the networks that its sweep found, each with what was predicted, measured and written.

use std::collections::BTreeMap;

use network::units::Quantity;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::stages::network::{Counted, NetworkFile};
use crate::sweep::table::Row;

/// The folder of the networks.
pub const NETWORKS: &str = "networks";
const PREFIX: &str = "net-";

/// A subnet that the sweep found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// What it is called here.
    pub name: String,
    /// The subnet (`ofa.subnet/1`).
    pub subnet: Value,
    /// Top-1 by the predictor.
    pub predicted: f64,
    /// Which budgets it is the best of: target and words.
    pub asked: Vec<(String, String)>,
    /// What it costs, by target.
    pub costs: BTreeMap<String, Value>,
    /// Of one image.
    pub macs: f64,
}

/// A network of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BuiltNetwork {
    /// Which subnet it is, and what for.
    #[serde(flatten)]
    pub found: Found,
    /// On the images that decisions are made by.
    pub held_out: Counted,
    /// On images that decided nothing.
    pub tested: Counted,
    /// Its folder, in that of the build.
    pub folder: String,
    /// Its files.
    pub files: Vec<NetworkFile>,
}

impl BuiltNetwork {
    /// What it costs in `quantity` on the first target that it was found for, in the unit of JSON keys.
    pub fn cost(&self, quantity: Quantity) -> Option<f64> {
        let costs = self.found.costs.get(&self.found.asked.first()?.0)?;
        let cost = &costs[quantity.json_key()];
        cost["value"].as_f64().or_else(|| cost.as_f64())
    }
}

/// The distinct subnets of a sweep, from the cheapest to the most expensive.
pub(crate) fn distinct(rows: &[Row<'_>]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for row in rows.iter().filter(|row| !row.record.result["subnet"].is_null()) {
        let result = &row.record.result;
        let point = &row.planned.point;
        let asked = (point.target.clone(), point.budget.to_string());
        let costs = (point.target.clone(), result["costs"].clone());
        match found.iter_mut().find(|other| other.subnet == result["subnet"]) {
            Some(other) => {
                if !other.asked.contains(&asked) {
                    other.asked.push(asked);
                }
                other.costs.extend([costs]);
            }
            None => found.push(Found {
                name: String::new(),
                subnet: result["subnet"].clone(),
                predicted: result["top1"].as_f64().unwrap_or(0.0),
                asked: vec![asked],
                macs: result["costs"]["macs"].as_f64().unwrap_or(0.0),
                costs: BTreeMap::from([costs]),
            }),
        }
    }
    found.sort_by(|a, b| a.macs.total_cmp(&b.macs).then_with(|| a.subnet.to_string().cmp(&b.subnet.to_string())));
    for (at, one) in found.iter_mut().enumerate() {
        one.name = format!("{PREFIX}{:02}", at + 1);
    }
    found
}

/// Whether that is what a network of a build is called.
pub(crate) fn is_name(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|number| number.len() >= 2 && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// The quantity that the first budget limits; MACs where it names none.
pub fn quantity_of(networks: &[BuiltNetwork]) -> Quantity {
    let words = networks.first().and_then(|network| network.found.asked.first());
    let named = |quantity: &Quantity| words.is_some_and(|(_, budget)| budget.starts_with(quantity.name()));
    Quantity::ALL.into_iter().find(named).unwrap_or(Quantity::ALL[2])
}

/// `networks.json`.
pub(crate) fn json(name: &str, networks: &[BuiltNetwork]) -> Value {
    let rows = serde_json::to_value(networks).expect("plain data");
    Value::Object(Map::from_iter([
        ("schema".to_owned(), "ofa.built/1".into()),
        ("name".to_owned(), name.into()),
        ("networks".to_owned(), rows),
    ]))
}

/// The schema of `networks.json`.
pub(crate) fn schema() -> Value {
    let mut generator = SchemaGenerator::default();
    let network = generator.subschema_for::<BuiltNetwork>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "schema": {"const": "ofa.built/1"},
            "name": {"type": "string", "description": "What the build is called."},
            "networks": {"type": "array", "items": network},
        },
        "required": ["schema", "name", "networks"],
        "$defs": generator.take_definitions(true),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn network(name: &str, latency: f64, top1: f64) -> BuiltNetwork {
        BuiltNetwork {
            found: Found {
                name: name.into(),
                subnet: json!({}),
                predicted: top1 + 0.01,
                asked: vec![("pixel3".into(), "latency 20%".into())],
                costs: BTreeMap::from([("pixel3".into(), json!({"latency_ms": {"value": latency}, "macs": 2e6}))]),
                macs: 2e6,
            },
            held_out: Counted::new(top1, 200, "held-out"),
            tested: Counted::new(top1 - 0.01, 500, "test"),
            folder: format!("networks/{name}"),
            files: Vec::new(),
        }
    }

    #[test]
    fn a_cost_is_that_of_the_budget() {
        let built = network("net-01", 0.5, 0.7);
        assert_eq!(quantity_of(std::slice::from_ref(&built)).name(), "latency");
        assert_eq!(built.cost(Quantity::Latency), Some(0.5));
        assert_eq!(built.cost(Quantity::Macs), Some(2e6));
        assert!(is_name("net-01") && is_name("net-123") && !is_name("net-1") && !is_name("notes"));
    }
}
