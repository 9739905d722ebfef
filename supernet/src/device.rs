//! Where tensors live: choosing a device, finding CUDA at run time, and describing the LibTorch that was loaded.
//!
//! The binary links only to LibTorch's CPU half. [`load_cuda_if_present`] opens `libtorch_cuda.so` when it lies beside
//! the loaded `libtorch_cpu.so` and a driver is there, so one binary, built anywhere, serves both kinds of machine.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Once, OnceLock};

use storage::failure::{Failure, FailureKind, Setting};
use tch::{Cuda, Device};

use crate::native::kernels_here;

/// The LibTorch release that the engine is built for; tch accepts no other.
pub const LIBTORCH_VERSION: &str = "2.11.0";

/// What a user may ask for with `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The first CUDA device where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU, even where CUDA exists.
    Cpu,
    /// The CUDA device of this index; an error where it does not exist.
    Cuda(usize),
}

/// A device that is not there, or not a device at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The text is none of `auto`, `cpu`, `cuda:N`.
    #[error("`{given}` is not a device")]
    Unknown {
        /// What was given.
        given: String,
    },
    /// A CUDA device was asked for that this machine, or this LibTorch, does not have.
    #[error("cuda:{index} was asked for, but there {}{why}", there_are(*.found))]
    NoSuchCuda {
        /// The index asked for.
        index: usize,
        /// How many CUDA devices LibTorch sees.
        found: usize,
        /// What stands in the way, after a colon; empty where there are others.
        why: String,
    },
    /// The environment variable `OFA_KERNELS` is none of the names of kernels that this processor runs.
    #[error("{KERNELS} is `{given}`, which this processor has no kernels of")]
    Kernels {
        /// What it is.
        given: String,
        /// What it may be, fastest first.
        known: Vec<&'static str>,
    },
}

/// The environment variable that names the kernels for the CPU, instead of the fastest.
const KERNELS: &str = "OFA_KERNELS";

impl Failure for DeviceError {
    fn kind(&self) -> FailureKind {
        FailureKind::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            DeviceError::Unknown { .. } => "use `auto`, `cpu` or `cuda:N`, N counting from 0".into(),
            DeviceError::NoSuchCuda { found: 0, .. } => {
                let (device, doctor) = (Setting("device"), Setting("doctor"));
                format!("use `{device} auto` or `{device} cpu`; `{doctor}` lists what was found")
            }
            DeviceError::NoSuchCuda { found, .. } => format!("use an index from 0 to {}", found - 1),
            DeviceError::Kernels { known, .. } => {
                format!("unset it for the fastest; this processor runs {}", known.join(", "))
            }
        })
    }
}

fn why_not(found: usize) -> String {
    match load_cuda_if_present() {
        _ if found > 0 => String::new(),
        CudaSupport::Loaded => ": the driver shows LibTorch none (check CUDA_VISIBLE_DEVICES and the driver)".into(),
        other => format!(": {other}"),
    }
}

fn there_are(found: usize) -> String {
    match found {
        0 => "are no CUDA devices".into(),
        1 => "is 1 CUDA device".into(),
        n => format!("are {n} CUDA devices"),
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown { given: text.into() };
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => {
                let index = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                // `parse` alone would accept a leading plus sign.
                if !index.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(unknown());
                }
                index.parse().map(DeviceChoice::Cuda).map_err(|_| unknown())
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceChoice {
    /// The device to put tensors on. Loads LibTorch's CUDA half unless the CPU was asked for, so call it before any
    /// other use of tensors: LibTorch looks for CUDA once and remembers the answer.
    ///
    /// # Errors
    /// [`DeviceError::NoSuchCuda`] when a CUDA device was named that does not exist, [`DeviceError::Kernels`] when the
    /// environment names kernels that do not.
    pub fn resolve(self) -> Result<Device, DeviceError> {
        check_kernels(std::env::var_os(KERNELS).as_deref())?;
        match self {
            DeviceChoice::Cpu => Ok(Device::Cpu),
            DeviceChoice::Auto => Ok(if cuda_devices() > 0 { Device::Cuda(0) } else { Device::Cpu }),
            DeviceChoice::Cuda(index) => match cuda_devices() {
                found if index < found => Ok(Device::Cuda(index)),
                found => Err(DeviceError::NoSuchCuda { index, found, why: why_not(found) }),
            },
        }
    }
}

/// Whether `name` is one of kernels that run here. Set to nothing counts as not set.
fn check_kernels(name: Option<&OsStr>) -> Result<(), DeviceError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(()) };
    let known = kernels_here();
    if known.iter().any(|known| name == *known) {
        return Ok(());
    }
    Err(DeviceError::Kernels { given: name.to_string_lossy().into_owned(), known })
}

