//! Looking, measuring and writing: what `ofa init` does.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use search::space::SearchSpace;
use storage::atomic::write_atomically;
use supernet::data::{DataSource, Divided, Division, ImageSet, LoadOptions, Loaded, Preprocessing};
use supernet::error::SupernetError;
use supernet::ranks::Ranks;
use supernet::supernet::Supernet;
use supernet::train::{Epoch, Observer, Position, Start, Step, Trainer};
use tch::Device;

use super::schedule::{Schedule, Speed, Work};
use super::texts::{self, RecipeFacts};
use super::{InitRequest, Initialised, counted, scale, target_for};
use crate::build::error::BuildError;
use crate::build::file::BuildFile;
use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::folders::image_settings::ImageSettings;
use crate::folders::names;
use crate::sweep::file::SweepFile;
use crate::training::images::{CalibrationImages, EvalImages};
use crate::training::make_calibration::{self, DistillPlan};
use crate::training::measure_accuracy::measure_each;
use crate::training::plan;
use crate::training::sample::distinct;
use crate::training::test_part::{TestPart, test_part};

/// Images below which batches are smaller, so that an epoch has some steps.
const SMALL_SET: usize = 4000;
/// Steps of each phase that are timed, and subnets that are measured.
const STEPS: usize = 6;
const SUBNETS: usize = 6;
/// Images that a subnet's statistics are taken from, at most.
const CALIBRATION: (usize, usize) = (5, 200);
/// Most images that are held out: more tell subnets apart no better than the predictor does.
const MOST_HELD_OUT: usize = 5000;
/// Fewest of each class.
const OF_EACH_CLASS: usize = 5;

/// Looks at images, measures what a training of them takes here, and writes the files of a build.
///
/// # Errors
/// A folder that holds something, images that cannot be used, an unknown bundle or target, a target that does not price
/// the space, a file that cannot be written, a stop on request (nothing is written).
pub(crate) fn init(request: &InitRequest, device: Device, stop: &AtomicBool) -> Result<Initialised> {
    let InitRequest { folder, like, seed, .. } = request;
    check_folder(folder)?;
    let bundle = Bundle::find(like)?;
    let (own_space, settings) = (bundle.space()?, ImageSettings::of_bundle(bundle.folder())?);
    let native = settings.preprocessing.native_size;
    let source = request.data.absolute()?;
    let sides = sides(&source)?;
    let size = scale::image_size(sides[1], native);
    let looked = look(&source, size, *seed)?;
    let classes = looked.train.class_names().to_vec();
    let name = name_of(folder)?;
    let space = scale::scaled(&own_space, native, size, classes.len(), &name)?;
    let macs = counted(&space)?;
    let (target, range) = target_for(&space, request.target.as_deref())?;
    let preprocessing = Preprocessing::measured(&looked.train)?;
    let images = [looked.train.len(), looked.held_out.len(), looked.tests];
    let batch = if images[0] < SMALL_SET { 64.min(images[0] / 2).max(2) } else { 128 };
    let data = source.to_string();
    let facts = RecipeFacts {
        name: &name,
        like,
        begins_with: None,
        data: &data,
        size,
        sides,
        images,
        normalisation: [preprocessing.mean, preprocessing.std],
        batch,
        calibration: calibration_of(images[0]),
        seed: *seed,
    };
    let speed = measured(&facts, &space, &looked, device, stop)?;
    let made = DistillPlan::for_native_size(size, *seed);
    let work = Work {
        images: images[0],
        batch,
        calibration: facts.calibration.0 * facts.calibration.1,
        held_out: images[1],
        tests: images[2],
        made: (made.images, made.pool),
        budgets: texts::BUDGETS.len(),
    };
    let schedule = Schedule::new(&speed, &work, request.minutes, false);
    let is_short = texts::is_short_of_images(images[0], schedule.epochs.iter().sum());
    let begins_with = match is_short && bundle.folder().join(names::SUPERNET).exists() {
        // A path is relative to where this command was given.
        true if Path::new(like).is_dir() => Some(std::path::absolute(like)?.display().to_string()),
        true => Some(like.clone()),
        false => None,
    };
    let schedule = match begins_with {
        Some(_) => Schedule::new(&speed, &work, request.minutes, true),
        None => schedule,
    };
    let facts = RecipeFacts { begins_with: begins_with.as_deref(), ..facts };
    let files = [
        (names::SPACE, texts::space(&space, like, macs)),
        (names::RECIPE, texts::recipe(&facts, schedule.epochs)),
        (names::SWEEP, texts::sweep(&name, &target, range.0)),
        // Last: it makes the folder one that can be built.
        (names::BUILD, texts::build(&schedule, *seed)),
    ];
    for (name, text) in &files {
        let path = folder.join(name);
        write_atomically(&path, |file| file.write_all(text.as_bytes())).map_err(|source| Error::Write { source })?;
    }
    // What was written can be read.
    plan::load(&folder.join(names::RECIPE), &[])?;
    SweepFile::read(&folder.join(names::SWEEP))?;
    BuildFile::read(&folder.join(names::BUILD))?;
    Ok(Initialised {
        classes,
        images,
        has_test_part: looked.has_test_part,
        sides,
        image_size: size,
        normalisation: facts.normalisation,
        begins_with: begins_with.clone(),
        resolutions: space.resolutions().to_vec(),
        macs,
        target,
        range,
        epochs: schedule.epochs.iter().sum(),
        seconds: schedule.seconds.clone(),
        files: files.iter().map(|(name, _)| folder.join(name)).collect(),
        notes: looked.notes,
    })
}

