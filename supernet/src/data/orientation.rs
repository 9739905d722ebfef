//! Whether images are turned as their EXIF says, as cameras and telephones mean them to be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done about an orientation that an image's file asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExifOrientation {
    /// The image is turned and mirrored as it says.
    #[default]
    Applied,
    /// Pixels are taken as they are stored: what weights of earlier versions, and those of others, were trained on.
    Ignored,
}

impl ExifOrientation {
    /// What a description that says nothing about it means: earlier versions knew no other way.
    pub(super) fn unsaid() -> ExifOrientation {
        ExifOrientation::Ignored
    }
}
