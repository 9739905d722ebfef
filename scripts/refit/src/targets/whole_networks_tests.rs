use super::*;
use crate::testing::shared;
use hw_targets::cost::{Grade, Method, Scope};
use hw_targets::library::{SHIPPED, TargetLibrary};
use network::published::{mobilenet_v1, mobilenet_v2};

fn fit(name: &str, quantity: Measured) -> Option<NetworkFitEntry> {
    let (_, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name).unwrap();
    let manifest = Manifest::parse(Path::new(name), text).unwrap();
    let entry = if quantity == Measured::Latency { manifest.latency } else { manifest.energy };
    entry.unwrap().network_fit
}

#[test]
fn leave_one_out_errors_of_whole_networks_are_as_small_as_claimed() {
    let energies = BOARDS.iter().map(|board| fit(board.name, Measured::Energy).unwrap().loo_mape);
    let mean = energies.clone().sum::<f64>() / BOARDS.len() as f64;
    println!("leave-one-out error of energy: {:.4?}, mean {mean:.4}", energies.clone().collect::<Vec<f64>>());
    assert!(mean <= 0.035 && energies.into_iter().all(|error| error <= 0.045), "{mean}");
    let latency = |name| fit(name, Measured::Latency).unwrap().loo_mape;
    assert!(latency("jetson-agx-orin") <= 0.02 && latency("khadas-vim4") <= 0.05);
    assert!(latency("jetson-agx-xavier") <= 0.11 && latency("rk3588s") <= 0.115);
    assert!(fit("raspberry-pi-4", Measured::Latency).is_none());
}

/// The targets answer for the measured networks as the fits do: constant, operators and all.
#[test]
fn targets_give_the_measured_networks_back() {
    let Some(shared) = shared() else { return };
    let rows = mlperf_power::read(&shared.join("data/hw").join(FILE)).unwrap();
    for candidate in candidates(&shared.join("data/hw")).unwrap().iter().filter(|candidate| candidate.chosen) {
        let target = TargetLibrary::new(None).find(candidate.target()).unwrap();
        let errors: Vec<f64> = rows
            .iter()
            .filter(|row| row.platform == candidate.platform && !row.quantized)
            .map(|row| {
                let energy = target.cost_of(&row.network).unwrap().energy.unwrap();
                assert!(energy.std >= 0.999 * candidate.energy.rel_error * energy.value && energy.outside == 0);
                (energy.value / row.energy - 1.0).abs()
            })
            .collect();
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        println!("{}: {} networks, {:.2} %", candidate.target(), errors.len(), 100.0 * mean);
        assert_eq!(errors.len(), candidate.energy.networks);
        assert!(mean < candidate.energy.loo_mape, "{}", candidate.target());
    }
}

#[test]
fn platforms_that_are_not_what_they_say_stay_out() {
    let Some(shared) = shared() else { return };
    let all = candidates(&shared.join("data/hw")).unwrap();
    assert_eq!(all.iter().filter(|candidate| candidate.chosen).count(), BOARDS.len());
    for candidate in &all {
        assert!(!EXCLUDED.iter().any(|start| candidate.platform.starts_with(start)), "{}", candidate.platform);
        // One network of a platform is measured once, so a fit sees one set of conditions.
        assert!([32, 38].contains(&candidate.energy.networks), "{}", candidate.platform);
    }
}

#[test]
fn energies_are_fitted_to_the_wall_plug_and_say_so() {
    for board in &BOARDS {
        let target = TargetLibrary::new(None).find(board.name).unwrap();
        assert_eq!(target.provenance(Measured::Energy), Some((Method::Fitted, Scope::WallAc, Grade::C)));
        let cost = target.cost_of(&mobilenet_v2(100, 224, 1001).workload()).unwrap().energy.unwrap();
        assert!(cost.basis == Method::MeasuredWall && cost.fitted && cost.grade == Grade::C);
        assert!(target.explanation(Measured::Energy).unwrap().contains("leave-one-out error"));
        let smaller = target.cost_of(&mobilenet_v1(25, 128, 1001).workload()).unwrap().energy.unwrap();
        assert!(smaller.value < cost.value);
    }
}