/// How many CUDA devices LibTorch can use; loads its CUDA half first.
pub(crate) fn cuda_devices() -> usize {
    match load_cuda_if_present() {
        CudaSupport::Loaded => usize::try_from(Cuda::device_count()).unwrap_or(0),
        _ => 0,
    }
}

/// What became of the search for LibTorch's CUDA half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CudaSupport {
    /// `libtorch_cuda.so` is loaded.
    Loaded,
    /// This LibTorch has only its CPU half.
    CpuOnlyLibTorch,
    /// LibTorch has CUDA, the machine has no NVIDIA driver.
    NoDriver,
    /// `libtorch_cuda.so` is there and could not be loaded, for the reason the loader gave.
    Failed(String),
}

impl fmt::Display for CudaSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CudaSupport::Loaded => f.write_str("LibTorch's CUDA library is loaded"),
            CudaSupport::CpuOnlyLibTorch => f.write_str("this LibTorch is for the CPU only"),
            CudaSupport::NoDriver => f.write_str("no NVIDIA driver (libcuda.so.1) was found"),
            CudaSupport::Failed(why) => write!(f, "LibTorch's CUDA library could not be loaded: {why}"),
        }
    }
}

/// Loads `libtorch_cuda.so` if it lies beside the loaded `libtorch_cpu.so` and the machine has an NVIDIA driver.
///
/// Call it before the first use of tensors; later calls return the first answer. Without a driver nothing is loaded,
/// which spares a CPU-only machine about a second.
pub(crate) fn load_cuda_if_present() -> &'static CudaSupport {
    static SUPPORT: OnceLock<CudaSupport> = OnceLock::new();
    SUPPORT.get_or_init(|| {
        let Some(library) = libtorch_folder().map(|lib| lib.join("libtorch_cuda.so")).filter(|so| so.exists()) else {
            return CudaSupport::CpuOnlyLibTorch;
        };
        // The driver stays open for the life of the process, as LibTorch will need it anyway.
        if open_library(Path::new("libcuda.so.1")).is_err() {
            return CudaSupport::NoDriver;
        }
        match open_library(&library) {
            Ok(_) => CudaSupport::Loaded,
            Err(why) => CudaSupport::Failed(why),
        }
    })
}

fn open_library(path: &Path) -> Result<*mut c_void, String> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "its path contains a zero byte".to_string())?;
    // SAFETY: `name` is a C string; the libraries opened here run only their own initialisers.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(handle);
    }
    // SAFETY: dlerror returns null or a C string that stays valid until the next dl call of this thread.
    let reason = unsafe {
        let text = libc::dlerror();
        if text.is_null() { "no reason given".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    Err(reason)
}

/// One CUDA device, in LibTorch's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaDevice {
    /// The N of `cuda:N`.
    pub index: usize,
    /// The driver's name for it.
    pub name: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
}

/// The LibTorch that this process runs on.
#[derive(Clone, Debug)]
pub struct LibTorch {
    /// Its version as it states it, `2.11.0+cu130`; `None` where no version file lies beside it.
    pub version: Option<String>,
    /// The folder of the loaded `libtorch_cpu.so`.
    pub folder: Option<PathBuf>,
    /// What became of its CUDA half.
    pub cuda: CudaSupport,
    /// The devices that `cuda:N` can name.
    pub devices: Vec<CudaDevice>,
}

