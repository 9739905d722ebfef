//! Targets that are kept: corrected, fitted, measured here, replaced.

use crate::library::{TABLE, change, home, network};
use std::fs;
use std::path::Path;

use hw_targets::cost::{CostSum, Grade};
use hw_targets::library::TargetLibrary;
use hw_targets::manifest::{Correction, Manifest, TABLE_SCHEMA};
use hw_targets::networks::{MeasuredNetwork, Networks};
use hw_targets::table::OpTable;
use hw_targets::table::{Measurement, OpKey, Row};
use hw_targets::table_op::{TableKind, TableOp};
use hw_targets::target::Target;
use network::op::Workload;
use network::units::{Joules, Measured};
use storage::failure::Failure;
use storage::file::Place;

#[test]
fn what_is_measured_here_is_given_as_it_will_be_found() {
    let home = home();
    let measured = |at: u32| Measurement { std: None, ..Measurement::of(1e-4 + f64::from(at) / 7e6) };
    let op = |at: u32| TableOp { batch_norm: true, ..TableOp::plain(TableKind::Linear, 1, 8, 1, at) };
    let row = |at: u32| Row {
        key: OpKey::new(&op(at), None),
        latency: Some(measured(at)),
        energy: None,
        energy_method: None,
        energy_scope: None,
        source_key: None,
        place: Place::Row(u64::from(at)),
    };
    let table = OpTable::from_rows(Path::new("here"), (1..500).map(row).collect()).unwrap();
    let manifest = Manifest { schema: TABLE_SCHEMA.to_string(), ..Manifest::default() };
    let given = home.library.add_measured("here", manifest, table.clone()).unwrap();
    let found = home.library.find("here").unwrap();
    let bits = |target: &Target| -> Vec<u64> {
        (1..500).map(|at| target.cost_in(Measured::Latency, &op(at).op(), 32).unwrap().value.to_bits()).collect()
    };
    assert_eq!(bits(&given), bits(&found));
    // Some of them are not what was measured, to the last bit, or the test says nothing.
    assert!(bits(&found) != (1..500).map(|at| measured(at).value.to_bits()).collect::<Vec<_>>());

    let network = |at: u32| MeasuredNetwork {
        place: Place::Row(u64::from(at)),
        subnet: "{}".to_string(),
        space: None,
        latency: Some(measured(at)),
        energy: None,
    };
    let given = home.library.add_networks("here", (1..500).map(network).collect()).unwrap();
    let seconds = |networks: &Networks| -> Vec<f64> {
        networks.rows().iter().map(|row| row.measurement(Measured::Latency).unwrap().value).collect()
    };
    assert_eq!(seconds(&given), seconds(&home.library.networks("here").unwrap()));
}

fn correction(scale: f64, offset: f64, networks: usize) -> Correction {
    Correction { scale, offset, networks, mape: 0.01 }
}

#[test]
fn a_derived_energy_is_corrected_once_whatever_the_order() {
    let home = home();
    let yaml = "schema: ofa.target/1\nconst_energy_mJ: 1\nenergy: {power_W: 2}\ntable: board.csv\n";
    let lines = TABLE.lines().map(|line| format!("{}\n", line.split(',').take(16).collect::<Vec<_>>().join(",")));
    fs::write(home.path("board.csv"), lines.collect::<String>()).unwrap();
    fs::write(home.path("board.yaml"), yaml).unwrap();
    let board = home.library.find(home.path("board.yaml").to_str().unwrap()).unwrap();
    let of = |target: &Target| {
        let cost = target.cost_of(&network()).unwrap();
        [cost.latency.unwrap().value * 1e3, cost.energy.unwrap().value * 1e3]
    };
    let near = |got: [f64; 2], want: [f64; 2]| {
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-9), "{got:?}, not {want:?}");
    };
    near(of(&board), [3.0, 7.0]);
    let (latency, energy) = (correction(2.0, 0.5, 30), correction(3.0, -1.0, 30));
    let (of_latency, of_energy) = ((Measured::Latency, latency), (Measured::Energy, energy));
    let keep = |target: &Target, corrections: &[(Measured, Correction)]| {
        home.library.keep_corrected(target, "kept", corrections).unwrap();
        home.library.find("kept").unwrap()
    };
    // Both at once, as they are fitted: to what the target answers before either.
    let both = keep(&board, &[of_latency, of_energy]);
    near(of(&both), [6.5, 20.0]);
    // Energy alone, then latency, which moves the energy no more; and the other way round, where it has moved it already.
    near(of(&keep(&keep(&board, &[of_energy]), &[of_latency])), [6.5, 20.0]);
    let first = keep(&board, &[of_latency]);
    near(of(&first), [6.5, 14.0]);
    let second = keep(&first, &[of_energy]);
    near(of(&second), [6.5, 41.0]);
    for target in [&board, &both, &first, &second] {
        let [latency, energy] = of(target);
        let equivalent = target.latency_equivalent(Joules(energy * 1e-3)).unwrap();
        assert!((equivalent.0 * 1e3 - latency).abs() < 1e-9, "{equivalent:?}, not {latency} ms");
    }
}

