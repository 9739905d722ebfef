//! A predictor and the space it judges, by file or by bundle.

use std::path::Path;

use predictors::ensemble::AccuracyPredictor;
use predictors::saved;
use search::space::SearchSpace;

use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::folders::spaces;

/// A predictor and its space: the file at that path, or the predictor of the bundle of that name or path. `space`, if
/// given, must be the one that it was made for.
///
/// # Errors
/// Neither file nor bundle, an unknown space, wrong content.
pub fn load(name_or_path: &str, space: Option<&str>) -> Result<(SearchSpace, AccuracyPredictor)> {
    let path = Path::new(name_or_path);
    if path.is_file() {
        let space = match space {
            Some(space) => spaces::find(space)?,
            None => match saved::space_of(path)? {
                (_, Some(space)) => space,
                (name, None) => spaces::find(&name)?,
            },
        };
        let predictor = saved::load(path, &space)?;
        return Ok((space, predictor));
    }
    if path.components().count() > 1 && !path.is_dir() {
        return Err(Error::NotFound { path: path.to_path_buf() });
    }
    let bundle = Bundle::find(name_or_path)?;
    let space = match space {
        Some(space) => spaces::find(space)?,
        None => bundle.space()?,
    };
    let predictor = bundle.predictor(&space)?;
    Ok((space, predictor))
}