impl LibTorch {
    /// Looks at the loaded LibTorch, its CUDA half included.
    pub fn describe() -> Self {
        let folder = libtorch_folder();
        let version = folder.as_deref().and_then(version_beside);
        let devices = (0..cuda_devices()).map(cuda_device).collect();
        LibTorch { version, folder, cuda: load_cuda_if_present().clone(), devices }
    }

    /// Whether it is the release that the engine is built for; `None` where it does not state its version.
    pub fn is_expected_version(&self) -> Option<bool> {
        let version = self.version.as_deref()?;
        Some(version.split('+').next() == Some(LIBTORCH_VERSION))
    }
}

/// Sets how many threads LibTorch computes with (at least 1), for the whole process.
///
/// Call it before the first use of tensors: the pool for independent operations can be sized only once.
pub fn set_threads(threads: usize) {
    static INTEROP: Once = Once::new();
    let threads = i32::try_from(threads.max(1)).unwrap_or(i32::MAX);
    INTEROP.call_once(|| tch::set_num_interop_threads(threads));
    tch::set_num_threads(threads);
}

/// How many threads LibTorch computes with.
pub fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// Folder of the loaded `libtorch_cpu`, or `None` where it cannot be told.
pub(crate) fn libtorch_folder() -> Option<PathBuf> {
    loaded_libraries().into_iter().find_map(|path| {
        let name = path.file_name()?.to_str()?;
        // Where `libtorch.so` is a link to the CPU library, the loader may know it by that name.
        let is_torch = ["libtorch_cpu.so", "libtorch.so", "libtorch_cpu.dylib"].contains(&name);
        is_torch.then(|| path.parent().map(Path::to_path_buf))?
    })
}

#[cfg(target_os = "linux")]
fn loaded_libraries() -> Vec<PathBuf> {
    unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
        // SAFETY: the loader passes a valid `info`, and `data` is the vector below, alive for the whole walk.
        unsafe {
            let paths = &mut *data.cast::<Vec<PathBuf>>();
            if !(*info).dlpi_name.is_null() {
                let name = CStr::from_ptr((*info).dlpi_name).to_bytes();
                paths.push(PathBuf::from(OsStr::from_bytes(name)));
            }
        }
        0
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    // SAFETY: `visit` has the expected signature and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut paths).cast()) };
    paths
}

#[cfg(not(target_os = "linux"))]
fn loaded_libraries() -> Vec<PathBuf> {
    Vec::new()
}

// A wheel says its version in `version.py`, the archives from pytorch.org in `build-version`.
fn version_beside(lib: &Path) -> Option<String> {
    let root = lib.parent()?;
    if let Ok(text) = std::fs::read_to_string(root.join("version.py")) {
        return version_in_python(&text);
    }
    let text = std::fs::read_to_string(root.join("build-version")).ok()?;
    Some(text.trim().to_string())
}

fn version_in_python(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("__version__"))?;
    let quoted = line.trim_start().strip_prefix('=')?.trim();
    Some(quoted.trim_matches(['\'', '"']).to_string())
}

