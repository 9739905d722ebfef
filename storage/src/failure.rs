//! What every error says about itself, so that the command line can turn any crate's error into a paragraph and an exit
//! code without knowing the crate.

use std::error::Error;
use std::fmt;
use std::io;

/// Kind of a failure; [`FailureKind::exit_code`] is part of the public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Unexpected, or the operating system refused (full disk, no permission).
    Io,
    /// Wrong on the command line: unknown name, bad number, unit of the wrong dimension.
    Usage,
    /// A file's content is wrong.
    Content,
    /// No subnet fits the budget.
    Infeasible,
}

impl FailureKind {
    /// 1, 2, 3 and 4 in the order above.
    pub fn exit_code(self) -> u8 {
        match self {
            FailureKind::Io => 1,
            FailureKind::Usage => 2,
            FailureKind::Content => 3,
            FailureKind::Infeasible => 4,
        }
    }

    /// What it means that a file which the user named cannot be read: where there is no such file the name is wrong,
    /// where it cannot be decoded its content.
    pub fn of(error: &io::Error) -> FailureKind {
        match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidInput => FailureKind::Usage,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => FailureKind::Content,
            _ => FailureKind::Io,
        }
    }
}

/// An error that knows how the process should end, where it was found and what to try.
///
/// A hint names an option or a verb of the command line as a [`Setting`], printed in brackets: libraries do not know how
/// they are called, and whoever talks to the user puts the words in.
pub trait Failure: Error {
    /// Decides the exit code.
    fn kind(&self) -> FailureKind;

    /// What to try, where the message does not say it already.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Where it is, and the message without that.
    fn place(&self) -> Option<Located> {
        None
    }

    /// Every place where something is wrong, each with what is wrong there, where there may be several.
    fn places(&self) -> Vec<Located> {
        Vec::new()
    }

    /// Whether the user asked for the stop, and the state is saved.
    fn is_interruption(&self) -> bool {
        false
    }
}

/// A message apart from the place that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// File, line or row, and field: `table.csv:14: latency_ms`.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

/// Something that a user can set or call, as a hint names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setting(pub &'static str);

/// `‹device›`: a word that no user sees, because the command line puts its own in its place. Brackets that hardly any
/// file name has, since a message may name a file.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\u{2039}{}\u{203a}", self.0)
    }
}
