//! What the engine runs on, and what is wrong with it: versions, devices, threads, folders.

use std::env;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Everything `ofa doctor` prints.
#[derive(Clone, Debug, Serialize)]
pub struct DoctorReport {
    /// Version of the engine.
    pub ofa: String,
    /// The LibTorch in use; `None` where the engine was built without it.
    pub libtorch: Option<LibTorchReport>,
    /// Devices that `--device` can name, the CPU first.
    pub devices: Vec<DeviceReport>,
    /// Threads that LibTorch computes with, or, without LibTorch, that Rust's pool would use.
    pub threads: usize,
    /// Processor cores that this process may use.
    pub cores: usize,
    /// The widest vector instructions of the processor that kernels have variants for.
    pub simd: String,
    /// Where the user's own targets live.
    pub ofa_home: FolderReport,
    /// Where tests find published golden values; `None` where `OFA_SHARED` is not set.
    pub ofa_shared: Option<FolderReport>,
    /// What is wrong, each with what to do; empty when all is well.
    pub problems: Vec<String>,
}

/// The LibTorch that is loaded.
#[derive(Clone, Debug, Serialize)]
pub struct LibTorchReport {
    /// Its version as it states it.
    pub version: Option<String>,
    /// The folder of its libraries.
    pub folder: Option<PathBuf>,
    /// How it was found: `LIBTORCH`, `LD_LIBRARY_PATH`, `checkout` or `rpath`.
    pub found_by: String,
    /// What became of its CUDA half.
    pub cuda: String,
}

/// One device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// As `--device` takes it.
    pub device: String,
    /// The maker's name.
    pub name: String,
    /// Memory in bytes, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// A folder that the environment may name.
#[derive(Clone, Debug, Serialize)]
pub struct FolderReport {
    /// Its path; `None` where neither a variable nor a home folder says.
    pub path: Option<PathBuf>,
    /// Whether it is there.
    pub exists: bool,
    /// What names it: a variable, or `default`.
    pub from: String,
}

impl DoctorReport {
    /// Label and value of each line to print, problems left out.
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![("ofa".to_string(), self.ofa.clone())];
        let mut row = |label: &str, value: String| rows.push((label.to_string(), value));
        match &self.libtorch {
            None => row("LibTorch", "none: built without it; search, space and target verbs work".into()),
            Some(libtorch) => {
                row("LibTorch", libtorch.version.clone().unwrap_or_else(|| "of unstated version".into()));
                let folder = libtorch.folder.as_deref().map_or("?".into(), |path| path.display().to_string());
                row("  folder", format!("{folder} (found by {})", libtorch.found_by));
                row("  CUDA", libtorch.cuda.clone());
            }
        }
        for device in &self.devices {
            let memory = device.memory_bytes.map_or(String::new(), |bytes| format!(", {:.1} GiB", gib(bytes)));
            row("device", format!("{}: {}{memory}", device.device, device.name));
        }
        row("threads", format!("{} of {} cores, {}", self.threads, self.cores, self.simd));
        row("OFA_HOME", self.ofa_home.describe());
        row(
            "OFA_SHARED",
            self.ofa_shared.as_ref().map_or("not set (only tests use it)".into(), FolderReport::describe),
        );
        rows
    }
}

