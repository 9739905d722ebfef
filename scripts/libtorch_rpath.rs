// Included by the `build.rs` of every package whose binaries or tests call LibTorch.
//
// The rpath that torch-sys passes on reaches only its direct dependents, so each package adds its own: the folder it
// was built against, then folders relative to the binary, for a checkout or an installation that was moved. An rpath
// written this way is a RUNPATH: LD_LIBRARY_PATH still comes first.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn find_libtorch_at_run_time() {
    for name in ["LIBTORCH", "LIBTORCH_LIB"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let uses_torch = env::var_os("CARGO_FEATURE_TORCH").is_some() || env::var("CARGO_PKG_NAME").unwrap() == "supernet";
    let Some(root) = env::var_os("LIBTORCH_LIB").or_else(|| env::var_os("LIBTORCH")) else { return };
    if !uses_torch {
        return;
    }
    let lib = Path::new(&root).join("lib");
    let lib = fs::canonicalize(&lib).unwrap_or(lib);
    add_rpath(&lib.to_string_lossy());
    let here = if env::var("CARGO_CFG_TARGET_OS").unwrap() == "macos" { "@loader_path" } else { "$ORIGIN" };
    for relative in ["libtorch/lib", "../libtorch/lib", "../../libtorch/lib", "../../../libtorch/lib"] {
        add_rpath(&format!("{here}/{relative}"));
    }
    #[cfg(unix)]
    reach_doctests(&lib);
}

// One argument at a time, so that a comma in a path does no harm.
fn add_rpath(folder: &str) {
    for argument in ["-Xlinker", "-rpath", "-Xlinker", folder] {
        println!("cargo:rustc-link-arg={argument}");
    }
}

// Cargo passes no link arguments to doctests, but runs them (and tests and `cargo run`) with the build scripts' search
// folders on the library path, provided that these lie in the target folder. A link there will do.
#[cfg(unix)]
fn reach_doctests(lib: &Path) {
    let link = PathBuf::from(env::var_os("OUT_DIR").unwrap()).join("libtorch");
    let _ = fs::remove_file(&link);
    if std::os::unix::fs::symlink(lib, &link).is_ok() {
        println!("cargo:rustc-link-search=native={}", link.display());
    }
}
