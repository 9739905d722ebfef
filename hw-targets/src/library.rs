//! The targets that ship, the user's own, and those given by a path.
//!
//! A user's target is a folder `targets/NAME/` under `OFA_HOME` (default: the platform's data folder, `ofa/`) with
//! `target.yaml` and `table.csv`; imported measurements of whole networks are files `networks/NAME.csv` there. A
//! target may also be given as a path: to such a folder, to its YAML, or to a CSV or Parquet table, beside which a
//! manifest of the same name and `.yaml` is read if there is one. Shipped names are reserved.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::defects;
use crate::error::HwError;
use crate::import::{Content, Format, import};
use crate::manifest::{Correction, FittedEntry, Manifest, TABLE_SCHEMA, TARGET_SCHEMA};
use crate::networks::{MeasuredNetwork, Networks};
use crate::table::OpTable;
use crate::target::Target;
use network::units::Measured;
use storage::file::FileError;
use storage::names::nearest;

/// Shipped targets: name and YAML. `scripts/refit` makes those with coefficients from published
/// measurements; the other microcontroller boards state the memory that MCUNet's authors give them; eyeriss is counted.
pub const SHIPPED: [(&str, &str); 23] = [
    ("2080ti", include_str!("../targets/2080ti.yaml")),
    ("essential-ph1", include_str!("../targets/essential-ph1.yaml")),
    ("eyeriss", include_str!("../targets/eyeriss.yaml")),
    ("jetson-agx-orin", include_str!("../targets/jetson-agx-orin.yaml")),
    ("jetson-agx-xavier", include_str!("../targets/jetson-agx-xavier.yaml")),
    ("jetson-tx2", include_str!("../targets/jetson-tx2.yaml")),
    ("khadas-vim4", include_str!("../targets/khadas-vim4.yaml")),
    ("note10", include_str!("../targets/note10.yaml")),
    ("pixel1", include_str!("../targets/pixel1.yaml")),
    ("pixel2", include_str!("../targets/pixel2.yaml")),
    ("pixel3", include_str!("../targets/pixel3.yaml")),
    ("raspberry-pi-4", include_str!("../targets/raspberry-pi-4.yaml")),
    ("rk3588s", include_str!("../targets/rk3588s.yaml")),
    ("samsung-a50", include_str!("../targets/samsung-a50.yaml")),
    ("samsung-s7", include_str!("../targets/samsung-s7.yaml")),
    ("stm32f412", include_str!("../targets/stm32f412.yaml")),
    ("stm32f746", include_str!("../targets/stm32f746.yaml")),
    ("stm32f765", include_str!("../targets/stm32f765.yaml")),
    ("stm32h743", include_str!("../targets/stm32h743.yaml")),
    ("stm32h7a3", include_str!("../targets/stm32h7a3.yaml")),
    ("stm32l4r5", include_str!("../targets/stm32l4r5.yaml")),
    ("stm32u575", include_str!("../targets/stm32u575.yaml")),
    ("v100", include_str!("../targets/v100.yaml")),
];

const TARGET_FILE: &str = "target.yaml";
/// A table is replaced by one of the other name.
const TABLE_FILES: [&str; 2] = ["table.csv", "table-2.csv"];

/// Where a target comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It ships with the program.
    Shipped,
    /// One of the user's own.
    Own(PathBuf),
}

/// What an import was kept as.
#[derive(Clone, Debug)]
pub enum Kept {
    /// A target.
    Target(Box<Target>),
    /// A file of measured networks, to compare targets with.
    Networks {
        /// Where it is.
        file: PathBuf,
        /// What is in it.
        networks: Networks,
    },
}

/// All targets that can be named.
#[derive(Clone, Debug)]
pub struct TargetLibrary {
    home: Option<PathBuf>,
}

impl TargetLibrary {
    /// The shipped targets and those under `home` (the folder that holds `targets/`).
    pub fn new(home: Option<PathBuf>) -> Self {
        Self { home }
    }

    /// With the user's own folder: `OFA_HOME`, else `ofa/` in the platform's data folder.
    pub fn of_user() -> Self {
        Self::new(default_home())
    }

