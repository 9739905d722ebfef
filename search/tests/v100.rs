//! NetAdapt on measured tables of a V100 in NetAdapt's own format, with an accuracy that is made up: what its steps cost,
//! beside the energies of a published run.

use std::convert::Infallible;

use hw_targets::import::netadapt;
use hw_targets::target::Target;
use network::published;
use network::shape::NetworkShape;
use network::units::Measured;
use network::widths::Widths;
use search::refine::adapt::{AdaptSettings, Adapter, Ceiling, End, Iteration, Proposal, Winner, adapt};
use search::refine::propose::narrower;

struct OnTable {
    target: Target,
    /// Targets of the steps, in order.
    targets: Vec<f64>,
}

impl OnTable {
    fn energy(&self, shape: &NetworkShape) -> Option<f64> {
        let workload = shape.workload();
        let cost = |op| Some(self.target.cost_in(Measured::Energy, op, workload.resolution).ok()?.value);
        workload.ops.iter().map(cost).sum()
    }
}

/// Made up: relative narrowing hurts, and more of it more.
fn accuracy(shape: &NetworkShape) -> f64 {
    let widths = Widths::of(shape);
    widths.free().map(|width| f64::from(widths.all()[width].channels).ln()).sum()
}

impl Adapter for OnTable {
    type Network = NetworkShape;
    type Error = Infallible;

    fn propose(&mut self, shape: &NetworkShape, targets: &[f64]) -> Result<Vec<Proposal<NetworkShape>>, Infallible> {
        self.targets.push(targets[0]);
        let widths = Widths::of(shape);
        let of = |width| narrower(&widths, width, 8, targets, &mut |shape| Some(vec![self.energy(shape)?]));
        let found = widths.free().filter_map(of);
        Ok(found.map(|found| Proposal { block: found.width, network: found.shape, costs: found.costs }).collect())
    }

    fn judge(&mut self, _: usize, proposals: &mut [Proposal<NetworkShape>]) -> Result<Vec<f64>, Infallible> {
        Ok(proposals.iter().map(|proposal| accuracy(&proposal.network)).collect())
    }
}

#[test]
fn steps_on_the_published_tables_cost_what_the_published_run_did() {
    let Some(folder) = shared_data::file("data/systems/netadapt/v100_luts") else { return };
    let golden = std::fs::read_to_string(folder.with_file_name("golden_values.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
    let golden = &golden["v100_energy_runs"];
    let path = folder.join("energy_mobilenet.json");
    let imported = netadapt::read(&path).unwrap();
    let target = Target::new("v100-table", imported.manifest, Some(imported.table), &path).unwrap();
    let start = published::mobilenet_v1(100, 224, 10);

    // The sum of the layers. Rows that two layers have are means of both, hence not to the last digit.
    let mut on_table = OnTable { target, targets: Vec::new() };
    let energy = on_table.energy(&start).unwrap();
    let published = golden["lut_sum"]["mobilenet_energy_J"].as_f64().unwrap();
    assert!((energy / published - 1.0).abs() < 0.003, "{energy} J, published {published} J");

    // A layer that the table lacks is named.
    let other = published::mobilenet_v1(100, 192, 10);
    let error = on_table.target.cost_of(&other.workload()).unwrap_err().to_string();
    assert!(error.contains("conv 192x192x3 -> 96x96x32 k3 s2"), "{error}");
    // The last layer's inputs go in steps of 64, the convolution's before it in steps of 8.
    let widths = Widths::of(&start);
    let last = widths.free().last().unwrap();
    let narrow = widths.with(&[(last, 1016)].into()).unwrap();
    assert!(on_table.energy(&narrow).is_none());
    on_table.target = on_table.target.between_widths();
    assert!(on_table.energy(&narrow).is_some());

    // Steps as published: 2.5 % at first, times 0.96 each, down to 0.4 of the energy, 45 at most.
    let reduction = 0.025 * energy;
    let settings = AdaptSettings {
        ceilings: vec![Ceiling { budget: 0.4 * energy, reduction }],
        decay: 0.96,
        iterations: 45,
        winner: Winner::Accuracy,
    };
    let mut history =
        vec![Iteration { block: None, accuracy: accuracy(&start), network: start, costs: vec![energy], met: true }];
    let end = adapt(&mut on_table, &mut history, &settings, &mut |_| true).unwrap();
    assert!(matches!(end, End::BudgetsKept | End::IterationsSpent), "{end:?}");
    for (number, (pair, target)) in history.windows(2).zip(&on_table.targets).enumerate() {
        let [before, after] = [&pair[0], &pair[1]].map(|step| step.costs[0]);
        let expected = (before - reduction * 0.96_f64.powi(number as i32)).max(0.4 * energy);
        assert!((target - expected).abs() < 1e-9 && after <= *target, "step {}: {before} to {after}", number + 1);
        assert_eq!(on_table.energy(&pair[1].network), Some(after), "the table's sum");
    }
    // Which layers give depends on accuracies, which here are made up; what steps cost hardly does.
    for step in golden["mobilenet"].as_array().unwrap() {
        let (number, theirs) = (step[0].as_u64().unwrap() as usize, step[1].as_f64().unwrap());
        if let Some(step) = history.get(number) {
            let ours = step.costs[0];
            println!("step {number}: {ours:.3} J, published {theirs:.3} J");
            assert!((ours / theirs - 1.0).abs() < 0.09, "step {number}: {ours} J, published {theirs} J");
        }
    }
}
