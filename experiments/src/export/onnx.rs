//! A network's folder as one ONNX file, which is not written unless an independent runtime computes the same from it.

use std::io::Write;
use std::path::Path;

use deploy::agreement::{Agreement, TOLERANCE};
use deploy::onnx::{Runtime, network_model};
use network::folded::Folded;
use network::shape::NetworkShape;
use serde_json::json;
use storage::atomic::write_atomically;
use supernet::data::{self, DataSource, Loaded, PreprocessingFile};
use supernet::network::Network;
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::folders::image_settings::options;
use crate::folders::names;
use crate::folders::network_folder::NetworkFolder;
use crate::torch::OnnxFile;
use crate::training::network_data::origin_of;

/// Images that a file is checked with before it is written.
const CHECKED: usize = 100;

/// Writes the network in `folder` to `out`, checked with images of `data`, or with noise where there is none.
///
/// # Errors
/// A damaged folder, images that do not fit, [`Error::NotExported`] where the file computes something else; a
/// file that cannot be written.
pub(crate) fn export_onnx(folder: &Path, data: Option<&DataSource>, out: &Path, device: Device) -> Result<OnnxFile> {
    let NetworkFolder { shape, weights, mixed } = NetworkFolder::read(folder)?;
    let file = folder.join(names::PREPROCESSING);
    let described = if file.exists() { Some(PreprocessingFile::read(&file)?) } else { None };
    let name = out.file_stem().map_or("network".into(), |stem| stem.to_string_lossy());
    if data.is_some() && shape.input().channels != 3 {
        let reason =
            format!("it reads {}, which no colour image is; without --data it is checked with noise", shape.input());
        return Err(Error::FileInFolder { path: folder.join(names::NETWORK), reason });
    }
    let facts = facts(folder, &shape, described.as_ref());
    let bytes = network_model(&name, &Folded::new(&shape, &weights), &facts);
    let (images, checked_with) = match (data, &described) {
        (Some(data), Some(described)) => (images(data, described, &shape, device)?, data.to_string()),
        (Some(_), None) => {
            let reason = "is missing, so nothing says how images become this network's input";
            return Err(Error::FileInFolder { path: file, reason: reason.into() });
        }
        (None, _) => (noise(&shape, device), "noise".to_owned()),
    };
    let refused = |problem| Error::NotExported { file: out.to_path_buf(), problem };
    let expected = numbers(&Network::from_weights(&shape, &weights, device)?.forward(&images));
    let size = <[i64; 4]>::try_from(images.size().as_slice()).expect("images").map(|length| length as usize);
    let got = Runtime::read(&bytes, size).and_then(|runtime| runtime.run(&numbers(&images)));
    let got = got.map_err(|error| refused(error.to_string()))?;
    let agreement = Agreement::of(&expected, &got, shape.output().elements() as usize);
    if !agreement.holds() {
        return Err(refused(disagreement(&agreement)));
    }
    write_atomically(out, |file| file.write_all(&bytes)).map_err(|source| Error::Write { source })?;
    Ok(OnnxFile { file: out.to_path_buf(), bytes: bytes.len() as u64, agreement, checked_with, warnings: mixed })
}

/// On the host, row by row.
fn numbers(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_device(Device::Cpu).contiguous().flatten(0, -1)).expect("float32")
}

/// The first images of `data` as the network reads them.
fn images(data: &DataSource, described: &PreprocessingFile, shape: &NetworkShape, device: Device) -> Result<Tensor> {
    let preprocessing = described.preprocessing();
    let known = options(&preprocessing, &described.class_names, shape.output().channels as usize);
    let Loaded { images, .. } = data.test(&known)?;
    let mut batches = data::eval_batches(&images, &preprocessing, CHECKED, i64::from(shape.input().size), device)?;
    Ok(batches.next().expect("a set of images is not empty").images)
}

/// Images of nothing, as large as normalised ones.
fn noise(shape: &NetworkShape, device: Device) -> Tensor {
    let size = i64::from(shape.input().size);
    tch::manual_seed(0);
    Tensor::randn([CHECKED as i64, i64::from(shape.input().channels), size, size], (Kind::Float, Device::Cpu))
        .to_device(device)
}

/// What the file says of itself.
fn facts(folder: &Path, shape: &NetworkShape, described: Option<&PreprocessingFile>) -> Vec<(String, String)> {
    let mut facts = vec![
        ("ofa.output".to_owned(), "logits".to_owned()),
        ("ofa.origin".to_owned(), origin_of(folder).to_string()),
        ("ofa.macs".to_owned(), shape.macs().0.to_string()),
        ("ofa.parameters".to_owned(), shape.params().0.to_string()),
    ];
    if let Some(described) = described {
        let PreprocessingFile { native_size, mean, std, class_names, .. } = described;
        let input = json!({
            "layout": "NCHW", "channels": "RGB", "scale": "0 to 1, minus mean, over std", "mean": mean, "std": std,
            "size": shape.input().size, "normalised_at": native_size, "interpolation": described.interpolation,
        });
        facts.push(("ofa.input".to_owned(), input.to_string()));
        facts.push(("ofa.class_names".to_owned(), json!(class_names).to_string()));
    }
    facts
}

/// Why a file is not written.
fn disagreement(agreement: &Agreement) -> String {
    let Agreement { images, largest_error, other_class, .. } = agreement;
    format!(
        "what tract computes of it is {largest_error:.1e} of the largest output away from the network, {TOLERANCE:.0e} being \
         allowed, and of another class for {other_class} of {images} images"
    )
}

#[cfg(test)]
mod tests {
    use network::op::{Conv, Map, Op};
    use network::weights::Weights;
    use serde_json::Value;
    use supernet::data::Preprocessing;

    use super::*;

    #[test]
    fn a_network_of_grey_images_is_checked_with_noise_and_not_with_colour_images() {
        let folder = tempfile::tempdir().unwrap();
        let conv = Op::Conv(Conv { kernel: 8, ..Conv::plain(Map::new(8, 1), Map::new(1, 4)) });
        let shape = NetworkShape::chain(Map::new(8, 1), vec![("conv".into(), conv)], 1e-5).unwrap();
        let weights = Weights::random(&shape, 1);
        NetworkFolder { shape, weights, mixed: Vec::new() }.write(folder.path(), &Value::Null).unwrap();
        let classes: Vec<String> = (0..4).map(|class| class.to_string()).collect();
        let described = Preprocessing::cifar10().describe(Some(8), &classes, None);
        described.write(&folder.path().join(names::PREPROCESSING)).unwrap();
        let out = folder.path().join("grey.onnx");
        let data: DataSource = "synthetic:200,size=32,classes=4".parse().unwrap();
        let refused = export_onnx(folder.path(), Some(&data), &out, Device::Cpu).unwrap_err().to_string();
        assert!(refused.contains("no colour image") && !out.exists(), "{refused}");
        assert!(export_onnx(folder.path(), None, &out, Device::Cpu).unwrap().agreement.holds());
    }
}
