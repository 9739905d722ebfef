//! Training that is killed and resumed ends with the very bits of an undisturbed run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use search::space::SearchSpace;

const RECIPE: &str = "\
schema: ofa.recipe/1
name: tiny
space: mcu-cifar
data: 'synthetic:240'
held_out: 40
seed: 3
batch_size: 20
weight_decay: 1.0e-4
augmentation: { rand_augment: {}, mixup: { alpha: 0.2, share: 0.5 }, cutmix: { alpha: 1.0, share: 0.5 } }
calibration: { batches: 2, batch_size: 20 }
phases:
  - { name: full, epochs: 2, learning_rate: 0.05, warm_up_epochs: 0.5, with_largest: true }
  - { name: kernel, epochs: 1, learning_rate: 0.01, kernels: all, random_subnets: 1, distillation: 1.0 }
  - { name: depth, epochs: 1, learning_rate: 0.01, kernels: all, depths: all, random_subnets: 2, distillation: 1.0 }
  - name: expand
    epochs: 1
    learning_rate: 0.01
    kernels: all
    depths: all
    expands: all
    with_largest: true
    with_smallest: true
    random_subnets: 1
    distillation: 1.0
    teacher: largest
    sort_channels: true
";

/// Every option of a recipe at least once; the first phase ends on its signal after two of its nine epochs.
const ALL_OPTIONS: &str = "\
schema: ofa.recipe/1
name: tiny
space: mcu-cifar
data: 'synthetic:240'
held_out: 40
seed: 3
batch_size: 20
precision: PRECISION
weight_decay: 1.0e-4
clip_gradient: 1.0
zero_init_residual: true
kernel_transforms: TRANSFORMS
average: 0.9
stored: fp16
augmentation: { cutout: 8, rand_augment: {}, mixup: { alpha: 0.2, share: 0.5 }, cutmix: { alpha: 1.0, share: 0.5 } }
calibration: { batches: 2, batch_size: 20 }
phases:
  - name: ticket
    epochs: 9
    learning_rate: 0.02
    with_largest: true
    early_bird: { masks: 2, distance: 1.0 }
  - { name: full, epochs: 1, learning_rate: 0.05, warm_up_epochs: 0.5, with_largest: true, resolutions: [24] }
  - name: shrink
    epochs: 2
    continues: true
    kernels: all
    depths: all
    expands: all
    with_largest: true
    with_smallest: true
    random_subnets: 1
    sampling: compound
    distillation: 1.0
    teacher: largest
    divergence: alpha
    label_loss: 0.0
    sum_losses: true
    ramp_epochs: 1
    sort_channels: true
  - name: attentive
    epochs: 1
    learning_rate: 0.01
    kernels: all
    depths: all
    expands: all
    random_subnets: 1
    attentive: { candidates: 2, keep: worst }
    distillation: 1.0
";

/// The smallest subnet first, its weights then spread over all, inside one cosine and with averaged weights.
const SMALL_FIRST: &str = "\
schema: ofa.recipe/1
name: tiny
space: mcu-cifar
data: 'synthetic:240'
held_out: 40
seed: 3
batch_size: 20
average: 0.9
calibration: { batches: 2, batch_size: 20 }
phases:
  - { name: small, epochs: 2, learning_rate: 0.05, kernels: all, depths: all, expands: all, with_smallest: true }
  - name: grown
    epochs: 3
    continues: true
    kernels: all
    depths: all
    expands: all
    with_largest: true
    with_smallest: true
    random_subnets: 1
    distillation: 1.0
    teacher: largest
    grow: true
";

/// A bundle's weights for other classes, of which the first stages stay, with averaged weights.
const FROZEN: &str = "\
schema: ofa.recipe/1
name: tiny
space: mcu-cifar
data: 'synthetic:240,classes=4'
held_out: 40
init: mcu-cifar
freeze: [stem, first, stages.0, stages.1.0]
seed: 3
batch_size: 20
weight_decay: 1.0e-4
average: 0.9
calibration: { batches: 2, batch_size: 20 }
phases:
  - { name: full, epochs: 2, learning_rate: 0.05, with_largest: true }
  - name: expand
    epochs: 3
    learning_rate: 0.01
    kernels: all
    depths: all
    expands: all
    with_largest: true
    random_subnets: 1
    distillation: 1.0
    sort_channels: true
";

