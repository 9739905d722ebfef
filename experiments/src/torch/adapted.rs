//! What comes out of fine-tuning and refining a network.

use std::path::PathBuf;

use network::units::Quantity;
use serde_json::{Map, Value, json};

use super::outcome::MeasuredPart;
use super::{Accuracy, EnergyReport};

/// What comes out of a fine-tuning.
#[derive(Clone, Debug, PartialEq)]
pub struct FineTuned {
    /// The folder of the network.
    pub folder: PathBuf,
    /// On held-out images, as it was.
    pub before: Accuracy,
    /// On the same images, as it is.
    pub held_out: Accuracy,
    /// On the images that decided nothing.
    pub tested: Accuracy,
    /// What those may be called.
    pub part: MeasuredPart,
    /// What it took.
    pub energy: EnergyReport,
}

/// What comes out of a refinement.
#[derive(Clone, Debug, PartialEq)]
pub struct Refined {
    /// The folder of the network.
    pub folder: PathBuf,
    /// Steps that it took.
    pub steps: usize,
    /// What it cost before and costs now, in SI units or as a count.
    pub costs: Vec<(Quantity, f64, f64)>,
    /// Operators whose costs are between those of widths that the target knows.
    pub interpolated: usize,
    /// Top-1 on held-out images, as it was.
    pub before: f64,
    /// On the same images, as it is.
    pub held_out: Accuracy,
    /// On the images that decided nothing.
    pub tested: Accuracy,
    /// What those may be called.
    pub part: MeasuredPart,
    /// What it took.
    pub energy: EnergyReport,
}

impl Refined {
    /// As a JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "network": self.folder,
            "steps": self.steps,
            "costs": costs_json(&self.costs),
            "operators_with_interpolated_cost": self.interpolated,
            "held_out_top1_before": self.before,
            "held_out_top1": self.held_out.top1,
            "held_out_images": self.held_out.images,
            "part": self.part.name(),
            "top1": self.tested.top1,
            "images": self.tested.images,
        })
    }
}

/// What comes out of refining a subnet within its supernet.
#[derive(Clone, Debug, PartialEq)]
pub struct SubnetRefined {
    /// The folder of the network.
    pub folder: PathBuf,
    /// Which subnet it is, as JSON.
    pub subnet: Value,
    /// Steps that it took.
    pub steps: usize,
    /// Whether they spent what the budget left.
    pub upwards: bool,
    /// What it cost before and costs now, in SI units or as a count.
    pub costs: Vec<(Quantity, f64, f64)>,
    /// Operators whose costs are between those of widths that the target knows.
    pub interpolated: usize,
    /// Predicted top-1, before and after.
    pub predicted: (f64, f64),
    /// Measured, where there are images.
    pub tested: Option<Tested>,
}

/// A network measured on two sets of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// On the images that decided.
    pub held_out: Accuracy,
    /// On the images that decided nothing.
    pub tested: Accuracy,
    /// What those may be called.
    pub part: MeasuredPart,
}

impl SubnetRefined {
    /// As a JSON object.
    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "network": self.folder,
            "subnet": self.subnet,
            "steps": self.steps,
            "upwards": self.upwards,
            "costs": costs_json(&self.costs),
            "operators_with_interpolated_cost": self.interpolated,
            "predicted_top1_before": self.predicted.0,
            "predicted_top1": self.predicted.1,
        });
        if let Some(Tested { held_out, tested, part }) = &self.tested {
            object["held_out_top1"] = held_out.top1.into();
            object["held_out_images"] = held_out.images.into();
            object["part"] = part.name().into();
            object["top1"] = tested.top1.into();
            object["images"] = tested.images.into();
        }
        object
    }
}

/// Costs before and after, by quantity.
fn costs_json(costs: &[(Quantity, f64, f64)]) -> Map<String, Value> {
    let costs = costs.iter().map(|(quantity, before, after)| {
        let scale = quantity.json_scale();
        (quantity.json_key().to_owned(), json!({"before": before * scale, "after": after * scale}))
    });
    costs.collect()
}
