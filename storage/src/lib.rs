//! Files that appear whole or not at all, arrays and tables in them, and what every crate's errors have in common.
//!
//! ```
//! use std::io::Write;
//!
//! use storage::atomic::write_atomically;
//! use storage::failure::FailureKind;
//!
//! let path = std::env::temp_dir().join("storage-example.txt");
//! write_atomically(&path, |file| file.write_all(b"whole"))?;
//! assert_eq!(std::fs::read(&path)?, b"whole");
//! assert_eq!(FailureKind::Content.exit_code(), 3);
//! # std::fs::remove_file(path)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! This crate knows no network, no device and no search space.

pub mod arrays;
pub mod atomic;
pub mod digest;
pub mod failure;
pub mod file;
pub mod guard;
pub mod hold;
pub mod json;
pub mod names;
pub mod parquet_file;
pub mod table;
mod text;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    proptest! {
        /// What is gone on with, compared or exported is what was written, to the bit.
        #[test]
        fn numbers_in_json_are_read_as_they_were_written(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let read: Value = serde_json::from_str(&Value::from(number).to_string()).unwrap();
            prop_assert_eq!(read.as_f64().map(f64::to_bits), Some(bits));
        }
    }
}
