//! What measured accuracies depend on, as digests: weights, images, and how batch-norm statistics were calibrated.

use predictors::pairs::Origin;
use storage::digest::{Digest, Digester};
use supernet::data::{ImageSet, Preprocessing};

use crate::error::Result;
use crate::folders::supernet_file::digest_of;
use crate::training::open_bundle::OpenBundle;

/// What accuracies on the held-out images of `bundle`'s source depend on.
///
/// # Errors
/// A missing or damaged file, no source, images that cannot be read.
pub(crate) fn of_held_out(bundle: &OpenBundle) -> Result<Origin> {
    let (settings, images) = (bundle.settings()?, bundle.training()?);
    let (batches, size) = settings.calibration;
    let calibration = Digester::new("calibration")
        .digest(&of_images(&images.train, &settings.preprocessing)?)
        .number(batches as u64)
        .number(size as u64)
        .number(settings.seed);
    Ok(Origin {
        space: bundle.space().to_yaml(),
        weights: digest_of(&bundle.supernet()?.tensors()),
        images: of_images(&images.held_out, &settings.preprocessing)?,
        calibration: calibration.finish(),
    })
}

/// Pixels, labels, and how pixels become a network's input.
///
/// # Errors
/// An image whose file is not what it was when the set was read.
pub(crate) fn of_images(set: &ImageSet, preprocessing: &Preprocessing) -> Result<Digest> {
    // Whether images were turned, their pixels say.
    let Preprocessing { native_size, mean, std, interpolation, exif_orientation: _ } = preprocessing;
    let labels: Vec<u8> = set.labels().iter().flat_map(|label| label.to_le_bytes()).collect();
    let pixels = set.digested(Digester::new("images"))?;
    Ok(pixels
        .bytes(&labels)
        .number(*native_size as u64)
        .numbers(mean.iter().chain(std).copied().collect::<Vec<f64>>().into_iter())
        .text(&format!("{interpolation:?}"))
        .finish())
}
