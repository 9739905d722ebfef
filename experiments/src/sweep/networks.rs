//! What becomes of the subnets that a sweep found: each taken out of its supernet once, however many points found it.
//!
//! | stage | depends on | makes, in the folder of results |
//! |---|---|---|
//! | refine (of searches, not of baselines) | subnet, weights, target, budget, predictor or images | `refined/NAME/` |
//! | finetune | the network before, images, epochs, settings | `tuned/NAME/` |
//! | export | the network before, images, formats | `networks/NAME/` |
//! | measure | that network, test images | top-1 |

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use storage::atomic::write_atomically;
use storage::digest::Digester;
use storage::failure::Failure;

use crate::error::{Error, Result};
use crate::folders::names;
use crate::shard::Shard;
use crate::stages::network::{NetworkFile, NetworkResult, Site, Source, copy_folder, files_of};
use crate::stages::record::{Inputs, Made, Record, Records, State, inputs, remove};
use crate::stages::watcher::Steps;
use crate::sweep::claim;
use crate::sweep::error::SweepError;
use crate::sweep::folder::{NETWORKS, REFINED, SweepFolder, TUNED};
use crate::sweep::plan::{Ground, Planned, SweepPlan};
use crate::sweep::point::Method;
use crate::sweep::prepare::{StageRequest, StageWatcher};
use crate::sweep::settings::{Judge, NetworkSettings};
use crate::sweep::table::Row;
use crate::torch::{self, DataSource, FileForm, RefineSubnetRequest};

/// How often what other processes make is looked at.
const WAIT: Duration = Duration::from_secs(1);

/// A network of a sweep.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    /// What it is called, by what it is made of.
    name: String,
    /// The points that found it.
    points: Vec<usize>,
    subnet: Value,
    weights: String,
    /// Whether what the search left of the budget is spent: baselines stay as they are.
    is_refined: bool,
}

/// What became of all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkSummary {
    /// Networks of this shard.
    pub networks: usize,
    /// That were there before.
    pub cached: usize,
    /// That failed, with why.
    pub failed: Vec<(String, String)>,
}

/// The networks of `rows`, each once.
///
/// # Errors
/// Damaged weights.
fn wanted(plan: &SweepPlan, rows: &[Row<'_>]) -> Result<Vec<Wanted>> {
    let Some(settings) = &plan.file.networks else { return Ok(Vec::new()) };
    let mut all: Vec<Wanted> = Vec::new();
    let mut weights: BTreeMap<usize, String> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.record.result["subnet"].is_null()) {
        let at = row.planned.ground;
        if let std::collections::btree_map::Entry::Vacant(entry) = weights.entry(at) {
            let stated = plan.grounds[at].inputs.bundle.as_ref().map(|bundle| bundle.stated_weights()).transpose()?;
            entry.insert(stated.flatten().map(|digest| digest.to_string()).unwrap_or_default());
        }
        let (subnet, weights) = (&row.record.result["subnet"], &weights[&at]);
        let mut digest = Digester::new("swept network").text(&subnet.to_string()).text(weights);
        let is_refined = settings.refine.is_some() && matches!(row.planned.point.method, Method::Search(_));
        if is_refined {
            // Refined, it is another one for each budget and target.
            digest = digest.text(&row.planned.inputs["target"]).text(&row.planned.inputs["budget"]);
        }
        let name = format!("net-{}", &digest.finish().to_string()[..12]);
        match all.iter_mut().find(|other| other.name == name) {
            Some(other) => other.points.push(row.number),
            None => all.push(Wanted {
                name,
                points: vec![row.number],
                subnet: subnet.clone(),
                weights: weights.clone(),
                is_refined,
            }),
        }
    }
    Ok(all)
}

/// What came of a network, as far as its stages are done.
fn result(folder: &SweepFolder, one: &Wanted) -> Option<NetworkResult> {
    let name = &one.name;
    let records = Records::of(folder.path());
    let done = |stage: &str| records.read(&format!("{stage}-{name}")).filter(|record| record.done);
    let (exported, measured) = (done("export")?, done("measure")?);
    let refined = one.is_refined.then(|| done("refine")).flatten().map(|record| record.facts);
    Some(NetworkResult {
        folder: format!("{NETWORKS}/{name}"),
        measured: serde_json::from_value(measured.facts).ok()?,
        files: serde_json::from_value(exported.facts).ok()?,
        refined: refined.unwrap_or_default(),
    })
}