    /// Every name with its origin, shipped ones first, each group in alphabetical order.
    pub fn names(&self) -> Vec<(String, Origin)> {
        let mut names: Vec<(String, Origin)> =
            SHIPPED.iter().map(|(name, _)| (name.to_string(), Origin::Shipped)).collect();
        let mut own: Vec<(String, Origin)> = self
            .home
            .iter()
            .filter_map(|home| fs::read_dir(home.join("targets")).ok())
            .flatten()
            .filter_map(|entry| {
                let folder = entry.ok()?.path();
                let name = folder.file_name()?.to_str()?.to_string();
                (folder.join(TARGET_FILE).is_file() && !is_shipped(&name)).then_some((name, Origin::Own(folder)))
            })
            .collect();
        own.sort_by(|a, b| a.0.cmp(&b.0));
        names.append(&mut own);
        names
    }

    /// The target of that name, or at that path.
    ///
    /// # Errors
    /// [`HwError::UnknownTarget`] with the nearest names; what is wrong in its files.
    pub fn find(&self, name: &str) -> Result<Target, HwError> {
        if let Some((name, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            let path = PathBuf::from(format!("targets/{name}.yaml"));
            return Target::new(name, Manifest::parse(&path, text)?, None, &path);
        }
        if let Some(folder) = self.target_folder(name).filter(|folder| folder.join(TARGET_FILE).is_file()) {
            return read_target(&folder.join(TARGET_FILE), Some(name));
        }
        let path = Path::new(name);
        if path.join(TARGET_FILE).is_file() {
            return read_target(&path.join(TARGET_FILE), None);
        }
        let plain = if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gz")) {
            path.with_extension("")
        } else {
            path.to_path_buf()
        };
        let ending = plain.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("yaml" | "yml") if path.is_file() => read_target(path, None),
            Some("csv" | "parquet") if path.is_file() => {
                let (manifest, table) = read_table(path, None)?;
                let name = manifest.name.clone().unwrap_or_else(|| stem(path));
                Target::new(&name, manifest, Some(table), path)
            }
            _ => {
                let known: Vec<String> = self.names().into_iter().map(|(name, _)| name).collect();
                let nearest = nearest(name, known.iter().map(String::as_str));
                Err(HwError::UnknownTarget { name: name.to_string(), nearest, known })
            }
        }
    }

    /// Checks a table and keeps it as the user's own target `name`, replacing one of that name. Without `manifest`, the
    /// YAML beside the table is taken, if there is one.
    ///
    /// # Errors
    /// [`HwError::ReservedName`], [`HwError::BadName`], whatever is wrong in the table or manifest (nothing is written
    /// then), and [`FileError::Io`].
    pub fn add(&self, table: &Path, name: &str, manifest: Option<&Path>) -> Result<Target, HwError> {
        self.check_name(name)?;
        let (header, rows) = read_table(table, manifest)?;
        self.keep(name, header, rows, table)
    }

    /// Reads a foreign format and keeps it as the user's own target `name`, or, where it holds whole networks, as the
    /// file of networks of that name; the notes of either say what could not be mapped. Where a format holds several
    /// devices, `device` chooses.
    ///
    /// # Errors
    /// As [`TargetLibrary::add`]; [`HwError::UnknownDevice`].
    pub fn import(&self, format: Format, path: &Path, device: Option<&str>, name: &str) -> Result<Kept, HwError> {
        self.check_name(name)?;
        match import(format, path, device, name)? {
            Content::Operators(imported) => {
                Ok(Kept::Target(Box::new(self.keep(name, imported.manifest, imported.table, path)?)))
            }
            Content::Networks(networks) => {
                let file = self.networks_file(name).ok_or(HwError::NoHome)?;
                networks.write_csv(&file)?;
                Ok(Kept::Networks { file, networks })
            }
        }
    }

    /// Measured networks by the name they were imported under, or by the path of their file.
    ///
    /// # Errors
    /// As [`Networks::read`].
    pub fn networks(&self, name: &str) -> Result<Networks, HwError> {
        let own = self.networks_file(name).filter(|file| file.is_file());
        Networks::read(&own.unwrap_or_else(|| PathBuf::from(name)))
    }

    pub(crate) fn networks_file(&self, name: &str) -> Option<PathBuf> {
        let home = self.home.as_ref().filter(|_| is_name(name))?;
        Some(home.join("networks").join(format!("{name}.csv")))
    }

    /// Keeps operators measured here as the user's own target `name`, and gives it as it will be found from now on: a
    /// file's milliseconds may be one bit off the seconds.
    ///
    /// # Errors
    /// As [`TargetLibrary::add`].
    pub fn add_measured(&self, name: &str, manifest: Manifest, table: OpTable) -> Result<Target, HwError> {
        let folder = self.own_folder(name)?;
        let kept = self.keep(name, manifest, table, &folder.join(TABLE_FILES[0]))?;
        Ok(self.find(name)?.with_warnings(kept.warnings().to_vec()))
    }

    /// Keeps networks measured here under the name `name`, and gives them as they will be found from now on.
    ///
    /// # Errors
    /// As [`TargetLibrary::add`]; [`HwError::NoNetworks`].
    pub fn add_networks(&self, name: &str, rows: Vec<MeasuredNetwork>) -> Result<Networks, HwError> {
        self.check_name(name)?;
        let file = self.networks_file(name).ok_or(HwError::NoHome)?;
        Networks::measured(&file, rows)?.write_csv(&file)?;
        Networks::read(&file)
    }

    /// Where the user's own target `name` is kept, or would be.
    ///
    /// # Errors
    /// [`HwError::ReservedName`], [`HwError::BadName`], [`HwError::NoHome`].
    pub fn own_folder(&self, name: &str) -> Result<PathBuf, HwError> {
        self.check_name(name)?;
        self.target_folder(name).ok_or(HwError::NoHome)
    }

    /// Keeps `target` as the user's own target `name` with corrections fitted on what it answers now; what corrects an
    /// answer that is corrected already replaces both. Enough networks ([`Correction::is_validation`]) make it grade A.
    ///
    /// # Errors
    /// As [`TargetLibrary::add`].
    pub fn keep_corrected(
        &self,
        target: &Target,
        name: &str,
        corrections: &[(Measured, Correction)],
    ) -> Result<Target, HwError> {
        let mut manifest = target.manifest().clone();
        let latency = target.manifest().entry(Measured::Latency).and_then(|entry| entry.correction);
        for (quantity, correction) in corrections {
            let entry = manifest.entry_mut(*quantity);
            // An energy that follows a corrected latency has that correction in it, and from now on one of its own.
            let derived = entry.power_w.and_then(|watts| Some((watts, latency?)));
            let constant = target.manifest().const_energy_mj.unwrap_or(0.0);
            let derived = derived.map(|(watts, latency)| {
                let offset = watts * latency.offset + constant * (1.0 - latency.scale);
                Correction { offset, ..latency }
            });
            let before = entry.correction.or(derived);
            entry.correction = Some(Correction {
                scale: correction.scale * before.map_or(1.0, |before| before.scale),
                offset: correction.offset + before.map_or(0.0, |before| before.offset * correction.scale),
                ..*correction
            });
        }
        self.keep_described(name, manifest, target.table())
    }

    /// Keeps `target` as the user's own target `name` with fitted models: its table, if it has one, still answers first,
    /// and a model for what the table lacks. A model of the same quantity that it had before is replaced.
    ///
    /// # Errors
    /// As [`TargetLibrary::add`].
    pub fn keep_fitted(
        &self,
        target: &Target,
        name: &str,
        models: &[(Measured, FittedEntry)],
    ) -> Result<Target, HwError> {
        let mut manifest = target.manifest().clone();
        for (quantity, model) in models {
            let entry = manifest.entry_mut(*quantity);
            entry.set_fitted(model.clone());
        }
        self.keep_described(name, manifest, target.table())
    }

    /// Keeps what `manifest` describes as the user's own target `name`; a table is written beside it.
    ///
    /// # Errors
    /// As [`TargetLibrary::add`].
    pub fn keep_described(
        &self,
        name: &str,
        mut manifest: Manifest,
        table: Option<&OpTable>,
    ) -> Result<Target, HwError> {
        let folder = self.own_folder(name)?;
        manifest.schema = TARGET_SCHEMA.to_string();
        manifest.name = Some(name.to_string());
        manifest.table = table.map(|_| free_table(&folder));
        let target = Target::new(name, manifest.clone(), table.cloned(), &folder.join(TARGET_FILE))?;
        write_target(&folder, &manifest, table)?;
        Ok(target)
    }

    fn keep(&self, name: &str, header: Manifest, table: OpTable, path: &Path) -> Result<Target, HwError> {
        let folder = self.target_folder(name).ok_or(HwError::NoHome)?;
        let warnings = [table.warnings().to_vec(), defects::check(&table, path)?].concat();
        let table = defects::with_methods(table);
        let manifest = Manifest {
            schema: TARGET_SCHEMA.to_string(),
            name: Some(name.to_string()),
            table: Some(free_table(&folder)),
            ..header
        };
        let target = Target::new(name, manifest.clone(), Some(table.clone()), path)?;
        write_target(&folder, &manifest, Some(&table))?;
        Ok(target.with_warnings(warnings))
    }

    fn check_name(&self, name: &str) -> Result<(), HwError> {
        if is_shipped(name) {
            return Err(HwError::ReservedName { name: name.to_string(), renamed: false });
        }
        if self.home.is_none() {
            return Err(HwError::NoHome);
        }
        if !is_name(name) {
            return Err(HwError::BadName { name: name.to_string() });
        }
        Ok(())
    }

    pub(crate) fn target_folder(&self, name: &str) -> Option<PathBuf> {
        let home = self.home.as_ref().filter(|_| is_name(name))?;
        Some(home.join("targets").join(name))
    }
}