impl FolderReport {
    fn describe(&self) -> String {
        let path = self.path.as_deref().map_or("nowhere".into(), |path| path.display().to_string());
        let state = if self.exists { "" } else { ", not there yet" };
        format!("{path} ({}{state})", self.from)
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Looks at the machine, the loaded LibTorch and the environment. Never fails: what is wrong is part of the report.
pub fn report() -> DoctorReport {
    let mut problems = Vec::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut devices = vec![DeviceReport { device: "cpu".into(), name: processor_name(), memory_bytes: None }];
    let (libtorch, threads) = look_at_libtorch(&mut devices, &mut problems).unzip();
    let threads = threads.unwrap_or(cores);
    if threads > cores {
        problems.push(format!(
            "LibTorch would start {threads} threads on {cores} usable cores, which is slow: pass `--threads {cores}`"
        ));
    }
    let simd = simd();
    if cfg!(target_arch = "x86_64") && simd == "SSE" {
        problems.push("the processor has no AVX2, so convolutions run several times slower than they could".into());
    }
    if cfg!(debug_assertions) {
        problems.push("this is an unoptimised build: build with `cargo build --release`".into());
    }
    let ofa_home = ofa_home();
    check_home(&ofa_home, &mut problems);
    let ofa_shared = variable("OFA_SHARED").map(|path| folder(Some(path), "OFA_SHARED"));
    if let Some(FolderReport { path: Some(path), exists: false, .. }) = &ofa_shared {
        problems.push(format!("OFA_SHARED names {}, which is no folder: correct or unset it", path.display()));
    }
    let ofa = env!("CARGO_PKG_VERSION").to_string();
    DoctorReport { ofa, libtorch, devices, threads, cores, simd, ofa_home, ofa_shared, problems }
}

#[cfg(not(feature = "torch"))]
fn look_at_libtorch(_: &mut Vec<DeviceReport>, _: &mut Vec<String>) -> Option<(LibTorchReport, usize)> {
    None
}

#[cfg(feature = "torch")]
fn look_at_libtorch(devices: &mut Vec<DeviceReport>, problems: &mut Vec<String>) -> Option<(LibTorchReport, usize)> {
    use supernet::device::{CudaSupport, LIBTORCH_VERSION, LibTorch};
    use tch::Device;

    let libtorch = LibTorch::describe();
    for cuda in &libtorch.devices {
        let device = format!("cuda:{}", cuda.index);
        devices.push(DeviceReport { device, name: cuda.name.clone(), memory_bytes: Some(cuda.memory_bytes) });
    }
    let folder = libtorch.folder.as_deref();
    if libtorch.is_expected_version() == Some(false) {
        problems.push(format!(
            "this is LibTorch {}, and {LIBTORCH_VERSION} is needed: unset LIBTORCH and LD_LIBRARY_PATH, or point them \
             to PyTorch {LIBTORCH_VERSION}",
            libtorch.version.as_deref().unwrap_or("?"),
        ));
    }
    if let (Some(named), Some(loaded)) = (variable("LIBTORCH"), folder)
        && !same_folder(&named.join("lib"), loaded)
    {
        problems.push(format!(
            "LIBTORCH names {}, but this binary runs on {}: start it through `scripts/ofa`, which builds it anew",
            named.display(),
            loaded.display(),
        ));
    }
    match &libtorch.cuda {
        CudaSupport::CpuOnlyLibTorch if has_nvidia_gpu() => problems.push(format!(
            "there is an NVIDIA GPU, but this LibTorch is for the CPU only: set LIBTORCH to the folder `torch` of an \
             installed PyTorch {LIBTORCH_VERSION} and start `scripts/ofa`"
        )),
        CudaSupport::Loaded if libtorch.devices.is_empty() => problems.push(format!(
            "LibTorch {} sees no GPU: check CUDA_VISIBLE_DEVICES, and with `nvidia-smi` that the driver is new enough",
            libtorch.version.as_deref().unwrap_or("?"),
        )),
        CudaSupport::Failed(_) => problems.push(format!(
            "{}: reinstall PyTorch {LIBTORCH_VERSION} with all its packages, or use `--device cpu`",
            libtorch.cuda
        )),
        _ => {}
    }
    let cuda = (0..libtorch.devices.len()).map(Device::Cuda);
    for device in std::iter::once(Device::Cpu).chain(cuda) {
        if let Err(error) = convolve(device) {
            problems.push(format!("a small convolution on {device:?} failed, so use another `--device`: {error}"));
        }
    }
    let cuda = libtorch.cuda.to_string();
    let found_by = how_found(folder).to_string();
    let report = LibTorchReport { version: libtorch.version, folder: libtorch.folder, found_by, cuda };
    Some((report, supernet::device::threads()))
}

// The cheapest proof that a device computes: the kind of operation that training consists of, with a known sum.
#[cfg(feature = "torch")]
fn convolve(device: tch::Device) -> Result<(), String> {
    let attempt = || {
        let options = (tch::Kind::Float, device);
        let image = tch::Tensor::f_ones([1, 8, 4, 4], options)?;
        let weight = tch::Tensor::f_ones([8, 8, 1, 1], options)?;
        let output = image.f_conv2d(&weight, None::<tch::Tensor>, [1, 1], [0, 0], [1, 1], 1)?;
        output.f_sum(tch::Kind::Float)?.f_double_value(&[])
    };
    match attempt() {
        Ok(1024.0) => Ok(()),
        Ok(sum) => Err(format!("its sum is {sum} instead of 1024")),
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_string()),
    }
}

#[cfg(feature = "torch")]
fn how_found(folder: Option<&Path>) -> &'static str {
    let Some(folder) = folder else { return "rpath" };
    if variable("LIBTORCH").is_some_and(|named| same_folder(&named.join("lib"), folder)) {
        return "LIBTORCH";
    }
    let library_path = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    if env::split_paths(&library_path).any(|named| named == folder) {
        return "LD_LIBRARY_PATH";
    }
    let executable = env::current_exe().unwrap_or_default();
    let checkout = executable.ancestors().any(|above| same_folder(&above.join("libtorch/lib"), folder));
    if checkout { "checkout" } else { "rpath" }
}

