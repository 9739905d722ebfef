use storage::failure::Failure;

use super::*;
use crate::networks::Genome;
use crate::testing::shared;
use hw_targets::library::{SHIPPED, TargetLibrary};
use hw_targets::manifest::ClassEntry;
use hw_targets::table_op::TableKind;
use network::op::Activation;
use network::units::Joules;

fn manifest(name: &str) -> Manifest {
    let (name, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name).unwrap();
    Manifest::parse(Path::new(name), text).unwrap()
}

fn loo(manifest: &Manifest, quantity: Measured) -> f64 {
    manifest.entry(quantity).unwrap().fitted.as_ref().unwrap().classes["block"].loo_mape.unwrap()
}

#[test]
fn shipped_targets_are_what_the_measurements_give() {
    let Some(shared) = shared() else { return };
    let refitted = refit(&shared.join("data/hw")).unwrap();
    let close = |a: &ClassEntry, b: &ClassEntry| {
        assert_eq!((a.rows, &a.range, a.loo_mape.is_some()), (b.rows, &b.range, b.loo_mape.is_some()));
        let errors = [(a.loo_mape, b.loo_mape), (Some(a.rel_error), Some(b.rel_error))];
        assert!(errors.into_iter().filter_map(|(a, b)| a.zip(b)).all(|(a, b)| (a - b).abs() < 1e-5));
        for (name, value) in &a.coefficients {
            assert!(
                (value - b.coefficients[name]).abs() <= 1e-4 * value.abs(),
                "{name}: {value} {}",
                b.coefficients[name]
            );
        }
    };
    // All that ship but the boards, of which memory is known alone, and the accelerator, which is counted.
    let has_fit = |entry: &Option<QuantityEntry>| {
        entry
            .as_ref()
            .is_some_and(|entry| entry.fitted.is_some() || entry.network_fit.is_some() || entry.per_mac.is_some())
    };
    let names = SHIPPED.map(|(name, _)| manifest(name)).into_iter().filter(|kept| has_fit(&kept.latency));
    assert!(refitted.iter().map(|fresh| fresh.name.clone()).eq(names.map(|kept| kept.name)));
    for fresh in &refitted {
        let name = fresh.name.as_deref().unwrap();
        let kept = manifest(name);
        assert_eq!(
            (fresh.const_latency_ms, fresh.const_energy_mj, &fresh.clock, &fresh.notes),
            (kept.const_latency_ms, kept.const_energy_mj, &kept.clock, &kept.notes)
        );
        for (fresh, kept) in [(&fresh.latency, &kept.latency), (&fresh.energy, &kept.energy)] {
            let network_fit =
                |entry: &Option<QuantityEntry>| entry.as_ref().and_then(|entry| entry.network_fit.clone());
            assert_eq!(network_fit(fresh).is_some(), network_fit(kept).is_some());
            if let Some((fresh, kept)) = network_fit(fresh).zip(network_fit(kept)) {
                assert_eq!((fresh.networks, &fresh.ranges), (kept.networks, &kept.ranges));
                assert!((fresh.loo_mape - kept.loo_mape).abs() < 1e-5);
                assert!(fresh.by_input_size.keys().eq(kept.by_input_size.keys()), "{name}");
                let sets = kept.by_input_size.values().chain([&kept.coefficients]);
                for (fresh, kept) in fresh.by_input_size.values().chain([&fresh.coefficients]).zip(sets) {
                    assert!(fresh.keys().eq(kept.keys()), "{name}");
                    for (term, value) in fresh {
                        assert!((value - kept[term]).abs() <= 1e-4 * value.abs(), "{name} {term}");
                    }
                }
            }
            let pair = fresh.as_ref().zip(kept.as_ref());
            if let Some((fresh, kept)) = pair {
                let near = |a: f64, b: f64| (a - b).abs() <= 1e-4 * b.abs();
                assert_eq!(
                    (fresh.correction.is_some(), fresh.per_mac.is_some()),
                    (kept.correction.is_some(), kept.per_mac.is_some())
                );
                if let Some((fresh, kept)) = fresh.correction.zip(kept.correction) {
                    assert!(near(fresh.scale, kept.scale) && near(fresh.offset, kept.offset), "{name}");
                    assert!(fresh.networks == kept.networks && near(fresh.mape, kept.mape), "{name}");
                }
                if let Some((fresh, kept)) = fresh.per_mac.as_ref().zip(kept.per_mac.as_ref()) {
                    assert!(near(fresh.per_mac, kept.per_mac) && near(fresh.rel_error, kept.rel_error), "{name}");
                    assert!(
                        fresh.left_out.iter().all(|(network, error)| near(*error, kept.left_out[network])),
                        "{name}"
                    );
                    assert_eq!(fresh.macs, kept.macs);
                }
            }
            let Some((fresh, kept)) = pair.and_then(|(a, b)| a.fitted.as_ref().zip(b.fitted.as_ref())) else {
                continue;
            };
            assert_eq!(fresh.classes.len(), kept.classes.len());
            assert!((fresh.network_mape.unwrap() - kept.network_mape.unwrap()).abs() < 1e-5, "{name}");
            fresh.classes.iter().for_each(|(class, entry)| close(entry, &kept.classes[class]));
        }
    }
}

