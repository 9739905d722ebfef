//! The parts of a source, and the words they go by in files of others.

/// What images are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Weights are trained on them, or they are held out.
    Train,
    /// Only reports look at them.
    Test,
}

impl Part {
    /// In a word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Train => "training",
            Part::Test => "test",
        }
    }

    /// Names of the part, those that come first being the ones that count where there are several.
    pub(super) fn words(self) -> &'static [&'static str] {
        match self {
            Part::Train => &TRAIN,
            Part::Test => &TEST,
        }
    }
}

const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 5] = ["test", "testing", "val", "valid", "validation"];