/// Refuses a folder that holds something else than what a killed start left.
fn check_folder(folder: &Path) -> Result<()> {
    if folder.join(names::BUILD).exists() {
        return Err(BuildError::Exists { folder: folder.to_path_buf() }.into());
    }
    let known = [names::SPACE, names::RECIPE, names::SWEEP];
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::Read { path: folder.to_path_buf(), source }),
    };
    let other = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    match other.filter(|name| !name.ends_with(".tmp")).find(|name| !known.contains(&&**name)) {
        Some(found) => Err(BuildError::NotEmpty { folder: folder.to_path_buf(), found }.into()),
        None => Ok(()),
    }
}

/// The folder's name, which is also that of its space and not that of a shipped one.
fn name_of(folder: &Path) -> Result<String> {
    let path = std::path::absolute(folder)?;
    let name = path.file_name().map_or("network".into(), |name| name.to_string_lossy().into_owned());
    let letter = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    let name: String = name.chars().map(letter).collect();
    let name = name.trim_start_matches('.');
    Ok(if name.is_empty() || SearchSpace::builtin_names().contains(&name) {
        format!("own-{name}")
    } else {
        name.into()
    })
}

/// Smallest, median and largest of the images' shorter sides.
fn sides(source: &DataSource) -> Result<[u32; 3]> {
    let mut sides: Vec<u32> = source.sides()?.into_iter().map(|[width, height]| width.min(height)).collect();
    sides.sort_unstable();
    let last = sides.len().saturating_sub(1);
    Ok([0, last / 2, last].map(|at| sides.get(at).copied().unwrap_or(0)))
}

/// The images, divided as the recipe will say.
struct Looked {
    train: ImageSet,
    held_out: ImageSet,
    tests: usize,
    has_test_part: bool,
    notes: Vec<String>,
}

fn look(source: &DataSource, size: usize, seed: u64) -> Result<Looked> {
    let options = LoadOptions { image_size: Some(size), ..LoadOptions::default() };
    let Loaded { images, mut notes } = source.train(&options)?;
    let has_test_part = source.has_test_part()?;
    let left = if has_test_part { images.len() } else { images.len() - images.len() / 10 };
    let held_out = (left / 10).max(OF_EACH_CLASS * images.classes()).min(left / 4).clamp(1, MOST_HELD_OUT);
    let division = Division { held_out: Some(held_out), seed, splits_test: !has_test_part };
    let (all, names) = (images.len(), images.class_names().to_vec());
    let Divided { train, held_out, test } = division.divide(images)?;
    let mut present = train.histogram().into_iter().enumerate().filter(|(_, count)| *count > 0);
    if let (Some((only, _)), None) = (present.next(), present.next()) {
        return Err(Error::OneClass { data: source.to_string(), class: names[only].clone() });
    }
    let tests = match test {
        Some(test) => {
            notes.push(format!(
                "{source} has no test part: {} of its {all} images become one, by seed {seed}",
                test.len()
            ));
            test.len()
        }
        None => {
            let options = LoadOptions { class_names: Some(names), ..options };
            let TestPart { images, notes: more, .. } = test_part(source, &options, None)?;
            notes.extend(more);
            images.len()
        }
    };
    Ok(Looked { train, held_out, tests, has_test_part, notes })
}

/// Batches of calibration from `images` images and the images in each, two or more as batch norm needs.
fn calibration_of(images: usize) -> (usize, usize) {
    let batches = CALIBRATION.0.min(images / 2).max(1);
    (batches, CALIBRATION.1.min(images / batches))
}

/// Seconds of each step, by phase.
struct Clock<'s> {
    steps: [Vec<f64>; 2],
    stop: &'s AtomicBool,
}

impl Observer for Clock<'_> {
    fn step(&mut self, step: &Step) -> bool {
        self.steps[step.position.phase.min(1)].push(step.seconds);
        !self.stop.load(Ordering::Relaxed)
    }

    fn epoch(&mut self, _: &Epoch, _: &Supernet) -> Result<(), SupernetError> {
        Ok(())
    }

    fn saved(&mut self, _: Position) {}
}