// tch does not tell a device's name; the driver does.
fn cuda_device(index: usize) -> CudaDevice {
    let mut device = CudaDevice { index, name: "unnamed CUDA device".into(), memory_bytes: 0 };
    let Ok(driver) = open_library(Path::new("libcuda.so.1")) else { return device };
    let symbol = |name: &CStr| {
        // SAFETY: `driver` is an open library and `name` a C string.
        unsafe { libc::dlsym(driver, name.as_ptr()) }
    };
    let (init, get, name, memory) =
        (symbol(c"cuInit"), symbol(c"cuDeviceGet"), symbol(c"cuDeviceGetName"), symbol(c"cuDeviceTotalMem_v2"));
    if [init, get, name, memory].iter().any(|pointer| pointer.is_null()) {
        return device;
    }
    let mut text = [0 as c_char; 256];
    let (mut handle, mut bytes) = (0 as c_int, 0usize);
    // SAFETY: the signatures are those of cuda.h; every pointer is to a live local of the size passed.
    unsafe {
        let init = std::mem::transmute::<*mut c_void, extern "C" fn(u32) -> c_int>(init);
        let get = std::mem::transmute::<*mut c_void, extern "C" fn(*mut c_int, c_int) -> c_int>(get);
        let name = std::mem::transmute::<*mut c_void, extern "C" fn(*mut c_char, c_int, c_int) -> c_int>(name);
        let memory = std::mem::transmute::<*mut c_void, extern "C" fn(*mut usize, c_int) -> c_int>(memory);
        if init(0) != 0 || get(&raw mut handle, index as c_int) != 0 {
            return device;
        }
        if name(text.as_mut_ptr(), text.len() as c_int, handle) == 0 {
            device.name = CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned();
        }
        if memory(&raw mut bytes, handle) == 0 {
            device.memory_bytes = bytes as u64;
        }
    }
    device
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<DeviceChoice>) {
        assert_eq!(text.parse::<DeviceChoice>().ok(), expected, "{text}");
        if let Some(choice) = expected {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
    }

    #[test]
    fn choices_parse() {
        check("auto", Some(DeviceChoice::Auto));
        check("cpu", Some(DeviceChoice::Cpu));
        check("cuda", Some(DeviceChoice::Cuda(0)));
        check("cuda:3", Some(DeviceChoice::Cuda(3)));
        for bad in ["", "gpu", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "CPU", "cuda:99999999999999999999999"] {
            check(bad, None);
        }
    }

    #[test]
    fn a_missing_cuda_device_is_a_usage_error_that_says_how_many_there_are() {
        let error = DeviceChoice::Cuda(1_000).resolve().unwrap_err();
        assert_eq!(error.kind(), FailureKind::Usage);
        assert!(error.to_string().starts_with("cuda:1000 was asked for, but there "), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn kernels_that_do_not_exist_are_a_usage_error_that_lists_those_which_do() {
        let check = |name: &str| check_kernels(Some(OsStr::new(name)));
        assert_eq!((check_kernels(None), check(""), check("portable")), (Ok(()), Ok(()), Ok(())));
        for unknown in ["avx1024", "Portable", "portable "] {
            let error = check(unknown).unwrap_err();
            assert_eq!(error.kind(), FailureKind::Usage);
            assert!(error.to_string().starts_with(&format!("OFA_KERNELS is `{unknown}`")), "{error}");
            assert!(error.hint().unwrap().ends_with("portable"), "{error:?}");
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(DeviceChoice::Cpu.resolve(), Ok(Device::Cpu));
        let automatic = DeviceChoice::Auto.resolve().unwrap();
        assert_eq!(automatic.is_cuda(), cuda_devices() > 0);
    }

    #[test]
    fn the_loaded_libtorch_is_the_expected_one() {
        let sum = tch::Tensor::ones([3], (tch::Kind::Float, Device::Cpu)).sum(tch::Kind::Float);
        assert_eq!(sum.double_value(&[]), 3.0);
        let libtorch = LibTorch::describe();
        assert!(libtorch.folder.as_ref().is_some_and(|folder| folder.join("libc10.so").exists()), "{libtorch:?}");
        assert_ne!(libtorch.is_expected_version(), Some(false), "{libtorch:?}");
        assert_eq!(libtorch.devices.len(), cuda_devices());
    }

    #[test]
    fn versions_are_read_from_a_wheel() {
        assert_eq!(version_in_python("x\n__version__ = '2.11.0+cu130'\n"), Some("2.11.0+cu130".into()));
        assert_eq!(version_in_python("debug = False"), None);
    }
}
