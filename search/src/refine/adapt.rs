//! Steps towards budgets: one proposal from every block, each judged, the best kept.
//!
//! In iteration i = 1, 2, … every cost is to fall to `current − reduction · decay^(i−1)`, but not below its budget. Every
//! block proposes a change that alone pays for that; whoever has weights and images fine-tunes and judges the proposals;
//! one is kept ([`Winner`]), and the next iteration starts from there, until all budgets are kept, the iterations are
//! spent, or no block has anything left to give (NetAdapt, Algorithm 1).

/// A cost, what it is to come to, and by how much the first step lowers it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    /// What it is to be at most.
    pub budget: f64,
    /// By how much the first iteration lowers it.
    pub reduction: f64,
}

/// Which of the proposals is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    /// The most accurate of those that pay for the step, as in the paper.
    Accuracy,
    /// The least loss of accuracy for what is saved, as in the published code.
    DropPerSaving,
}

/// How to take steps.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaptSettings {
    /// One for each cost.
    pub ceilings: Vec<Ceiling>,
    /// Factor from one iteration's step to the next.
    pub decay: f64,
    /// Iterations at most.
    pub iterations: usize,
    /// Which proposal is kept.
    pub winner: Winner,
}

/// A network that a block proposes.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal<N> {
    /// Which block, in whatever order the proposer counts them.
    pub block: usize,
    /// The network.
    pub network: N,
    /// What it costs, one number for each ceiling.
    pub costs: Vec<f64>,
}

/// A network that was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Iteration<N> {
    /// Which block changed; none at the start.
    pub block: Option<usize>,
    /// The network.
    pub network: N,
    /// What it costs.
    pub costs: Vec<f64>,
    /// How accurate it is.
    pub accuracy: f64,
    /// Whether it paid for its step.
    pub met: bool,
}

/// Who proposes and judges.
pub trait Adapter {
    /// A network with whatever belongs to it.
    type Network: Clone;
    /// What may go wrong.
    type Error;

    /// A proposal from each block that has something to give; those that cannot pay for the whole step propose what they
    /// can.
    ///
    /// # Errors
    /// Whatever makes going on impossible.
    fn propose(
        &mut self,
        network: &Self::Network,
        targets: &[f64],
    ) -> Result<Vec<Proposal<Self::Network>>, Self::Error>;

    /// The accuracy of each of the proposals of iteration `number`, whose networks may be trained on the way.
    ///
    /// # Errors
    /// Whatever makes going on impossible.
    fn judge(&mut self, number: usize, proposals: &mut [Proposal<Self::Network>]) -> Result<Vec<f64>, Self::Error>;
}

/// Why steps ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All budgets are kept.
    BudgetsKept,
    /// All iterations are spent.
    IterationsSpent,
    /// No block can give anything more: the last network is as near as it gets.
    NothingLeft,
    /// Whoever watches does not want more.
    Stopped,
}

/// Takes steps from the last network of `history`, which holds the start at least and all iterations done before;
/// `watch` sees each new one and says whether to go on.
///
/// # Errors
/// What the adapter says.
///
/// # Panics
/// If `history` is empty, or costs are not as many as ceilings.
pub fn adapt<A: Adapter>(
    adapter: &mut A,
    history: &mut Vec<Iteration<A::Network>>,
    settings: &AdaptSettings,
    watch: &mut dyn FnMut(&Iteration<A::Network>) -> bool,
) -> Result<End, A::Error> {
    loop {
        let current = history.last().expect("the network to start from");
        assert_eq!(current.costs.len(), settings.ceilings.len(), "a cost for each ceiling");
        let kept = current.costs.iter().zip(&settings.ceilings).all(|(cost, ceiling)| *cost <= ceiling.budget);
        if kept {
            return Ok(End::BudgetsKept);
        }
        let number = history.len();
        if number > settings.iterations {
            return Ok(End::IterationsSpent);
        }
        let step = settings.decay.powi(i32::try_from(number - 1).unwrap_or(i32::MAX));
        let targets: Vec<f64> = current
            .costs
            .iter()
            .zip(&settings.ceilings)
            // What is kept already need only stay so.
            .map(|(cost, ceiling)| (cost - ceiling.reduction * step).max(ceiling.budget))
            .collect();
        let mut proposals = adapter.propose(&current.network, &targets)?;
        proposals.retain(|proposal| saving(&current.costs, &proposal.costs, &settings.ceilings) > 0.0);
        if proposals.is_empty() {
            return Ok(End::NothingLeft);
        }
        let next = best_of(adapter, history, settings, proposals, &targets)?;
        let goes_on = watch(&next);
        history.push(next);
        if !goes_on {
            return Ok(End::Stopped);
        }
    }
}

