//! Targets found by name or path, added, and refused.

use std::fs;
use std::path::{Path, PathBuf};

use hw_targets::budget::Budget;
use hw_targets::cost::{Grade, Method, Scope};
use hw_targets::error::HwError;
use hw_targets::import::Format;
use hw_targets::library::{SHIPPED, TargetLibrary};
use hw_targets::manifest::{Correction, Manifest, TABLE_SCHEMA};
use hw_targets::table_op::workload;
use hw_targets::table_op::{TableKind, TableOp};
use hw_targets::target::Target;
use network::op::{Activation, Workload};
use network::units::{Bytes, Joules, Measured, Quantity};
use storage::failure::Failure;

pub(crate) const TABLE: &str = "op_type,in_h,in_w,in_c,out_h,out_w,out_c,kernel,stride,groups,mid_c,se,se_mid_c,activation,residual,latency_ms,latency_ms_std,energy_mJ,energy_method\n\
    conv,32,32,3,16,16,8,3,2,1,0,0,0,relu6,0,2,0.3,4,measured_rail\n\
    linear,1,1,8,1,1,10,1,1,1,0,0,0,none,0,1,0.4,1,measured_rail\n";

/// Changes the columns of one operator of a network.
pub(crate) fn change(network: &mut Workload, at: usize, change: impl FnOnce(&mut TableOp)) {
    let mut row = TableOp::of(&network.ops[at]).unwrap();
    change(&mut row);
    network.ops[at] = row.op();
}

pub(crate) fn network() -> Workload {
    let stem = TableOp {
        kind: TableKind::Conv,
        in_size: 32,
        in_channels: 3,
        out_size: 16,
        out_channels: 8,
        kernel: 3,
        stride: 2,
        groups: 1,
        mid_channels: 0,
        expand_conv: false,
        se_channels: 0,
        activation: Activation::Relu6,
        residual: false,
        batch_norm: true,
    };
    let classifier = TableOp {
        kind: TableKind::Linear,
        in_size: 1,
        in_channels: 8,
        out_size: 1,
        out_channels: 10,
        kernel: 1,
        stride: 1,
        activation: Activation::None,
        batch_norm: false,
        ..stem
    };
    workload(32, &[stem, classifier])
}

pub(crate) struct Home {
    folder: tempfile::TempDir,
    pub(crate) library: TargetLibrary,
}

pub(crate) fn home() -> Home {
    let folder = tempfile::tempdir().unwrap();
    let library = TargetLibrary::new(Some(folder.path().join("home")));
    fs::write(folder.path().join("board.csv"), TABLE).unwrap();
    Home { folder, library }
}

impl Home {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn manifest(&self, text: &str) {
        fs::write(self.path("board.yaml"), format!("schema: ofa.table/1\n{text}")).unwrap();
    }

    fn add(&self) -> Result<Target, HwError> {
        self.library.add(&self.path("board.csv"), "board", None)
    }
}

#[test]
fn a_table_becomes_a_target_of_that_name() {
    let home = home();
    home.manifest("device: My board\nenergy_scope: board_dc\ncomposition: sum+const\nconst_latency_ms: 0.5\n");
    home.add().unwrap();
    let target = home.library.find("board").unwrap();
    let cost = target.cost_of(&network()).unwrap();
    let latency = cost.latency.unwrap();
    assert!((latency.value - 3.5e-3).abs() < 1e-12);
    assert!((latency.std - 0.5e-3).abs() < 1e-12, "independent errors add in quadrature");
    assert!((latency.common_rel - 0.05).abs() < 1e-12);
    let energy = cost.energy.unwrap();
    assert!((energy.value - 5e-3).abs() < 1e-12);
    assert_eq!((energy.method, energy.scope, energy.grade), (Method::MeasuredRail, Scope::BoardDc, Grade::B));
    assert!(!energy.fitted);
    assert_eq!(target.constant(Measured::Latency), 0.5e-3);
    assert_eq!(target.latency_equivalent(Joules(1.0)), None);
    assert_eq!(target.manifest().device.as_deref(), Some("My board"));
    assert_eq!(target.default_bundle_for("mcu-cifar"), Some("mcu-cifar"));
    let names: Vec<String> = home.library.names().into_iter().map(|(name, _)| name).collect();
    let shipped = SHIPPED.map(|(name, _)| name);
    assert!(shipped.is_sorted());
    assert_eq!(names, [&shipped[..], &["board"]].concat());
    // The same by path: the folder, its YAML, the table itself.
    let folder = home.path("home/targets/board");
    for path in [folder.clone(), folder.join("target.yaml"), home.path("board.csv")] {
        assert_eq!(home.library.find(path.to_str().unwrap()).unwrap().cost_of(&network()).unwrap(), cost);
    }
}