fn train(recipe: &Path, run: &Path, resume: bool) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ofa"));
    command.arg("train").arg(recipe).arg("--out").arg(run).args([
        "--save-every",
        "0",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]);
    if resume {
        command.arg("--resume");
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn checkpoints(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("checkpoints"));
    let mut names: Vec<String> =
        entries.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The global step of the newest whole checkpoint.
fn reached(run: &Path) -> u64 {
    let steps = checkpoints(run).into_iter().filter_map(|name| name.strip_prefix("checkpoint-")?.parse().ok());
    steps.max().unwrap_or(0)
}

#[test]
fn killed_and_resumed_gives_the_same_bits() {
    assert_killing_changes_nothing(RECIPE, 3);
}

#[test]
fn killed_and_resumed_gives_the_same_bits_with_every_option() {
    // Evenly over all phases: their 60 steps hold three moments, or twenty.
    let kills = if std::env::var_os("OFA_SLOW_TESTS").is_some_and(|value| value == "1") { 20 } else { 3 };
    for (precision, transforms) in [("fp32", "true"), ("bf16", "false")] {
        let recipe = ALL_OPTIONS.replace("PRECISION", precision).replace("TRANSFORMS", transforms);
        let run = assert_killing_changes_nothing(&recipe, kills);
        assert_eq!(run, 60, "{precision}: the first phase ended on its signal");
    }
}

#[test]
fn killed_and_resumed_gives_the_same_bits_where_weights_are_spread() {
    assert_killing_changes_nothing(SMALL_FIRST, 3);
}

#[test]
fn killed_and_resumed_gives_the_same_bits_where_layers_are_frozen() {
    assert_killing_changes_nothing(FROZEN, 3);
}

#[test]
fn a_second_process_is_kept_out_of_a_run_and_let_in_when_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (folder.path().join("tiny.yaml"), folder.path().join("run"));
    fs::write(&recipe, RECIPE.replace("epochs: ", "epochs: 100")).unwrap();
    let mut first = train(&recipe, &run, false);
    let deadline = Instant::now() + Duration::from_secs(300);
    while reached(&run) == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    for resume in [false, true] {
        let second = train(&recipe, &run, resume).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("another process is at work in {}", run.display())), "{said}");
    }
    assert!(first.try_wait().unwrap().is_none(), "the first one went on");
    first.kill().unwrap();
    first.wait().unwrap();
    let before = reached(&run);
    let mut third = train(&recipe, &run, true);
    while reached(&run) <= before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
        assert!(third.try_wait().unwrap().is_none(), "the run ended by itself");
    }
    third.kill().unwrap();
    third.wait().unwrap();
    assert!(reached(&run) > before);
}

/// Kills a run at `kills` moments spread over its steps, and compares what comes of it with an undisturbed one. Returns
/// its steps.
fn assert_killing_changes_nothing(text: &str, kills: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("tiny.yaml");
    fs::write(&recipe, text).unwrap();
    let (undisturbed, killed) = (folder.path().join("undisturbed"), folder.path().join("killed"));
    finish(train(&recipe, &undisturbed, false));
    let steps = reached(&undisturbed);

    // The moments come from the clock, so they differ from run to run: anything may be half done.
    let mut joules = 0.0;
    for kill in 0..kills {
        let mut child = train(&recipe, &killed, kill > 0);
        let (begins, goal) = (reached(&killed), kill * steps / kills);
        let deadline = Instant::now() + Duration::from_secs(300);
        while reached(&killed) < goal.max(begins + 1) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        }
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
        std::thread::sleep(Duration::from_millis(u64::from(nanos % 50)));
        child.kill().unwrap();
        child.wait().unwrap();
        // Each start adds to what the others spent, whatever they lost.
        let energy = energy_of(&killed);
        assert!(energy["energy_j"].as_f64().unwrap() >= joules && energy["energy_method"] != "nothing yet", "{energy}");
        joules = energy["energy_j"].as_f64().unwrap();
    }
    finish(train(&recipe, &killed, true));
    let energy = energy_of(&killed);
    assert!(energy["energy_j"].as_f64().unwrap() > joules && energy["starts"] == kills + 1, "{energy}");

    for file in ["bundle/supernet.safetensors", "recipe.yaml", "space.yaml", "preprocessing.json", "report.json"] {
        let [a, b] = [&undisturbed, &killed].map(|run| fs::read(run.join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    // The log tells the same story, once: only the clock differs.
    let [a, b] = [&undisturbed, &killed].map(|run| {
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let lines = text.lines().map(|line| {
            let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields = record.as_object_mut().unwrap();
            // The mean loss of an epoch that was interrupted covers the steps since.
            for clock in ["seconds", "time", "images_per_second", "loss"] {
                assert!(fields.remove(clock).unwrap().as_f64().unwrap() > 0.0);
            }
            assert!(fields.remove("energy_j").unwrap().as_f64().unwrap() > 0.0);
            record.to_string()
        });
        lines.collect::<Vec<_>>()
    });
    assert_eq!(a, b);
    steps
}

fn energy_of(run: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(run.join("energy.json")).unwrap()).unwrap()
}

/// A recipe of phases without epochs, and its finished run.
fn empty_run(folder: &Path) -> (PathBuf, PathBuf) {
    let (recipe, run) = (folder.join("tiny.yaml"), folder.join("run"));
    let text = RECIPE.replace("epochs: 2", "epochs: 0").replace("epochs: 1", "epochs: 0");
    fs::write(&recipe, text.replace("warm_up_epochs: 0.5, ", "")).unwrap();
    finish(train(&recipe, &run, false));
    (recipe, run)
}

#[test]
fn a_space_of_one_network_is_trained_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let space = SearchSpace::builtin("mcu-cifar").unwrap().largest_choices(1, 1, 1).to_yaml();
    let only = space.replace("- 24\n- 28\n- 32\n", "- 24\n");
    assert_ne!(space, only);
    fs::write(folder.path().join("only.yaml"), only).unwrap();
    let (recipe, run) = empty_run(folder.path());
    fs::remove_dir_all(&run).unwrap();
    let text = fs::read_to_string(&recipe).unwrap();
    let path = folder.path().join("only.yaml");
    fs::write(&recipe, text.replace("space: mcu-cifar", &format!("space: {}", path.display()))).unwrap();
    finish(train(&recipe, &run, false));
    let report: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(run.join("report.json")).unwrap()).unwrap();
    assert!(report.iter().all(|row| row["subnet"] == report[0]["subnet"]), "{report:?}");
}

