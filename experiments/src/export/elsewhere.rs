//! A file run by a runtime of others from Python, where there is one: onnxruntime, LiteRT or TensorFlow Lite.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use storage::file::read_bytes;

use crate::error::{Error, Result};
use crate::torch::FileForm;

/// Names the program that runs Python.
const PYTHON: &str = "OFA_PYTHON";
/// Runs `[form, file, images, shape, type, outputs]`; ends with 3 where no runtime is installed.
const PROGRAM: &str = include_str!("elsewhere.py");
const NOT_INSTALLED: i32 = 3;

/// What a runtime elsewhere computed.
pub(crate) struct Elsewhere {
    /// Its name and version.
    pub(crate) runtime: String,
    /// All outputs, as what they stand for.
    pub(crate) outputs: Vec<f32>,
    /// Of one image, the median of some, on one thread.
    pub(crate) milliseconds: f64,
    /// Outputs of which TensorFlow Lite Micro makes another number, where it is there and runs such files.
    pub(crate) differing_in_micro: Option<u64>,
}

/// Images as a file reads them.
pub(crate) enum Images<'a> {
    /// Normalised.
    Float(&'a [f32]),
    /// Bytes of pixels.
    Bytes(&'a [u8]),
}

/// Runs the file at `path` on `images` of `shape`: `[N, C, S, S]` for ONNX, `[N, S, S, C]` for TensorFlow Lite. `None`
/// where no runtime is installed.
///
/// # Errors
/// A runtime that cannot run it.
pub(crate) fn run(form: FileForm, path: &Path, images: &Images<'_>, shape: [usize; 4]) -> Result<Option<Elsewhere>> {
    let folder = tempfile::tempdir().map_err(|source| Error::Write { source })?;
    let [inputs, outputs] = ["inputs", "outputs"].map(|name| folder.path().join(name));
    let (bytes, kind) = match images {
        Images::Float(values) => (values.iter().flat_map(|value| value.to_le_bytes()).collect(), "float32"),
        Images::Bytes(values) => (values.to_vec(), "uint8"),
    };
    std::fs::write(&inputs, bytes).map_err(|source| Error::Write { source })?;
    let python = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let ran = Command::new(python)
        .args(["-c", PROGRAM, form.word()])
        .args([path, &inputs])
        .args([&shape.map(|length| length.to_string()).join(","), kind])
        .arg(&outputs)
        .stdin(Stdio::null())
        .output();
    // No Python is no runtime, either.
    let Ok(ran) = ran else { return Ok(None) };
    if ran.status.code() == Some(NOT_INSTALLED) {
        return Ok(None);
    }
    let words = || String::from_utf8_lossy(&ran.stderr).lines().last().unwrap_or_default().to_owned();
    let refused = |problem: String| Error::NotExported { file: path.to_path_buf(), problem };
    if !ran.status.success() {
        return Err(refused(format!("a runtime of Python does not run it: {}", words())));
    }
    let said = String::from_utf8_lossy(&ran.stdout);
    let said: Value = said.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let (Some(runtime), Some(milliseconds)) = (said["runtime"].as_str(), said["milliseconds"].as_f64()) else {
        return Err(refused(format!("a runtime of Python said nothing of use: {}", words())));
    };
    let bytes = read_bytes(&outputs).map_err(|error| refused(error.to_string()))?;
    let outputs = bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    let differing_in_micro = said["micro"].as_u64();
    Ok(Some(Elsewhere { runtime: runtime.to_owned(), outputs, milliseconds, differing_in_micro }))
}
