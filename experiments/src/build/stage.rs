//! The stages of a build, in order.

/// A stage of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The supernet is trained.
    Train,
    /// Subnets are measured on held-out images.
    Collect,
    /// The predictor is fitted to that.
    Fit,
    /// The bundle gets images for calibration without data.
    Calibrate,
    /// The sweep is searched.
    Search,
    /// What it found is measured on held-out images.
    Verify,
    /// Each of them is taken out and, where that is asked for, trained on.
    Finetune,
    /// It is written in other formats, and run by runtimes of others.
    Export,
    /// It is measured on the test images.
    Test,
    /// Table, chart and page are written.
    Report,
}

impl Stage {
    /// In order.
    pub const ALL: [Stage; 10] = [
        Stage::Train,
        Stage::Collect,
        Stage::Fit,
        Stage::Calibrate,
        Stage::Search,
        Stage::Verify,
        Stage::Finetune,
        Stage::Export,
        Stage::Test,
        Stage::Report,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Collect => "collect",
            Self::Fit => "fit",
            Self::Calibrate => "calibrate",
            Self::Search => "search",
            Self::Verify => "verify",
            Self::Finetune => "finetune",
            Self::Export => "export",
            Self::Test => "test",
            Self::Report => "report",
        }
    }

    /// Its number, from 1.
    pub fn number(self) -> usize {
        1 + Self::ALL.iter().position(|stage| *stage == self).expect("one of them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_numbered_in_order() {
        assert_eq!((Stage::Train.number(), Stage::Report.number()), (1, Stage::ALL.len()));
    }
}
