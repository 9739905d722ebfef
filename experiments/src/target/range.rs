//! What the networks of a space cost on a target, from the cheapest to the dearest: what a budget has to lie between.

use hw_targets::error::HwError;
use hw_targets::target::Target;
use network::units::Quantity;
use search::space::SearchSpace;
use serde_json::{Value, json};

use crate::error::Result;
use crate::folders::spaces;

/// Random networks besides the ends of the space.
const NETWORKS: usize = 1000;

/// One quantity over the networks of a space, in SI units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantityRange {
    /// The quantity.
    pub quantity: Quantity,
    /// Least of all.
    pub cheapest: f64,
    /// Middle one of the random networks.
    pub median: f64,
    /// Largest of all.
    pub dearest: f64,
}

/// Every quantity that `target` knows, over the smallest and the largest network of `space` at each resolution and 1000
/// random ones, always the same.
///
/// # Errors
/// [`HwError::MissingOperator`] for a space that the target does not cover.
pub fn range(target: &Target, space: &SearchSpace) -> Result<Vec<QuantityRange>> {
    let mut archs = spaces::sample(space, NETWORKS, 0);
    for resolution in space.resolutions() {
        archs.push(space.smallest(*resolution)?);
        archs.push(space.largest(*resolution)?);
    }
    let costs = archs.iter().map(|arch| target.cost_of(&space.lower(arch)));
    let costs = costs.collect::<Result<Vec<_>, HwError>>()?;
    let of = |quantity: &Quantity| {
        let values: Vec<f64> = costs.iter().filter_map(|cost| cost.value(*quantity)).collect();
        let mut random = values.get(..NETWORKS)?.to_vec();
        random.sort_by(f64::total_cmp);
        Some(QuantityRange {
            quantity: *quantity,
            cheapest: values.iter().copied().fold(f64::INFINITY, f64::min),
            median: random[NETWORKS / 2],
            dearest: values.iter().copied().fold(0.0, f64::max),
        })
    };
    Ok(target.known().iter().filter_map(of).collect())
}

/// One quantity as the command prints it; `batch` where it is not 1.
pub fn range_json(target: &Target, range: &QuantityRange) -> Value {
    let scale = range.quantity.json_scale();
    let mut value = json!({
        "target": target.name(),
        "quantity": range.quantity.json_key(),
        "cheapest": range.cheapest * scale,
        "median": range.median * scale,
        "dearest": range.dearest * scale,
    });
    if target.batch() != 1 && range.quantity.measured().is_some() {
        value["batch"] = target.batch().into();
    }
    value
}