/// Writes a target's files. The table goes beside the one that is in use, and the manifest decides: a kill at any moment
/// leaves the old target whole, or the new one.
fn write_target(folder: &Path, manifest: &Manifest, table: Option<&OpTable>) -> Result<(), HwError> {
    if let (Some(table), Some(name)) = (table, &manifest.table) {
        table.write_csv(&folder.join(name))?;
    }
    manifest.write(&folder.join(TARGET_FILE))?;
    for name in TABLE_FILES.iter().filter(|name| manifest.table.as_deref() != Some(**name)) {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(FileError::io(&path, source).into()),
            _ => {}
        }
    }
    Ok(())
}

/// The name for a new table in `folder`: that which the target there does not use.
fn free_table(folder: &Path) -> String {
    let used = Manifest::read(&folder.join(TARGET_FILE)).ok().and_then(|manifest| manifest.table);
    TABLE_FILES[usize::from(used.as_deref() == Some(TABLE_FILES[0]))].to_string()
}

/// Where a user's own targets live: `OFA_HOME`, else `ofa/` in the platform's data folder; `None` if neither is known.
pub fn default_home() -> Option<PathBuf> {
    let folder = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("OFA_HOME").or_else(|| {
        let data = if cfg!(target_os = "windows") {
            folder("APPDATA")
        } else if cfg!(target_os = "macos") {
            folder("HOME").map(|home| home.join("Library/Application Support"))
        } else {
            folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        };
        data.map(|data| data.join("ofa"))
    })
}