#[test]
fn a_run_may_begin_with_the_weights_of_a_bundle_for_other_classes() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = empty_run(folder.path());
    fs::remove_dir_all(&run).unwrap();
    let text = fs::read_to_string(&recipe).unwrap();
    // Sorted, channels would have other places.
    let text = text.replace("    sort_channels: true\n", "");
    let other = text.replace("data: 'synthetic:240'", "data: 'synthetic:240,classes=4'\ninit: mcu-cifar");
    fs::write(&recipe, &other).unwrap();
    finish(train(&recipe, &run, false));
    let classes = fs::read_to_string(run.join("bundle/space.yaml")).unwrap();
    assert!(classes.contains("classes: 4"), "{classes}");
    let weights = |path: &Path| storage::arrays::safetensors::load_arrays(path).unwrap().0;
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/zoo/mcu-cifar");
    let (theirs, own) = (weights(&zoo.join("supernet.safetensors")), weights(&run.join("bundle/supernet.safetensors")));
    let is_kept = |name: &str| name.ends_with(".conv.weight") && own[name].to_f32() == theirs[name].to_f32();
    let convolutions = theirs.keys().filter(|name| name.ends_with(".conv.weight")).count();
    assert!(convolutions > 20, "{convolutions}");
    assert_eq!(theirs.keys().filter(|name| is_kept(name)).count(), convolutions);
    // It says which weights it begins with once.
    fs::remove_dir_all(&run).unwrap();
    fs::write(&recipe, other.replace("init: mcu-cifar", "init: mcu-cifar\nweights: mcu-cifar")).unwrap();
    let refused = train(&recipe, &run, false).wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("leave out one of the two"));
    fs::write(&recipe, other.replace("space: mcu-cifar", "space: fbnet-cifar")).unwrap();
    let refused = train(&recipe, &run, false).wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in space fbnet-cifar"));
}

#[test]
fn a_run_folder_is_not_overwritten_and_another_recipe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = empty_run(folder.path());
    let again = train(&recipe, &run, false).wait_with_output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{}", String::from_utf8_lossy(&again.stderr));
    fs::write(&recipe, RECIPE).unwrap();
    let other = train(&recipe, &run, true).wait_with_output().unwrap();
    assert_eq!(other.status.code(), Some(3), "{}", String::from_utf8_lossy(&other.stderr));
    assert!(String::from_utf8_lossy(&other.stderr).contains("another recipe"));
}

#[test]
fn a_truncated_checkpoint_gives_way_to_the_anchor_and_without_that_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = empty_run(folder.path());
    let truncate = |file: &Path| {
        let whole = fs::read(file).unwrap();
        fs::write(file, &whole[..whole.len() / 2]).unwrap();
    };
    let newest = || run.join("checkpoints").join(checkpoints(&run).pop().unwrap()).join("supernet.safetensors");
    let again = || train(&recipe, &run, true).wait_with_output().unwrap();
    truncate(&newest());
    let output = again();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("goes on from the anchor at step 0"), "{told}");
    truncate(&newest());
    fs::remove_dir_all(run.join("checkpoints/anchor")).unwrap();
    let output = again();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("supernet.safetensors"));
}
