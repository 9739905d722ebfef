//! `ofa predictor predict`: top-1 of the subnets of a file.

use std::path::Path;

use predictors::ensemble::Prediction;
use predictors::resnet50::{self, ResNet50Genome};
use predictors::saved;

use crate::error::Result;
use crate::folders::predictor_file::load;
use crate::folders::spaces;

/// Predicts top-1 of every subnet of a file; `name_or_path` and `space` as in [`load`], and here also a predictor of the
/// space [`resnet50::SPACE`], for genomes of that space.
///
/// # Errors
/// As [`load`]; the file's content; a resolution that the predictor does not know.
pub fn predict(name_or_path: &str, space: Option<&str>, subnets: &Path) -> Result<Vec<Prediction>> {
    let path = Path::new(name_or_path);
    if path.is_file()
        && saved::space_of(path)?.0 == resnet50::SPACE
        && space.is_none_or(|space| space == resnet50::SPACE)
    {
        let predictor = saved::load_resnet50(path)?;
        let text = spaces::read_text(subnets)?;
        let genomes = ResNet50Genome::read_lines(&text, &subnets.display().to_string())?;
        return Ok(predictor.predict(&genomes)?);
    }
    let (space, predictor) = load(name_or_path, space)?;
    let archs = spaces::read_subnets(subnets, &space)?;
    Ok(predictor.predict(&archs)?)
}
