//! A file run by a runtime of others from Python, where there is one: onnxruntime, LiteRT or TensorFlow Lite.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use storage::file::read_bytes;

use crate::error::{Error, Result};
use crate::torch::FileForm;

/// Names the program that runs Python.
const PYTHON: &str = "OFA_PYTHON";
/// Runs `[form, file, images, shape, type, outputs, kernels]`; ends with 3 where no runtime is installed.
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

/// Which of a runtime's kernels compute, where it has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// Those that define what is right, slowly; TensorFlow Lite Micro is held against them.
    Reference,
    /// Those that an application runs.
    Fast,
}

/// Why nothing ran a file.
pub(crate) enum Missing {
    /// No Python, or one without a runtime for it: which, and what it lacks.
    Runtime(String),
    /// A runtime does not run this file: what it said.
    Refused(String),
}

/// Runs the file at `path` on `images` of `shape`: `[N, C, S, S]` for ONNX, `[N, S, S, C]` for TensorFlow Lite.
///
/// # Errors
/// A file that cannot be written; else what was missing.
pub(crate) fn run(
    form: FileForm,
    path: &Path,
    images: &Images<'_>,
    shape: [usize; 4],
    kernels: Kernels,
) -> Result<std::result::Result<Elsewhere, Missing>> {
    let folder = tempfile::tempdir().map_err(|source| Error::Write { source })?;
    let [inputs, outputs] = ["inputs", "outputs"].map(|name| folder.path().join(name));
    let (bytes, kind) = match images {
        Images::Float(values) => (values.iter().flat_map(|value| value.to_le_bytes()).collect(), "float32"),
        Images::Bytes(values) => (values.to_vec(), "uint8"),
    };
    std::fs::write(&inputs, bytes).map_err(|source| Error::Write { source })?;
    let named = std::env::var_os(PYTHON);
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let ran = Command::new(&python)
        .args(["-c", PROGRAM, form.word()])
        .args([path, &inputs])
        .args([&shape.map(|length| length.to_string()).join(","), kind])
        .arg(&outputs)
        .arg(match kernels {
            Kernels::Reference => "reference",
            Kernels::Fast => "fast",
        })
        .stdin(Stdio::null())
        .output();
    let python = match named {
        Some(_) => format!("{} (of {PYTHON})", python.display()),
        None => python.display().to_string(),
    };
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => return Ok(Err(Missing::Runtime(format!("{python} does not start: {error}")))),
    };
    if ran.status.code() == Some(NOT_INSTALLED) {
        let wanted = match form {
            FileForm::Onnx => "no onnxruntime",
            FileForm::Tflite => "no LiteRT (ai-edge-litert)",
        };
        return Ok(Err(Missing::Runtime(format!("{python} has {wanted}"))));
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("without a word").to_owned();
    if !ran.status.success() {
        return Ok(Err(Missing::Refused(format!("{python}: {said}"))));
    }
    let answer = String::from_utf8_lossy(&ran.stdout);
    let answer: Value = answer.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let (Some(runtime), Some(milliseconds)) = (answer["runtime"].as_str(), answer["milliseconds"].as_f64()) else {
        return Ok(Err(Missing::Runtime(format!("{python} answered nothing of use"))));
    };
    let Ok(bytes) = read_bytes(&outputs) else {
        return Ok(Err(Missing::Runtime(format!("{python} wrote no outputs"))));
    };
    let outputs = bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    let differing_in_micro = answer["micro"].as_u64();
    Ok(Ok(Elsewhere { runtime: runtime.to_owned(), outputs, milliseconds, differing_in_micro }))
}
