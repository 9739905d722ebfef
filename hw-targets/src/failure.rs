//! What kind of failure an error is, so that the command line can turn any crate's error into its exit code.

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
}
