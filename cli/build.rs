//! Lets the binaries and tests of this package find LibTorch with no environment variable set, and bakes in which source
//! they are built from.
include!("../scripts/libtorch_rpath.rs");

use std::process::Command;

fn main() {
    find_libtorch_at_run_time();
    name_the_revision();
}

/// `OFA_REVISION`: the commit, with `+` where files differ from it; `unknown` outside of a repository or without git.
fn name_the_revision() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&root).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    let commit = git(&["rev-parse", "HEAD"]).filter(|commit| !commit.is_empty());
    let revision = commit.map_or("unknown".to_owned(), |commit| commit + if changed { "+" } else { "" });
    println!("cargo:rustc-env=OFA_REVISION={revision}");
    // Whatever makes another binary, and every commit.
    println!("cargo:rerun-if-changed=build.rs");
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
        let source = entry.path().join("src");
        if source.is_dir() {
            println!("cargo:rerun-if-changed={}", source.display());
        }
    }
}