/// Takes steps the other way from the last network of `history`, which keeps all budgets: in iteration i every cost may
/// rise by `reduction · decay^(i−1)`, up to its budget, until there is no dearer network that a block proposes.
///
/// # Errors
/// What the adapter says.
///
/// # Panics
/// If `history` is empty, or costs are not as many as ceilings.
pub fn spend<A: Adapter>(
    adapter: &mut A,
    history: &mut Vec<Iteration<A::Network>>,
    settings: &AdaptSettings,
    watch: &mut dyn FnMut(&Iteration<A::Network>) -> bool,
) -> Result<End, A::Error> {
    let budgets: Vec<f64> = settings.ceilings.iter().map(|ceiling| ceiling.budget).collect();
    loop {
        let current = history.last().expect("the network to start from");
        assert_eq!(current.costs.len(), settings.ceilings.len(), "a cost for each ceiling");
        let number = history.len();
        if number > settings.iterations {
            return Ok(End::IterationsSpent);
        }
        let step = settings.decay.powi(i32::try_from(number - 1).unwrap_or(i32::MAX));
        let raised = current.costs.iter().zip(&settings.ceilings);
        let raised: Vec<f64> =
            raised.map(|(cost, ceiling)| (cost + ceiling.reduction * step).min(ceiling.budget)).collect();
        let load = |costs: &[f64]| costs.iter().zip(&budgets).map(|(cost, budget)| cost / budget).sum::<f64>();
        let used = load(&current.costs);
        // A step may be too short for any change, which the rest of the budget is not.
        let mut found = None;
        for targets in [&raised, &budgets] {
            let mut proposals = adapter.propose(&current.network, targets)?;
            proposals.retain(|proposal| {
                let keeps = proposal.costs.iter().zip(&budgets).all(|(cost, budget)| cost <= budget);
                keeps && load(&proposal.costs) > used
            });
            if !proposals.is_empty() {
                found = Some((proposals, targets));
                break;
            }
        }
        let Some((proposals, targets)) = found else { return Ok(End::BudgetsKept) };
        let next = best_of(adapter, history, settings, proposals, targets)?;
        let goes_on = watch(&next);
        history.push(next);
        if !goes_on {
            return Ok(End::Stopped);
        }
    }
}

/// The best of the proposals for the step after `history`, as judged.
fn best_of<A: Adapter>(
    adapter: &mut A,
    history: &[Iteration<A::Network>],
    settings: &AdaptSettings,
    mut proposals: Vec<Proposal<A::Network>>,
    targets: &[f64],
) -> Result<Iteration<A::Network>, A::Error> {
    let accuracies = adapter.judge(history.len(), &mut proposals)?;
    let meets: Vec<bool> = proposals
        .iter()
        .map(|proposal| proposal.costs.iter().zip(targets).all(|(cost, target)| cost <= target))
        .collect();
    let current = history.last().expect("the network to start from");
    let best = winner(settings, current, &proposals, &accuracies, &meets);
    let Proposal { block, network, costs } = proposals.swap_remove(best);
    Ok(Iteration { block: Some(block), network, costs, accuracy: accuracies[best], met: meets[best] })
}

/// How much less a proposal costs, as a part of the current cost, summed over the ceilings that are not kept yet.
fn saving(current: &[f64], proposed: &[f64], ceilings: &[Ceiling]) -> f64 {
    let open = current.iter().zip(proposed).zip(ceilings).filter(|((current, _), ceiling)| **current > ceiling.budget);
    open.map(|((current, proposed), _)| (current - proposed) / current).sum()
}