/// Whether a target of that name ships with the program.
pub(crate) fn is_shipped(name: &str) -> bool {
    SHIPPED.iter().any(|(shipped, _)| *shipped == name)
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.len() <= 64
        && name.chars().all(plain)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn read_target(path: &Path, name: Option<&str>) -> Result<Target, HwError> {
    let manifest = Manifest::read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let table = manifest.table.as_ref().map(|table| OpTable::read(&folder.join(table))).transpose()?;
    let manifest = match &table {
        Some(table) => with_batch(manifest, table, path)?,
        None => manifest,
    };
    let name = name.map(str::to_string).or_else(|| manifest.name.clone()).unwrap_or_else(|| stem(path));
    Target::new(&name, manifest, table, path)
}

fn read_table(path: &Path, manifest: Option<&Path>) -> Result<(Manifest, OpTable), HwError> {
    let beside = ["yaml", "yml"].map(|ending| path.with_extension(ending));
    let manifest = match manifest {
        Some(manifest) => Some(manifest),
        None => beside.iter().map(PathBuf::as_path).find(|path| path.is_file()),
    };
    let manifest = match manifest {
        Some(manifest) => Manifest::read(manifest)?,
        None => Manifest { schema: TABLE_SCHEMA.to_string(), ..Manifest::default() },
    };
    let table = OpTable::read(path)?;
    Ok((with_batch(manifest, &table, path)?, table))
}

/// `manifest` with the batch that a column of its table says.
fn with_batch(manifest: Manifest, table: &OpTable, path: &Path) -> Result<Manifest, HwError> {
    match (manifest.batch, table.batch()) {
        (Some(stated), Some(batch)) if stated != batch => Err(HwError::BadField {
            path: path.to_path_buf(),
            field: "batch".to_string(),
            problem: format!("is {batch} in the table and {stated} in its manifest"),
        }),
        (stated, batch) => Ok(Manifest { batch: stated.or(batch), ..manifest }),
    }
}