#[test]
fn grade_a_lasts_as_long_as_what_it_stands_on() {
    let home = home();
    fs::write(home.path("board.csv"), TABLE).unwrap();
    let board = home.library.add(&home.path("board.csv"), "board", None).unwrap();
    let grade = |target: &Target| target.provenance(Measured::Latency).unwrap().2;
    let of_network = |target: &Target, network: &Workload| {
        let mut sum = CostSum::default();
        network.ops.iter().for_each(|op| sum.add(&target.cost_in(Measured::Latency, op, 32).unwrap()));
        target.value_of(Measured::Latency, &sum).unwrap().grade
    };
    let keep = |target: &Target, correction: Correction| {
        home.library.keep_corrected(target, "kept", &[(Measured::Latency, correction)]).unwrap()
    };
    assert_eq!(grade(&board), Grade::B);
    let validated = keep(&board, correction(1.1, 0.0, 30));
    assert_eq!(grade(&validated), Grade::A);
    assert_eq!(of_network(&validated, &network()), Grade::A);
    // Too few networks, or too far off, replace what vouched for it.
    assert_eq!(grade(&keep(&validated, correction(1.0, 0.0, 12))), Grade::B);
    assert_eq!(grade(&keep(&validated, Correction { mape: 0.3, ..correction(1.0, 0.0, 30) })), Grade::B);
    // Operators that a model answers for later were in none of those networks.
    let pixel3 = home.library.find("pixel3").unwrap();
    let model = pixel3.manifest().latency.as_ref().unwrap().fitted.clone().unwrap();
    let fitted = home.library.keep_fitted(&validated, "fitted", &[(Measured::Latency, model)]).unwrap();
    let mut network = network();
    assert_eq!(of_network(&fitted, &network), Grade::A);
    change(&mut network, 0, |op| op.out_channels = 16);
    assert_eq!(of_network(&fitted, &network), Grade::C);
    // A fit to networks may be corrected on the same ones.
    let vim4 = home.library.find("khadas-vim4").unwrap();
    assert_eq!(grade(&keep(&vim4, correction(1.0, 0.0, 38))), Grade::C);
}

#[test]
fn a_fit_beside_its_table_counts_each_measurement_once() {
    let home = home();
    fs::write(home.path("board.csv"), TABLE).unwrap();
    let board = home.library.add(&home.path("board.csv"), "board", None).unwrap();
    let model = home.library.find("pixel3").unwrap().manifest().latency.as_ref().unwrap().fitted.clone().unwrap();
    let fitted = home.library.keep_fitted(&board, "fitted", &[(Measured::Latency, model)]).unwrap();
    assert_eq!(fitted.standing(Measured::Latency).unwrap().operators, 2);
    let vim4 = home.library.find("khadas-vim4").unwrap();
    let corrected = home.library.keep_corrected(&vim4, "kept", &[(Measured::Latency, correction(1.0, 0.0, 30))]);
    assert_eq!(corrected.unwrap().standing(Measured::Latency).unwrap().networks, 38);
}

#[test]
fn a_correction_that_leaves_nothing_is_an_error() {
    let home = home();
    fs::write(home.path("board.csv"), TABLE).unwrap();
    let board = home.library.add(&home.path("board.csv"), "board", None).unwrap();
    let kept = home.library.keep_corrected(&board, "kept", &[(Measured::Latency, correction(1.0, -4.0, 5))]).unwrap();
    let error = kept.cost_of(&network()).unwrap_err();
    assert_eq!(error.kind().exit_code(), 3);
    assert!(error.to_string().contains("latency") && error.hint().unwrap().contains("correction"), "{error}");
}

#[test]
fn a_cost_per_mac_is_less_certain_outside_of_its_networks() {
    let board = TargetLibrary::new(None).find("stm32l4r5").unwrap();
    let of = |scale: u32| {
        let mut network = network();
        change(&mut network, 1, |op| op.out_channels *= scale);
        let cost = board.cost_of(&network).unwrap().energy.unwrap();
        (cost.sigma() / cost.value, cost.outside)
    };
    // 0.06, 1.1 and 88 million multiply-accumulates; 0.26 to 12.5 million were measured.
    let [small, inside, large] = [of(10), of(13_000), of(1_100_000)];
    assert!(inside.1 == 0 && small.1 > 0 && large.1 > 0, "{small:?} {inside:?} {large:?}");
    assert!(large.0 > 3.0 * inside.0, "{large:?} {inside:?}");
}

#[test]
fn a_target_is_replaced_whole() {
    let home = home();
    fs::write(home.path("board.csv"), TABLE).unwrap();
    let files = || {
        let names = fs::read_dir(home.path("home/targets/board")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let add = || home.library.add(&home.path("board.csv"), "board", None).unwrap();
    let board = add();
    assert_eq!(files(), ["table.csv", "target.yaml"]);
    // The new table does not touch the one in use before the manifest names it.
    add();
    assert_eq!(files(), ["table-2.csv", "target.yaml"]);
    home.library.keep_corrected(&board, "board", &[(Measured::Latency, correction(2.0, 0.0, 5))]).unwrap();
    assert_eq!(files(), ["table.csv", "target.yaml"]);
    let mut manifest = home.library.find("khadas-vim4").unwrap().manifest().clone();
    manifest.notes.clear();
    home.library.keep_described("board", manifest, None).unwrap();
    assert_eq!(files(), ["target.yaml"]);
}