/// What came of the network of each point of `rows`, as far as they are made, and how many distinct ones there are in all.
///
/// # Errors
/// Damaged weights.
pub fn results(
    plan: &SweepPlan,
    folder: &SweepFolder,
    rows: &[Row<'_>],
) -> Result<(BTreeMap<usize, NetworkResult>, usize)> {
    let all = wanted(plan, rows)?;
    let made = all.iter().filter_map(|one| Some((one, result(folder, one)?)));
    let of_points = made.flat_map(|(one, result)| one.points.iter().map(move |point| (*point, result.clone())));
    Ok((of_points.collect(), all.len()))
}

/// Makes the networks of what was found, but for those that are there or that other processes make meanwhile.
///
/// # Errors
/// No images, a folder that cannot be written; [`Error::Interrupted`]. Networks that fail are told in the summary.
pub fn run(
    plan: &SweepPlan,
    folder: &SweepFolder,
    shard: Shard,
    rows: &[Row<'_>],
    request: &StageRequest<'_>,
    watcher: &mut dyn StageWatcher,
) -> Result<NetworkSummary> {
    let Some(settings) = &plan.file.networks else { return Ok(NetworkSummary::default()) };
    let data = plan.data(request)?;
    let mut all = wanted(plan, rows)?;
    all.retain(|one| one.points.iter().any(|place| shard.has(*place)));
    let mut summary = NetworkSummary { networks: all.len(), ..NetworkSummary::default() };
    let mut sources: BTreeMap<String, (Source, [String; 2])> = BTreeMap::new();
    let (count, mut told) = (all.len(), None);
    let mut left: Vec<(usize, Wanted)> = all.into_iter().enumerate().collect();
    while !left.is_empty() {
        let mut waiting = Vec::new();
        for (number, one) in left {
            if request.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let claim = claim::take(&folder.claims(), &format!("network-{}", one.name));
            let Some(claim) = claim.map_err(|source| Error::Write { source })? else {
                waiting.push((number, one));
                continue;
            };
            let planned = &plan.points[one.points[0]];
            let StageRequest { revision, device, stop, .. } = *request;
            let site = Site { root: folder.path(), data: &data, revision, device, stop };
            let title = format!("network {} of {count}: {}", number + 1, one.name);
            let made = claim::keep(&claim, || {
                let ground = &plan.grounds[planned.ground];
                let key = ground.inputs.bundle.as_ref().map(|bundle| bundle.folder().display().to_string());
                let key = key.unwrap_or_default();
                if !sources.contains_key(&key) {
                    let source = ground.inputs.bundle.clone().map(|bundle| site.open(bundle)).transpose()?;
                    let source = source.ok_or(Error::NothingToSearchFor)?;
                    let images = source.images()?;
                    sources.insert(key.clone(), (source, images));
                }
                let (source, images) = &sources[&key];
                Work { settings, site, source, images, ground, planned, one: &one }.run(&title, watcher)
            });
            claim.release();
            match made {
                Ok(true) => {}
                Ok(false) => summary.cached += 1,
                Err(error) if error.is_interruption() => return Err(Error::Interrupted),
                Err(error) => {
                    watcher.tell(&format!("warning: {title}: {error}"));
                    summary.failed.push((one.name.clone(), error.to_string()));
                }
            }
        }
        if let Some((_, first)) = waiting.first() {
            // Told once for each that is waited for.
            if told.as_ref() != Some(&first.name) {
                watcher.wait(&first.name);
                told = Some(first.name.clone());
            }
            std::thread::sleep(WAIT);
        }
        left = waiting;
    }
    let records = Records::of(folder.path());
    let is_done = |key: &str| {
        let name = key.strip_prefix("network-");
        name.is_some_and(|name| records.read(&format!("measure-{name}")).is_some_and(|record| record.done))
    };
    claim::clear(&folder.claims(), is_done).map_err(|source| Error::Write { source })?;
    Ok(summary)
}

/// What the stage before left.
struct Before {
    record: Record,
    /// The folder that holds its run.
    run: String,
}

/// The stages of one network.
struct Work<'w> {
    settings: &'w NetworkSettings,
    site: Site<'w>,
    source: &'w Source,
    /// Digests of training and test images.
    images: &'w [String; 2],
    ground: &'w Ground,
    planned: &'w Planned,
    one: &'w Wanted,
}

impl Work<'_> {
    /// Whether anything was to be done.
    fn run(&self, title: &str, watcher: &mut dyn StageWatcher) -> Result<bool> {
        let mut is_new = false;
        let mut before = None;
        if self.one.is_refined {
            before = Some(Before { record: self.refine(title, &mut is_new, watcher)?, run: self.within(REFINED) });
        }
        if self.settings.finetune.epochs > 0 {
            let record = self.finetune(before.as_ref(), title, &mut is_new, watcher)?;
            before = Some(Before { record, run: self.within(TUNED) });
        }
        let exported = self.export(before.as_ref(), title, &mut is_new, watcher)?;
        let inputs = inputs([("network", &*exported.digest()), ("test images", &*self.images[1])]);
        self.stage("measure", title, &inputs, None, &mut is_new, watcher, |_| {
            let counted = self.site.measure(&self.within(NETWORKS))?;
            let said = format!(
                "{:.2} ± {:.2} % of {} images",
                100.0 * counted.top1,
                100.0 * counted.std_error,
                counted.images
            );
            Ok(Made { outputs: Vec::new(), said, facts: serde_json::to_value(&counted).expect("plain data") })
        })?;
        Ok(is_new)
    }

    fn within(&self, kind: &str) -> String {
        format!("{kind}/{}", self.one.name)
    }

    fn of_subnet(&self) -> Inputs {
        inputs([
            ("subnet", &*self.one.subnet.to_string()),
            ("weights", &*self.one.weights),
            ("images", &*self.images[0]),
        ])
    }

    #[allow(clippy::too_many_arguments, reason = "all of it differs from stage to stage")]
    fn stage(
        &self,
        stage: &str,
        title: &str,
        inputs: &Inputs,
        within: Option<&str>,
        is_new: &mut bool,
        watcher: &mut dyn StageWatcher,
        work: impl FnOnce(&mut dyn StageWatcher) -> Result<Made>,
    ) -> Result<Record> {
        let (records, name) = (Records::of(self.site.root), format!("{stage}-{}", self.one.name));
        let state = records.state(&name, inputs);
        if let State::Found(record) = state {
            return Ok(*record);
        }
        *is_new = true;
        let told = format!("{title}: {stage}");
        watcher.begin(&told, &state);
        let clear = |_: &State| within.map_or(Ok(()), |within| remove(&self.site.root.join(within)));
        let record = records.go(&name, inputs, state, clear, || work(watcher))?;
        watcher.end(&told, &record);
        Ok(record)
    }

    fn refine(&self, title: &str, is_new: &mut bool, watcher: &mut dyn StageWatcher) -> Result<Record> {
        let judge = self.settings.refine.unwrap_or(Judge::Images);
        let mut inputs = self.of_subnet();
        for word in ["target", "budget", "predictor"] {
            inputs.insert(word.to_owned(), self.planned.inputs[word].clone());
        }
        inputs.insert("judge".into(), judge.name().into());
        let within = self.within(REFINED);
        self.stage("refine", title, &inputs, Some(&within), is_new, watcher, |watcher| {
            let folder = self.site.root.join(&within);
            let subnet = folder.join(names::SUBNET);
            write(&subnet, &format!("{:#}\n", self.one.subnet))?;
            let bundle =
                self.ground.inputs.bundle.as_ref().map(|bundle| bundle.folder().to_string_lossy().into_owned());
            let request = RefineSubnetRequest {
                supernet: bundle.unwrap_or_default(),
                subnet,
                target: Some(self.planned.point.target.clone()),
                extrapolate: false,
                budget: self.planned.budget,
                data: Some(self.site.data.clone()),
                judged_by_images: judge == Judge::Images,
                initial_reduction: 0.05,
                decay: 1.0,
                iterations: 100,
                step: 8,
                shortlist: 6,
                out: folder.join("run"),
                resume: true,
                device: self.site.device,
            };
            let made = torch::refine_subnet(&request, self.site.stop.clone(), &mut Steps { watcher, all: 0 })?;
            let outputs = files_of(self.site.root, &format!("{within}/run/{}", names::NETWORK_FOLDER))?;
            let (was, is) = made.predicted;
            let said = format!("{} steps, predicted {:.2} to {:.2} %", made.steps, 100.0 * was, 100.0 * is);
            let mut facts = made.to_json();
            // Where it lies depends on where the sweep does.
            facts["network"] = json!(format!("{within}/run/{}", names::NETWORK_FOLDER));
            Ok(Made { outputs, said, facts })
        })
    }

    /// The network as the stage before left it, in `folder`, which is emptied first: a kill may have left half of one.
    fn start(&self, before: Option<&Before>, folder: &Path) -> Result<()> {
        remove(folder)?;
        match before {
            None => self.source.take_out(&self.one.subnet, folder),
            Some(Before { run, .. }) => {
                copy_folder(&self.site.root.join(run).join("run").join(names::NETWORK_FOLDER), folder)
            }
        }
    }

    fn of(&self, before: Option<&Before>) -> Inputs {
        let mut inputs = self.of_subnet();
        if let Some(before) = before {
            inputs.insert("network before".into(), before.record.digest());
        }
        inputs
    }

    fn finetune(
        &self,
        before: Option<&Before>,
        title: &str,
        is_new: &mut bool,
        watcher: &mut dyn StageWatcher,
    ) -> Result<Record> {
        let mut inputs = self.of(before);
        inputs.insert("epochs".into(), self.settings.finetune.epochs.to_string());
        inputs.insert("set".into(), self.settings.finetune.set.join(" "));
        let within = self.within(TUNED);
        self.stage("finetune", title, &inputs, Some(&within), is_new, watcher, |watcher| {
            let start = self.site.root.join(&within).join("start");
            self.start(before, &start)?;
            let teacher =
                self.ground.inputs.bundle.as_ref().map(|bundle| bundle.folder().to_string_lossy().into_owned());
            let mut made =
                self.site.tune(start, &within, teacher.unwrap_or_default(), &self.settings.finetune, watcher)?;
            made.said = format!("{} epochs", self.settings.finetune.epochs);
            Ok(made)
        })
    }

    fn export(
        &self,
        before: Option<&Before>,
        title: &str,
        is_new: &mut bool,
        watcher: &mut dyn StageWatcher,
    ) -> Result<Record> {
        let forms: Vec<FileForm> = self.settings.formats.iter().map(|format| (*format).into()).collect();
        let words: Vec<&str> = forms.iter().map(|form| form.word()).collect();
        let mut inputs = self.of(before);
        inputs.insert("formats".into(), words.join(", "));
        inputs.insert("test images".into(), self.images[1].clone());
        let within = self.within(NETWORKS);
        self.stage("export", title, &inputs, Some(&within), is_new, watcher, |watcher| {
            self.start(before, &self.site.root.join(&within))?;
            let mut made = self.site.write_files(&within, &self.one.name, &forms, watcher)?;
            let files: Vec<NetworkFile> = serde_json::from_value(made.facts.clone()).map_err(std::io::Error::other)?;
            let checked = files.iter().filter(|file| file.checked_by.is_some()).count();
            made.said = match files.len() {
                0 => within.clone(),
                all => format!("{within}, {checked} of {all} files checked by runtimes of others"),
            };
            Ok(made)
        })
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let made = fs::create_dir_all(folder).and_then(|()| write_atomically(path, |file| file.write_all(text.as_bytes())));
    made.map_err(|source| Error::Write { source })
}

impl SweepPlan {
    /// The images that its networks are made with.
    fn data(&self, request: &StageRequest<'_>) -> Result<DataSource> {
        match (self.preparation.data(request), &self.file.networks) {
            (Some(data), _) => Ok(data.clone()),
            (None, _) => Err(SweepError::NoImages { name: self.name.clone() }.into()),
        }
    }

    /// Refuses a sweep that makes networks, but says of no images what to make them with.
    ///
    /// # Errors
    /// [`SweepError::NoImages`].
    pub fn check_data(&self, request: &StageRequest<'_>) -> Result<()> {
        if self.file.networks.is_some() { self.data(request).map(|_| ()) } else { Ok(()) }
    }

    /// Makes the bundles and predictors that it searches with, where it makes some.
    ///
    /// # Errors
    /// What training, measuring and fitting meet; [`Error::Interrupted`].
    pub fn prepare(
        &self,
        folder: &SweepFolder,
        request: &StageRequest<'_>,
        watcher: &mut dyn StageWatcher,
    ) -> Result<()> {
        self.preparation.run(folder, request, watcher)
    }

    /// Stages before its searches that are to be done, in words: `train shrinking`, `fit additive to mcu-cifar`,
    /// `train shrinking again: recipe changed`.
    pub fn stages(&self) -> Vec<String> {
        self.preparation.missing()
    }

    /// Whether it makes bundles or predictors before it searches.
    pub fn prepares(&self) -> bool {
        !self.preparation.is_empty()
    }
}
