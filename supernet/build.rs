//! Compiles `native/` (training on the CPU) against LibTorch's headers, and lets the tests of this package find LibTorch
//! with no environment variable set.
include!("../scripts/libtorch_rpath.rs");

fn main() {
    find_libtorch_at_run_time();
    #[cfg(feature = "torch")]
    native::compile();
}

#[cfg(feature = "torch")]
mod native {
    use std::env;
    use std::path::PathBuf;
    use std::thread;

    const AVX512: &[&str] = &["-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"];

    /// The files that are compiled for an instruction set of their own, which is asked for at run time.
    const X86_KERNELS: [(&str, &[&str], &[&str]); 3] =
        [("avx2", &["-mavx2", "-mfma"], &[]), ("avx512", AVX512, &[]), ("avx512bf16", AVX512, &["-mavx512bf16"])];

    const CALLING_LIBTORCH: [&str; 8] =
        ["api", "depthwise", "gradients", "layers", "norm", "pointwise", "sgd", "store"];

    pub(crate) fn compile() {
        println!("cargo:rerun-if-changed=native");
        for name in ["LIBTORCH_INCLUDE", "LIBTORCH_CXX11_ABI"] {
            println!("cargo:rerun-if-env-changed={name}");
        }
        // Lints need no objects, and cargo keeps what it does for them apart from builds.
        if env::var_os("CLIPPY_ARGS").is_some() {
            return;
        }
        let x86 = env::var("CARGO_CFG_TARGET_ARCH").unwrap() == "x86_64";
        let linux = env::var("CARGO_CFG_TARGET_OS").unwrap() == "linux";
        let file = |name: &str| format!("native/{name}.cpp");

        let mut common = cc::Build::new();
        // Optimised in every profile: it is there for its speed.
        common.cpp(true).pic(true).std("c++17").opt_level(3).warnings(true).extra_warnings(true);
        // GCC 12 warns of variables that its own AVX-512 headers leave undefined, and of passing vectors that are wider
        // than the target's, which no function of ours does.
        common.flag_if_supported("-Wno-maybe-uninitialized").flag_if_supported("-Wno-psabi");

        // One file takes half a minute: side by side, as far as there are cores.
        let mut groups: Vec<(cc::Build, Vec<String>)> = Vec::new();
        for (name, flags, more) in X86_KERNELS.into_iter().filter(|_| x86) {
            let mut build = common.clone();
            flags.iter().chain(more).for_each(|flag| {
                build.flag(flag);
            });
            groups.push((build, vec![file(&format!("kernels_{name}"))]));
        }
        groups.push((common.clone(), ["kernels_portable", "dispatch"].map(file).to_vec()));

        let mut build = common.clone();
        // As torch-sys looks for them.
        let root = env::var_os("LIBTORCH_INCLUDE").or_else(|| env::var_os("LIBTORCH")).unwrap_or_else(|| "/usr".into());
        let include = PathBuf::from(root).join("include");
        // As system headers: their warnings are not ours.
        for folder in [&include, &include.join("torch/csrc/api/include")] {
            build.flag("-isystem").flag(folder);
        }
        let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
        build.define("_GLIBCXX_USE_CXX11_ABI", abi.as_str());
        if linux {
            // LibTorch's `parallel_for` is compiled into whoever calls it.
            build.flag("-fopenmp");
        }
        groups.push((build, CALLING_LIBTORCH.map(file).to_vec()));

        // In the order of the groups, so that the library is the same whoever is first.
        let objects: Vec<PathBuf> = thread::scope(|scope| {
            let compile = |(mut build, files): (cc::Build, Vec<String>)| build.files(files).compile_intermediates();
            let threads: Vec<_> = groups.into_iter().map(|group| scope.spawn(move || compile(group))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("cc ends the program where it fails")).collect()
        });
        common.objects(objects).compile("ofa_native");
        if linux {
            println!("cargo:rustc-link-lib=gomp");
        }
    }
}
