//! What several tests need.

use hw_targets::error::HwError;
use storage::failure::Failure;

/// Refuses with exit code 3 and all of `words`.
pub(crate) fn refused(result: Result<(), HwError>, words: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.kind().exit_code(), 3, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
}