#[test]
fn an_operator_that_was_not_measured_is_named() {
    let home = home();
    let target = home.add().unwrap();
    let mut network = network();
    change(&mut network, 0, |op| op.in_channels = 4);
    let error = target.cost_of(&network).unwrap_err();
    assert_eq!(error.kind().exit_code(), 3);
    assert!(error.to_string().contains("conv 32x32x4 -> 16x16x8"), "{error}");
    assert!(error.hint().unwrap().contains("nearest operator of its table is conv 32x32x3"));
}

#[test]
fn energy_may_be_derived_from_a_users_latency() {
    let home = home();
    let without_energy: String =
        TABLE.lines().map(|line| format!("{}\n", line.split(',').take(17).collect::<Vec<_>>().join(","))).collect();
    fs::write(home.path("board.csv"), without_energy).unwrap();
    let counts = Quantity::ALL.into_iter().filter(|quantity| quantity.is_exact());
    assert_eq!(home.add().unwrap().known(), std::iter::once(Quantity::Latency).chain(counts).collect::<Vec<_>>());
    home.manifest("energy: {power_W: 2, common_rel: 0.4, factor: 1.8, scope: wall_ac}\n");
    let target = home.add().unwrap();
    let energy = target.cost_of(&network()).unwrap().energy.unwrap();
    assert!((energy.value - 6e-3).abs() < 1e-12);
    assert_eq!((energy.method, energy.scope, energy.grade), (Method::DerivedPower, Scope::WallAc, Grade::C));
    assert_eq!(energy.factor, Some(1.8));
    assert_eq!(target.latency_equivalent(Joules(1.0)).unwrap().0, 0.5);
    assert_eq!(target.explanation(Measured::Energy), Some("energy = latency × 2 W"));
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_written() {
    let home = home();
    let code = |result: Result<Target, HwError>| result.unwrap_err().kind().exit_code();
    let table = home.path("board.csv");
    assert_eq!(code(home.library.add(&table, "pixel3", None)), 2);
    assert_eq!(code(home.library.add(&table, "../pixel3", None)), 2);
    assert_eq!(code(home.library.add(&home.path("none.csv"), "board", None)), 2);
    assert_eq!(code(TargetLibrary::new(None).add(&table, "board", None)), 2);
    for bad in [
        "colour: blue\n",
        "composition: product\n",
        "composition: sum\nconst_latency_ms: 1\n",
        "const_latency_ms: -1\n",
        "energy_scope: moon\n",
        "energy: {power_W: 2}\n",
        "latency: {power_W: 2}\n",
        "latency: {grade: E}\n",
        "energy: {fitted: {classes: {block: {rows: 1, rel_error: 0.1, range: {in_size: [1, 2], in_channels: [1, 2], out_channels: [1, 2], mid_channels: [1, 2], kernel: [1, 2]}, coefficients: {constant: -1}}}}}\n",
        "latency: {network_fit: {networks: 12, loo_mape: 0.1, rel_error: 0.1, coefficients: {layers: -1}, ranges: {}}}\n",
        "latency: {fitted: {classes: {}}, network_fit: {networks: 12, loo_mape: 0.1, rel_error: 0.1, coefficients: {layers: 1}, ranges: {}}}\n",
        "energy: {power_W: 2, network_fit: {networks: 12, loo_mape: 0.1, rel_error: 0.1, coefficients: {layers: 1}, ranges: {}}}\n",
        "schema: other\n",
        "[",
    ] {
        home.manifest(bad);
        assert_eq!(code(home.add()), 3, "{bad}");
    }
    assert!(!home.path("home").exists());
}

#[test]
fn a_fitted_model_answers_for_what_the_table_lacks() {
    let home = home();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/pixel3.yaml")).unwrap();
    let pixel3 = Manifest::parse(Path::new("pixel3"), &text).unwrap();
    let manifest =
        Manifest { latency: pixel3.latency, ..Manifest { schema: TABLE_SCHEMA.into(), ..Manifest::default() } };
    manifest.write(&home.path("board.yaml")).unwrap();
    let target = home.add().unwrap();
    let mut network = network();
    let measured = target.cost_in(Measured::Latency, &network.ops[0], 32).unwrap();
    assert!(!measured.fitted && (measured.value - 2e-3).abs() < 1e-15);
    change(&mut network, 0, |op| op.in_channels = 4);
    let fitted = target.cost_in(Measured::Latency, &network.ops[0], 32).unwrap();
    assert!(fitted.fitted && fitted.outside && fitted.value > 0.0);
}

#[test]
fn a_limit_on_extrapolation_is_read_kept_and_lifted() {
    let home = home();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/pixel3.yaml")).unwrap();
    let pixel3 = Manifest::parse(Path::new("pixel3"), &text).unwrap();
    let with = |extrapolation: Option<f64>| {
        let mut latency = pixel3.latency.clone();
        latency.as_mut().unwrap().fitted.as_mut().unwrap().extrapolation = extrapolation;
        let manifest = Manifest { latency, ..Manifest { schema: TABLE_SCHEMA.into(), ..Manifest::default() } };
        manifest.write(&home.path("board.yaml")).unwrap();
        home.add()
    };
    // The stem has 3 input channels in the fit: 12 are two doublings, 48 are four.
    let stem = |in_channels| TableOp { in_channels, ..TableOp::of(&network().ops[0]).unwrap() }.op();
    let ask = |target: &Target, in_channels| target.cost_in(Measured::Latency, &stem(in_channels), 32);
    let own = with(Some(1.5)).unwrap();
    let error = ask(&own, 12).unwrap_err();
    assert_eq!(error.kind().exit_code(), 3);
    let hint = error.hint().unwrap();
    for words in ["nearest operator of its table", "input channels (12) lie", "outside the 3 that", "1.5 are allowed"] {
        assert!(hint.contains(words), "{words}: {hint}");
    }
    assert!(ask(&home.library.find("board").unwrap(), 12).is_err(), "the limit is in its file");
    assert!(ask(&own, 3).is_ok_and(|measured| !measured.fitted));
    let lifted = own.clone().extrapolating();
    assert!(ask(&lifted, 12).is_ok_and(|estimate| estimate.fitted && estimate.outside));
    assert!(ask(&lifted, 3).is_ok_and(|measured| !measured.fitted), "the table still answers first");
    assert_eq!(lifted.manifest(), own.manifest());

    let default = with(None).unwrap();
    assert!(ask(&default, 12).is_ok() && ask(&default, 48).is_err());
    assert!(ask(&with(Some(4.0)).unwrap(), 48).is_ok());
    for nonsense in [-1.0, f64::INFINITY, f64::NAN] {
        let error = with(Some(nonsense)).unwrap_err();
        assert!(error.to_string().contains("latency.fitted.extrapolation"), "{error}");
        assert!(error.to_string().contains("finite and at or above zero"), "{error}");
        assert_eq!(error.kind().exit_code(), 3);
    }
    // Energy derived from the latency goes as far as the latency does.
    let shipped = home.library.find("pixel3").unwrap();
    assert!(
        shipped
            .cost_in(Measured::Energy, &stem(48), 32)
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("input channels (48) lie")
    );
    assert!(shipped.extrapolating().cost_in(Measured::Energy, &stem(48), 32).is_ok());
}

#[test]
fn unknown_names_and_quantities_are_usage_errors() {
    let library = TargetLibrary::new(None);
    let error = library.find("note11").unwrap_err();
    assert_eq!(error.kind().exit_code(), 2);
    assert_eq!(error.hint().unwrap(), "did you mean note10?");
    assert!(library.find("no/such/table.csv").unwrap_err().hint().unwrap().contains("note10"));
    let note10 = library.find("note10").unwrap();
    let budget = Budget::new(Some(Joules(0.05)), None, None, None).unwrap();
    let error = budget.check_known(&note10).unwrap_err();
    assert_eq!(error.kind().exit_code(), 2);
    assert_eq!(error.to_string(), "target note10 knows latency, macs, params, flash and peak-memory, not energy");
    assert!(budget.check_known(&library.find("pixel3").unwrap()).is_ok());
    assert_eq!(Format::parse("tarot").unwrap_err().kind().exit_code(), 2);
}

#[test]
fn shipped_targets_say_what_they_are() {
    let library = TargetLibrary::new(None);
    for (name, _) in SHIPPED {
        let target = library.find(name).unwrap();
        assert_eq!(target.name(), name);
        assert!(target.manifest().source.is_some() && target.manifest().licence.is_some(), "{name}");
        if target.manifest().energy.as_ref().is_some_and(|energy| energy.per_mac.is_some()) {
            let [energy, latency] = Measured::ALL.map(|quantity| target.provenance(quantity));
            assert_eq!(energy, Some((Method::Fitted, Scope::Chip, Grade::C)), "{name}");
            assert_eq!(latency, Some((Method::Fitted, Scope::Inference, Grade::C)), "{name}");
        } else if target.capacity(Quantity::Flash).is_some() {
            assert!(!target.knows(Quantity::Latency) && !target.knows(Quantity::Energy), "{name}");
        } else if name == "eyeriss" {
            let counted = (Method::Simulated, Scope::ChipAndDram, Grade::D);
            assert_eq!(
                (target.provenance(Measured::Latency), target.provenance(Measured::Energy)),
                (None, Some(counted))
            );
        } else {
            assert_eq!(target.default_bundles()[0].space, "fbnet-cifar");
            assert_eq!(target.provenance(Measured::Latency), Some((Method::Fitted, Scope::Inference, Grade::C)));
        }
    }
    let explanation = |name: &str| library.find(name).unwrap().explanation(Measured::Energy).unwrap().to_string();
    assert!(explanation("pixel3").ends_with("energy = latency × 1.2 W (vendor CPU power profile), factor ×/÷ 1.6"));
    assert!(explanation("jetson-tx2").contains("rail"));
}

/// The boards of MCUNet, where 1 kB is 1024 bytes.
#[test]
fn boards_have_the_memory_that_was_published() {
    let library = TargetLibrary::new(None);
    for (name, sram, flash) in
        [("stm32f412", 256, 1024), ("stm32f746", 320, 1024), ("stm32f765", 512, 1024), ("stm32h743", 512, 2048)]
    {
        let board = library.find(name).unwrap();
        assert_eq!(board.capacity(Quantity::PeakMemory), Some(Bytes(sram * 1024)), "{name}");
        assert_eq!(board.capacity(Quantity::Flash), Some(Bytes(flash * 1024)), "{name}");
        assert_eq!(board.capacity(Quantity::Params), None);
        let cost = board.cost_of(&network()).unwrap();
        assert!(cost.latency.is_none() && cost.energy.is_none() && cost.flash > Bytes(0), "{cost:?}");
    }
}

#[test]
fn a_memory_is_read_with_its_unit_and_kept() {
    let home = home();
    let read = |memory: &str| {
        let path = home.path("own.yaml");
        fs::write(&path, format!("schema: ofa.target/1\n{memory}\n")).unwrap();
        home.library.find(path.to_str().unwrap())
    };
    let own = read("sram: 96 KiB").unwrap();
    assert_eq!((own.capacity(Quantity::PeakMemory), own.capacity(Quantity::Flash)), (Some(Bytes(98_304)), None));
    for (memory, words) in [
        ("sram: 320", ["sram", "320KiB"]),
        ("flash: 0 KiB", ["flash", "zero"]),
        ("flash: 1 mJ", ["flash", "1 mJ"]),
        ("flash: -1MiB", ["flash", "-1MiB"]),
        ("ram: 1MiB", ["ram", "sram"]),
        ("device: nothing is known of it", ["neither", "sram"]),
    ] {
        let error = read(memory).unwrap_err();
        assert_eq!(error.kind().exit_code(), 3, "{memory}");
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{memory}: {error}");
    }
    // Beside a table it is kept with it.
    home.manifest("flash: 2MiB\n");
    home.add().unwrap();
    assert_eq!(home.library.find("board").unwrap().capacity(Quantity::Flash), Some(Bytes(2 << 20)));
}

#[test]
fn an_accelerator_is_named_by_an_energy_alone() {
    let home = home();
    let read = |entry: &str| {
        let path = home.path("own.yaml");
        fs::write(&path, format!("schema: ofa.target/1\n{entry}\n")).unwrap();
        home.library.find(path.to_str().unwrap())
    };
    let own = read("energy: {accelerator: eyeriss}").unwrap();
    assert_eq!(own.provenance(Measured::Energy), Some((Method::Simulated, Scope::ChipAndDram, Grade::D)));
    assert!(own.explanation(Measured::Energy).unwrap().contains("4.400 pJ"));
    for (entry, word) in [
        ("energy: {accelerator: eyeris}", "eyeriss-isca16"),
        ("energy: {accelerator: eyeriss-isca16}", "unit_pJ"),
        ("energy: {accelerator: eyeriss, power_W: 2}", "beside"),
        ("latency: {accelerator: eyeriss}", "latency.accelerator"),
    ] {
        let error = read(entry).unwrap_err();
        assert!(error.to_string().contains(word), "{entry}: {error}");
    }
    home.manifest("energy: {accelerator: eyeriss}\n");
    assert!(home.add().unwrap_err().to_string().contains("beside"));
}

const ACCELERATOR: &str = "schema: ofa.accelerator/1\nname: mine\ndataflow: row-stationary\nprocessing_elements: 64\n\
    register_file_bytes: 256\nglobal_buffer_bytes: 65536\nsparsity: none\nunit_pJ: 2\n\
    energy: {mac: 1, register_file: 1, array: 2, global_buffer: 6, dram: 200}\n";

#[test]
fn an_accelerator_of_ones_own_is_found_beside_the_file_and_kept_with_it() {
    let home = home();
    let described = home.path("chips/mine.yaml");
    fs::create_dir(home.path("chips")).unwrap();
    fs::write(&described, ACCELERATOR).unwrap();
    let own = home.path("own.yaml");
    fs::write(&own, "schema: ofa.target/1\nname: own\nenergy: {accelerator: chips/mine.yaml, scope: chip}\n").unwrap();
    let target = home.library.find(own.to_str().unwrap()).unwrap();
    let energy = target.cost_of(&network()).unwrap().energy.unwrap();
    assert_eq!((energy.method, energy.scope, energy.grade), (Method::Simulated, Scope::Chip, Grade::D));
    assert!(target.explanation(Measured::Energy).unwrap().starts_with("energy counted on mine, 2.000 pJ"));
    // What is counted is joules of one's own unit.
    let dearer = home.path("chips/dearer.yaml");
    fs::write(&dearer, ACCELERATOR.replace("unit_pJ: 2", "unit_pJ: 6")).unwrap();
    fs::write(home.path("dearer.yaml"), "schema: ofa.target/1\nenergy: {accelerator: chips/dearer.yaml}\n").unwrap();
    let dearer = home.library.find(home.path("dearer.yaml").to_str().unwrap()).unwrap();
    let thrice = dearer.cost_of(&network()).unwrap().energy.unwrap();
    assert!((thrice.value / energy.value - 3.0).abs() < 1e-9 && thrice.scope == Scope::ChipAndDram);

    // Kept as one's own, with a correction or beside a table of latencies, it needs the file no more.
    let correction = Correction { scale: 2.0, offset: 0.0, networks: 5, mape: 0.01 };
    home.library.keep_corrected(&target, "kept", &[(Measured::Energy, correction)]).unwrap();
    let latencies: String =
        TABLE.lines().map(|line| format!("{}\n", line.split(',').take(17).collect::<Vec<_>>().join(","))).collect();
    fs::write(home.path("board.csv"), latencies).unwrap();
    fs::create_dir(home.path("elsewhere")).unwrap();
    let manifest = home.path("elsewhere/board.yaml");
    fs::write(&manifest, "schema: ofa.table/1\nenergy: {accelerator: ../chips/mine.yaml}\n").unwrap();
    home.library.add(&home.path("board.csv"), "board", Some(&manifest)).unwrap();
    fs::remove_dir_all(home.path("chips")).unwrap();
    let kept = home.library.find("kept").unwrap().cost_of(&network()).unwrap().energy.unwrap();
    assert!((kept.value / energy.value - 2.0).abs() < 1e-9);
    let board = home.library.find("board").unwrap().cost_of(&network()).unwrap();
    assert!((board.energy.unwrap().value / energy.value - 1.0).abs() < 1e-9 && board.latency.is_some());
    assert!(home.library.find(own.to_str().unwrap()).is_err());
}

#[test]
fn what_is_wrong_with_an_accelerator_of_ones_own_is_said() {
    let home = home();
    let refused = |text: &str, entry: &str, words: &[&str]| {
        fs::write(home.path("mine.yaml"), text).unwrap();
        fs::write(home.path("own.yaml"), format!("schema: ofa.target/1\nenergy: {{accelerator: {entry}}}\n")).unwrap();
        let error = home.library.find(home.path("own.yaml").to_str().unwrap()).unwrap_err();
        assert_eq!(error.kind().exit_code(), 3, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
        }
    };
    refused(ACCELERATOR, "absent.yaml", &["own.yaml", "energy.accelerator", "absent.yaml", "this file's folder"]);
    refused(ACCELERATOR, "7", &["own.yaml", "not the name of an accelerator"]);
    refused(&ACCELERATOR.replace("unit_pJ: 2\n", ""), "mine.yaml", &["own.yaml", "energy.accelerator", "unit_pJ"]);
    refused(&ACCELERATOR.replace("sparsity", "sparse"), "mine.yaml", &["mine.yaml", "sparse"]);
    refused(&ACCELERATOR.replace("bytes: 256", "bytes: 0"), "mine.yaml", &["mine.yaml", "register_file_bytes"]);
    // In place, as a kept target has it.
    refused("", "{schema: ofa.accelerator/1, name: mine}", &["own.yaml", "dataflow"]);
}