#[cfg(feature = "torch")]
fn same_folder(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(feature = "torch")]
fn has_nvidia_gpu() -> bool {
    ["/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg"].iter().any(|path| Path::new(path).exists())
}

// What the processor can do, as far as LibTorch's and the GEMM crate's kernels tell it apart.
fn simd() -> String {
    #[cfg(target_arch = "x86_64")]
    let name = if is_x86_feature_detected!("avx512f") {
        if is_x86_feature_detected!("avx512bf16") { "AVX-512 with bf16" } else { "AVX-512" }
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        "AVX2"
    } else {
        "SSE"
    };
    #[cfg(target_arch = "aarch64")]
    let name = if std::arch::is_aarch64_feature_detected!("sve") { "SVE" } else { "NEON" };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let name = "unknown vector instructions";
    name.to_string()
}

/// The processor in words; its architecture where the system does not say more.
pub(crate) fn processor_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name));
    name.map_or_else(|| env::consts::ARCH.to_string(), |name| name.trim().to_string())
}

fn ofa_home() -> FolderReport {
    let from = if variable("OFA_HOME").is_some() { "OFA_HOME" } else { "default" };
    folder(hw_targets::library::default_home(), from)
}

fn check_home(home: &FolderReport, problems: &mut Vec<String>) {
    let Some(path) = &home.path else {
        problems.push("neither OFA_HOME nor HOME is set, so no target can be added: set OFA_HOME to a folder".into());
        return;
    };
    // Only a folder that will be made later has no state to check; its nearest ancestor decides.
    let nearest = path.ancestors().find(|above| above.exists()).unwrap_or(path);
    if !nearest.is_dir() {
        problems.push(format!("{} is not a folder: point OFA_HOME elsewhere", nearest.display()));
    } else if home.exists && tempfile::tempfile_in(path).is_err() {
        problems.push(format!(
            "{} cannot be written to, so no target can be added: change its permissions or set OFA_HOME",
            path.display()
        ));
    }
}

fn folder(path: Option<PathBuf>, from: &str) -> FolderReport {
    let exists = path.as_deref().is_some_and(Path::is_dir);
    FolderReport { path, exists, from: from.into() }
}

// A variable that is set and not empty.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_cpu_and_serialises() {
        let report = report();
        assert_eq!(report.devices[0].device, "cpu");
        assert!(report.threads >= 1 && report.cores >= 1);
        assert_eq!(report.libtorch.is_some(), cfg!(feature = "torch"));
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["problems"].is_array());
        assert!(report.rows().iter().any(|(label, _)| label == "LibTorch"));
    }

    #[cfg(feature = "torch")]
    #[test]
    fn the_cpu_convolves() {
        assert_eq!(convolve(tch::Device::Cpu), Ok(()));
        assert!(report().libtorch.unwrap().folder.is_some());
    }

    #[test]
    fn a_home_that_is_a_file_is_a_problem() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut problems = Vec::new();
        check_home(&folder(Some(file.path().to_path_buf()), "OFA_HOME"), &mut problems);
        assert!(problems[0].contains("is not a folder"), "{problems:?}");
        check_home(&folder(None, "default"), &mut problems);
        assert_eq!(problems.len(), 2);
        let home = tempfile::tempdir().unwrap();
        check_home(&folder(Some(home.path().join("not/yet")), "OFA_HOME"), &mut problems);
        assert_eq!(problems.len(), 2);
    }
}
