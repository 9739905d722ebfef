//! The folder of one training run: what was run, how it went, and where it stands.
//!
//! | file | what |
//! |---|---|
//! | `recipe.yaml` | the recipe, with what replaced its values |
//! | `run.json` | revision and version of the program, command, time, LibTorch, device, threads, precision, seed, data |
//! | `space.yaml`, `preprocessing.json` | the search space; how images become inputs |
//! | `metrics.jsonl` | one object per epoch |
//! | `events.out.tfevents.*.ofa` | the same for TensorBoard; those of earlier starts are empty |
//! | `energy.json` | what it cost so far |
//! | `checkpoints/` | where it stands |
//! | `bundle/`, `report.json` | at the end: the bundle, and accuracy on the test set where there is one |
//!
//! A run is identified by its recipe, space and data; going on with another is refused.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use storage::atomic::write_atomically;
use storage::hold::Hold;

use crate::error::{Result, Within};
use crate::folders::output::held;
use crate::folders::{event_file, names};

/// Where one run keeps its files, and the right to write there.
#[derive(Clone, Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    _held: Arc<Hold>,
}

impl RunDir {
    /// The folder, made if it is missing.
    ///
    /// # Errors
    /// It cannot be made; another process is at work there.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path.join(names::CHECKPOINTS)).within(|| format!("run folder {}", path.display()))?;
        Ok(Self { path: path.to_path_buf(), _held: Arc::new(held(path)?) })
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where checkpoints go.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join(names::CHECKPOINTS)
    }

    /// Where the finished bundle goes.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.path.join(names::BUNDLE)
    }

    /// Whether a run was begun here.
    pub(crate) fn is_begun(&self) -> bool {
        Self::holds_run(&self.path)
    }

    /// Whether a run was begun in `folder`, which need not exist.
    pub(crate) fn holds_run(folder: &Path) -> bool {
        folder.join(names::RECIPE).exists()
    }

    /// Writes a file of the run.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        write_atomically(&self.path.join(name), |file| file.write_all(text.as_bytes()))
    }

    /// The metrics, without those of steps that a resumed run will do again (`global_step` above `position`).
    ///
    /// # Errors
    /// The file cannot be read or rewritten.
    pub(crate) fn metrics_up_to(&self, position: u64) -> io::Result<Metrics> {
        let path = self.path.join(names::METRICS);
        let (mut kept, mut records) = (Vec::new(), Vec::new());
        if path.exists() {
            for line in BufReader::new(fs::File::open(&path)?).lines() {
                let line = line?;
                // A line cut short by a kill is one of those steps, too.
                let Ok(record) = serde_json::from_str::<Value>(&line) else { break };
                if record["global_step"].as_u64().is_none_or(|step| step > position) {
                    break;
                }
                kept.push(line);
                records.push(record);
            }
            write_atomically(&path, |file| kept.iter().try_for_each(|line| writeln!(file, "{line}")))?;
        }
        let events = event_file::made_anew(&self.path, &records)?;
        Ok(Metrics { file: fs::OpenOptions::new().create(true).append(true).open(path)?, events })
    }
}

/// `metrics.jsonl` and what TensorBoard reads of it, open for more.
#[derive(Debug)]
pub(crate) struct Metrics {
    file: fs::File,
    events: fs::File,
}

impl Metrics {
    /// Adds a line in one write, and its scalars in another.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn add(&mut self, record: &Value) -> io::Result<()> {
        self.file.write_all(format!("{record}\n").as_bytes())?;
        self.events.write_all(&event_file::record(record))
    }
}