fn winner<N>(
    settings: &AdaptSettings,
    current: &Iteration<N>,
    proposals: &[Proposal<N>],
    accuracies: &[f64],
    meets: &[bool],
) -> usize {
    // Larger is better; the first of equals.
    let worth = |at: usize| match settings.winner {
        Winner::Accuracy => accuracies[at],
        Winner::DropPerSaving => {
            let saved = saving(&current.costs, &proposals[at].costs, &settings.ceilings);
            // The published code adds as much, so that no loss at all still prefers more saved.
            -(current.accuracy - accuracies[at] + 1e-6) / saved
        }
    };
    // A smaller change looks better than one that pays for the step.
    let paying = settings.winner == Winner::Accuracy && meets.contains(&true);
    let candidates = (0..proposals.len()).filter(|at| !paying || meets[*at]);
    candidates.reduce(|best, at| if worth(at) > worth(best) { at } else { best }).expect("at least one proposal")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use network::op::{Conv, Map, Op};
    use network::shape::NetworkShape;
    use network::widths::Widths;
    use serde_json::Value;

    use super::super::propose::narrower;
    use super::super::propose::tests::{golden, weights};
    use super::*;

    /// The small network of the published tests, whose accuracies are made up: they depend on which of the first three
    /// layers are narrower than at first.
    struct HelloWorld;

    fn outputs(shape: &NetworkShape) -> Vec<u32> {
        shape.nodes().iter().map(|node| node.op.output().channels).collect()
    }

    fn accuracy(shape: &NetworkShape) -> f64 {
        let outputs = outputs(shape);
        let narrower: Vec<usize> = (0..3).filter(|at| outputs[*at] != [16, 32, 64][*at]).collect();
        match narrower.as_slice() {
            [0] => 1.0,
            [1] => 5.0,
            [2] => 80.0,
            [0, 2] => 85.0,
            [1, 2] => 10.0,
            [0, 1, 2] => 90.0,
            _ => 95.0,
        }
    }

    impl Adapter for HelloWorld {
        type Network = NetworkShape;
        type Error = Infallible;

        fn propose(
            &mut self,
            shape: &NetworkShape,
            targets: &[f64],
        ) -> Result<Vec<Proposal<NetworkShape>>, Infallible> {
            let widths = Widths::of(shape);
            let of = |width| narrower(&widths, width, 1, targets, &mut |shape| Some(vec![weights(shape)]));
            let found = widths.free().filter_map(of);
            Ok(found.map(|found| Proposal { block: found.width, network: found.shape, costs: found.costs }).collect())
        }

        fn judge(&mut self, _: usize, proposals: &mut [Proposal<NetworkShape>]) -> Result<Vec<f64>, Infallible> {
            Ok(proposals.iter().map(|proposal| accuracy(&proposal.network)).collect())
        }
    }

    fn start() -> Vec<Iteration<NetworkShape>> {
        let conv = |(number, [input, output]): (usize, [u32; 2])| {
            let plain = Conv::plain(Map::new(32, input), Map::new(32, output));
            (format!("conv{number}"), Op::Conv(Conv { kernel: 3, padding: 1, ..plain }))
        };
        let ops = [[3, 16], [16, 32], [32, 64], [64, 10]].into_iter().enumerate().map(conv).collect();
        let network = NetworkShape::chain(Map::new(32, 3), ops, 1e-5).unwrap();
        let costs = vec![weights(&network)];
        vec![Iteration { block: None, accuracy: accuracy(&network), network, costs, met: true }]
    }

    fn settings(reduction: f64, budget: f64, iterations: usize, winner: Winner) -> AdaptSettings {
        AdaptSettings { ceilings: vec![Ceiling { budget, reduction }], decay: 1.0, iterations, winner }
    }

    fn compare(history: &[Iteration<NetworkShape>], golden: &Value) {
        let numbers = |key: &str| -> Vec<f64> {
            golden[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
        };
        assert_eq!(history.iter().map(|one| one.costs[0]).collect::<Vec<_>>(), numbers("resource"));
        assert_eq!(history.iter().map(|one| one.accuracy).collect::<Vec<_>>(), numbers("acc"));
        let expected: Vec<Vec<u32>> = serde_json::from_value(golden["outs"].clone()).unwrap();
        assert_eq!(history.iter().map(|one| outputs(&one.network)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_published_traces_are_reproduced_and_a_resumed_one_is_the_same() {
        let Some(golden) = golden() else { return };
        let golden = &golden["helloworld"];
        for winner in [Winner::Accuracy, Winner::DropPerSaving] {
            let whole = start()[0].costs[0];
            let master = settings(0.025 * whole, 0.8 * whole, 3, winner);
            let mut history = start();
            let end = adapt(&mut HelloWorld, &mut history, &master, &mut |_| true).unwrap();
            assert_eq!(end, End::IterationsSpent);
            compare(&history, &golden["master_trace"]);
            let blocks: Vec<Option<usize>> = serde_json::from_value(golden["master_trace"]["block"].clone()).unwrap();
            assert_eq!(history.iter().map(|one| one.block).collect::<Vec<_>>(), blocks);
            // Stopped after every iteration, and gone on with.
            let mut resumed = start();
            while adapt(&mut HelloWorld, &mut resumed, &master, &mut |_| false).unwrap() == End::Stopped {}
            assert_eq!(resumed, history);

            // Steps that nothing can pay for: what can be given is, until nothing is left.
            let mut history = start();
            let tight = settings(whole, 1.0, 10, winner);
            let end = adapt(&mut HelloWorld, &mut history, &tight, &mut |_| true).unwrap();
            assert_eq!(end, End::NothingLeft);
            compare(&history, &golden["tight"]);
            assert!(history[1..].iter().all(|one| !one.met));
        }
    }

    /// One number, which may grow by any of three lengths; accuracy is the number itself.
    struct Growing;

    impl Adapter for Growing {
        type Network = f64;
        type Error = Infallible;

        fn propose(&mut self, network: &f64, targets: &[f64]) -> Result<Vec<Proposal<f64>>, Infallible> {
            let longer = [1.0, 2.5, 4.0].map(|length| network + length).into_iter().enumerate();
            let fitting = longer.filter(|(_, longer)| *longer <= targets[0]);
            Ok(fitting.map(|(block, network)| Proposal { block, network, costs: vec![network] }).collect())
        }

        fn judge(&mut self, _: usize, proposals: &mut [Proposal<f64>]) -> Result<Vec<f64>, Infallible> {
            Ok(proposals.iter().map(|proposal| proposal.network).collect())
        }
    }

    #[test]
    fn what_a_budget_leaves_is_spent_step_by_step() {
        let start = || vec![Iteration { block: None, network: 1.0, costs: vec![1.0], accuracy: 1.0, met: true }];
        let costs = |reduction: f64, budget: f64, iterations: usize| {
            let mut history = start();
            let settings = settings(reduction, budget, iterations, Winner::Accuracy);
            let end = spend(&mut Growing, &mut history, &settings, &mut |_| true).unwrap();
            let mut resumed = start();
            while spend(&mut Growing, &mut resumed, &settings, &mut |_| false).unwrap() == End::Stopped {}
            assert_eq!(resumed, history);
            (history.iter().map(|one| one.costs[0]).collect::<Vec<_>>(), end)
        };
        assert_eq!(costs(3.0, 8.4, 10), (vec![1.0, 3.5, 6.0, 7.0, 8.0], End::BudgetsKept));
        assert_eq!(costs(3.0, 8.4, 2), (vec![1.0, 3.5, 6.0], End::IterationsSpent));
        assert_eq!(costs(0.5, 4.0, 10), (vec![1.0, 3.5], End::BudgetsKept), "a step too short for any change");
        assert_eq!(costs(3.0, 1.5, 10), (vec![1.0], End::BudgetsKept));
    }

    #[test]
    fn a_budget_that_is_kept_ends_it_and_the_last_step_does_not_overshoot() {
        let whole = start()[0].costs[0];
        let mut history = start();
        let kept = settings(0.025 * whole, whole, 3, Winner::Accuracy);
        assert_eq!(adapt(&mut HelloWorld, &mut history, &kept, &mut |_| true).unwrap(), End::BudgetsKept);
        assert_eq!(history.len(), 1);
        // A step of a half, but a budget of 0.99: as much as is needed goes.
        let near = settings(0.5 * whole, 0.99 * whole, 3, Winner::Accuracy);
        assert_eq!(adapt(&mut HelloWorld, &mut history, &near, &mut |_| true).unwrap(), End::BudgetsKept);
        assert!(history.len() == 2 && history[1].costs[0] > 0.96 * whole, "{:?}", history[1].costs);
    }
}