#[test]
fn leave_one_out_errors_are_as_small_as_claimed() {
    let [tx2, note10, pixel3, pi4, pixel1] =
        ["jetson-tx2", "note10", "pixel3", "raspberry-pi-4", "pixel1"].map(manifest);
    // Ungrouped blocks of both image sizes; all blocks of both, with groups.
    let blocks = |entry: &Option<QuantityEntry>| entry.as_ref().unwrap().fitted.as_ref().unwrap().classes["block"].rows;
    assert_eq!((blocks(&tx2.energy), blocks(&pixel3.latency)), (144, 192));
    assert!(loo(&pixel1, Measured::Latency) <= 0.06);
    assert!(pixel1.latency.as_ref().unwrap().fitted.as_ref().unwrap().network_mape.unwrap() <= 0.06);
    assert!(loo(&note10, Measured::Latency) <= 0.030);
    assert!(loo(&pixel3, Measured::Latency) <= 0.075);
    assert!(loo(&tx2, Measured::Energy) <= 0.09);
    assert!(loo(&pi4, Measured::Latency) <= 0.14);
    assert!(pixel3.latency.as_ref().unwrap().fitted.as_ref().unwrap().network_mape.unwrap() <= 0.025);
}

/// The 72 ungrouped blocks of 224 px that published fits of this table's energy are quoted on.
#[test]
fn tx2_energy_on_the_blocks_of_one_image_size() {
    let Some(shared) = shared() else { return };
    let lut = shared.join("data/hw/hw-nas-bench-fbnet/fbnet_cached_metrics.json");
    let table = hw_nas_bench::read(&lut, hw_nas_bench::Device::JetsonTx2).unwrap().table;
    assert_eq!(table.rows().len(), 201 + 12, "the 201 operators, and the skips that are convolutions");
    let cifar = [(32, 16), (32, 24), (16, 32), (8, 64), (8, 112), (4, 184)];
    let rows = measured(&table, Measured::Energy, |op| {
        op.kind == TableKind::MbConv && op.groups == 1 && !cifar.contains(&(op.in_size, op.in_channels))
    });
    assert_eq!(rows.len(), 72);
    let model = FittedModel::fit(&rows, 0.1).unwrap();
    let mape = model.classes[&hw_targets::model::features::OpClass::Block].loo_mape.unwrap();
    println!("leave-one-out {:.2} %", 100.0 * mape);
    assert!(mape <= 0.065, "{mape}");
}