/// What a step of each phase, a measurement and an update take on this machine, by doing a few of them.
fn measured(
    facts: &RecipeFacts<'_>,
    space: &SearchSpace,
    looked: &Looked,
    device: Device,
    stop: &AtomicBool,
) -> Result<Speed> {
    let scratch = tempfile::tempdir().map_err(|source| Error::Write { source })?;
    let path = scratch.path().join(names::RECIPE);
    std::fs::write(&path, texts::recipe(facts, [1, 1])).map_err(|source| Error::Write { source })?;
    let recipe = plan::load(&path, &[])?;
    let some: Vec<usize> = (0..looked.train.len().min((STEPS + 1) * facts.batch)).collect();
    let few = Arc::new(looked.train.select(&some));
    let preprocessing = plan::preprocessing(&recipe, &looked.train)?;
    recipe.augmentation.check(few.size())?;
    let mut trainer = Trainer::new(
        space,
        plan::plan(&recipe, recipe.precision.on(device))?,
        String::new(),
        few,
        preprocessing.clone(),
        Start::Fresh(device),
        scratch.path(),
        false,
        Ranks::alone(),
    )?;
    let mut clock = Clock { steps: [Vec::new(), Vec::new()], stop };
    trainer.run(scratch.path(), Duration::from_secs(3600), &mut clock)?;
    // The first step of a phase brings everything into memory.
    let typical = |steps: &[f64]| {
        let mut steps = steps[usize::from(steps.len() > 1)..].to_vec();
        steps.sort_by(f64::total_cmp);
        steps.get(steps.len() / 2).copied().unwrap_or(1.0)
    };
    let [full_step, elastic_step] = [typical(&clock.steps[0]), typical(&clock.steps[1])];
    let resolutions = space.resolutions();
    let calibration = CalibrationImages::from_set(
        &looked.train,
        &preprocessing,
        recipe.calibration_size(),
        resolutions,
        recipe.seed,
        device,
    )?;
    let exam = EvalImages::new(&looked.held_out, &preprocessing, resolutions, device)?;
    let ends = [space.smallest(resolutions[0])?, space.largest(resolutions[resolutions.len() - 1])?];
    let random = crate::folders::spaces::sample(space, SUBNETS, recipe.seed);
    let archs = distinct(ends.into_iter().chain(random), SUBNETS, &HashSet::new());
    let shapes: Vec<_> = archs.iter().map(|arch| space.resolve(arch)).collect();
    // Once to bring the images to each resolution, which a build does once, too.
    let each = shapes.len() * (facts.calibration.0 * facts.calibration.1 + looked.held_out.len());
    let mut image = 0.0;
    for _ in 0..2 {
        let started = Instant::now();
        measure_each(trainer.supernet(), &shapes, &calibration, &exam, &mut |_, _| !stop.load(Ordering::Relaxed))?;
        image = started.elapsed().as_secs_f64() / each as f64;
    }
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    let update = update(trainer.supernet(), &preprocessing, &looked.train, facts, stop)?;
    tracing::info!(full_step, elastic_step, image, update, "speed measured");
    Ok(Speed { full_step, elastic_step, image, update })
}

/// Seconds of an update of the images for calibration: the mean of one for each of the subnets that the pool begins with.
fn update(
    supernet: &Supernet,
    preprocessing: &Preprocessing,
    train: &ImageSet,
    facts: &RecipeFacts<'_>,
    stop: &AtomicBool,
) -> Result<f64> {
    let settings = ImageSettings {
        preprocessing: preprocessing.clone(),
        class_names: train.class_names().to_vec(),
        trained_on: None,
        held_out: None,
        seed: facts.seed,
        calibration: facts.calibration,
    };
    let whole = DistillPlan::for_native_size(facts.size, facts.seed);
    let plan = DistillPlan { pool: SUBNETS, steps: SUBNETS + 1, ..whole };
    // From the end of the first: what is done once for each shape of a layer is in it.
    let mut told = Vec::new();
    make_calibration::make(supernet, &settings, train, &plan, None, stop, &mut |_| told.push(Instant::now()))?;
    Ok((told[told.len() - 1] - told[0]).as_secs_f64() / SUBNETS as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_takes_two_images_or_more_at_a_time_of_those_there_are() {
        for images in 2..3000 {
            let (batches, each) = calibration_of(images);
            assert!(batches >= 1 && each >= 2 && batches * each <= images, "{images}: {batches} of {each}");
        }
        assert_eq!(calibration_of(1800), (5, 200));
        assert_eq!(calibration_of(5), (2, 2));
    }
}
