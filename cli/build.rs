//! Lets the binaries and tests of this package find LibTorch with no environment variable set.
include!("../scripts/libtorch_rpath.rs");

fn main() {
    find_libtorch_at_run_time();
}