fn uniform(kernel: u32, expand: u32, depth: u32) -> Genome {
    let depths = (0..7).map(|at| if at == 0 || at == 6 { 1 } else { depth }).collect();
    Genome { kernels: vec![kernel; 22], expands: vec![expand; 22], depths }
}

/// Sums over the measured table: 4.6 to 56.4 mJ at 32 px.
#[test]
fn pixel3_answers_for_the_phone_space_lie_where_the_table_says() {
    let pixel3 = TargetLibrary::new(None).find("pixel3").unwrap();
    let space = Networks::fbnet_cifar(10);
    let mj = |genome: &Genome, resolution| {
        let cost = pixel3.cost_of(&space.network(genome, resolution)).unwrap();
        let energy = cost.energy.unwrap();
        assert!((energy.value - 1.2 * cost.latency.unwrap().value).abs() < 1e-12);
        assert!((energy.common_rel - 0.3).abs() < 1e-12 && energy.factor == Some(1.6));
        energy.value * 1e3
    };
    let ends: Vec<(f64, f64)> =
        [24, 32, 40, 48].iter().map(|r| (mj(&uniform(3, 1, 1), *r), mj(&uniform(5, 6, 4), *r))).collect();
    println!("pixel3 fbnet-cifar mJ at 24, 32, 40, 48 px: {ends:.2?}");
    assert!((ends[1].0 / 4.6 - 1.0).abs() < 0.1 && (ends[1].1 / 56.4 - 1.0).abs() < 0.1, "{ends:?}");
    assert!(ends[0].0 < 4.0 && ends[3].1 > 100.0, "{ends:?}");
    assert_eq!(pixel3.latency_equivalent(Joules::from_mj(50.0)).unwrap().to_string(), "41.7 ms");
}

#[test]
fn errors_grow_outside_the_range_and_with_transferred_terms() {
    let pixel3 = TargetLibrary::new(None).find("pixel3").unwrap();
    let network = Networks::fbnet_cifar(10).network(&uniform(3, 3, 1), 32);
    let block = TableOp::of(&network.ops[2]).unwrap();
    let rel = |op: &TableOp| {
        let estimate = pixel3.cost_in(Measured::Latency, &op.op(), 32).unwrap();
        (estimate.std / estimate.value, estimate.outside)
    };
    let (inside, flagged) = rel(&block);
    assert!(!flagged && inside < 0.15, "{inside}");
    for odd in [
        TableOp { kernel: 7, ..block },
        TableOp { se_channels: 24, ..block },
        TableOp { activation: Activation::HSwish, ..block },
        TableOp { in_channels: 4, ..block },
    ] {
        let (wider, flagged) = rel(&odd);
        assert!(flagged && wider > 1.1 * inside, "{odd}: {wider}");
    }
    let tx2 = TargetLibrary::new(None).find("jetson-tx2").unwrap();
    let error = tx2.cost(&TableOp { groups: 2, ..block }.op(), 32).unwrap_err();
    assert!(error.hint().unwrap().contains("groups"), "{error}");
    let floor = tx2.cost_in(Measured::Latency, &block.op(), 32).unwrap().value;
    assert!((4.0e-4..9.0e-4).contains(&floor), "{floor}");
}

/// A network that costs more of everything never costs less.
#[test]
fn larger_choices_cost_more_on_every_shipped_target() {
    let (library, space) = (TargetLibrary::new(None), Networks::fbnet_cifar(10));
    for (name, _) in SHIPPED {
        let target = library.find(name).unwrap();
        for quantity in target.known().into_iter().filter(|quantity| quantity.is_sum()) {
            let cost = |kernel, expand, depth| {
                let network = space.network(&uniform(kernel, expand, depth), 32);
                target.cost_of(&network).unwrap().value(quantity).unwrap()
            };
            for smaller in [cost(3, 3, 3), cost(5, 1, 3), cost(5, 3, 2)] {
                assert!(smaller < cost(5, 3, 3), "{name} {quantity}");
            }
        }
    }
}
