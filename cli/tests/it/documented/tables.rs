//! What is run otherwise than documents show it, and why.

/// Why a command is not run as all others are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Otherwise {
    /// It cannot be run here, for this reason.
    Never(#[expect(dead_code, reason = "for the reader")] &'static str),
    /// It is run with `OFA_SLOW_TESTS=1`, for this reason.
    Slow(#[expect(dead_code, reason = "for the reader")] &'static str),
    /// It is run where Python has this package.
    WithPackage(&'static str),
}

use Otherwise::{Never, Slow, WithPackage};

/// Commands that are not run, or not always: document, command, why.
pub(super) const NOT_RUN: &[(&str, &str, Otherwise)] = &[
    ("README.md", "scripts/test", Never("it runs these tests")),
    ("CONTRIBUTING.md", "scripts/test", Never("it runs these tests")),
    ("CONTRIBUTING.md", "git clone … ofa && cd ofa", Never("needs a network")),
    ("CONTRIBUTING.md", "pip install torch==2.11.0", Never("needs a network")),
    (
        "CONTRIBUTING.md",
        "export LIBTORCH=$(python3 -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parent)')",
        WithPackage("torch"),
    ),
    ("docs/install.md", "scripts/wheel dist", Never("minutes of building; scripts/check-wheel runs it")),
    (
        "docs/install.md",
        "pip install dist/ofa_search-0.1.0-py3-none-manylinux_2_35_x86_64.whl",
        Never("scripts/check-wheel runs it"),
    ),
    ("docs/install.md", "pip install torch==2.11.0", Never("needs a network")),
    (
        "docs/install.md",
        "export LIBTORCH=$(python3 -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parent)')",
        WithPackage("torch"),
    ),
    ("docs/install.md", "cargo install --path cli --locked", Never("minutes of building")),
    ("docs/install.md", "cargo install --path cli --locked --no-default-features", Never("minutes of building")),
    ("docs/install.md", "cp -r experiments/zoo ~/.cargo/bin/zoo", Never("writes into the user's own folder")),
    (
        "docs/search.md",
        "ofa predictor import acc_predictor.pth --space mbv3-w1.2 --out P",
        Never("needs the published predictor, which is not ours to give"),
    ),
    (
        "docs/spaces.md",
        "ofa import ofa-mbv3 CHECKPOINT.pth --space mbv3-w1.0 --out BUNDLE",
        Never("needs the published weights, which are not ours to give"),
    ),
    (
        "docs/own-data.md",
        "ofa init my-net --data folder:img --minutes 20 --threads 1",
        Never("the page's first command, shown again for what it prints"),
    ),
    ("README.md", "scripts/ofa verify found.tflite --against found --data cifar:FOLDER", WithPackage("ai_edge_litert")),
    (
        "docs/deployment.md",
        "scripts/ofa verify found.tflite --against found --data cifar:FOLDER --images 0",
        WithPackage("ai_edge_litert"),
    ),
    (
        "docs/networks.md",
        "scripts/ofa verify found.tflite --against found --data cifar:FOLDER --images 0",
        WithPackage("ai_edge_litert"),
    ),
    (
        "experiments/zoo/fbnet-cifar/MODEL_CARD.md",
        "scripts/ofa train experiments/recipes/fbnet-cifar-start.yaml --data parquet:FOLDER --device cuda:0 --out runs/fbnet-cifar-start",
        Slow("a minute each; each needs the one before"),
    ),
    (
        "experiments/zoo/fbnet-cifar/MODEL_CARD.md",
        "scripts/ofa train experiments/recipes/fbnet-cifar-shrink.yaml --data parquet:FOLDER --out runs/fbnet-cifar-shrink",
        Slow("a minute each; each needs the one before"),
    ),
    (
        "experiments/zoo/fbnet-cifar/MODEL_CARD.md",
        "scripts/ofa train experiments/recipes/fbnet-cifar-mixed.yaml --data parquet:FOLDER --device cuda:0 --out runs/fbnet-cifar-mixed",
        Slow("a minute each; each needs the one before"),
    ),
    (
        "experiments/zoo/fbnet-cifar/MODEL_CARD.md",
        "scripts/ofa train experiments/recipes/fbnet-cifar.yaml --data parquet:FOLDER --device cuda:0 --out runs/fbnet-cifar",
        Slow("a minute each; each needs the one before"),
    ),
    (
        "experiments/zoo/fbnet-cifar/MODEL_CARD.md",
        "scripts/ofa predictor collect --supernet runs/fbnet-cifar/bundle --data parquet:FOLDER -n 140 --near-front 8x20 --target pixel3 --seed 1 --out runs/fbnet-cifar/bundle/accuracy.parquet",
        Slow("a minute each; each needs the one before"),
    ),
    (
        "experiments/zoo/fbnet-cifar/MODEL_CARD.md",
        "scripts/ofa predictor fit --pairs runs/fbnet-cifar/bundle/accuracy.parquet --space fbnet-cifar --out runs/fbnet-cifar/bundle/predictor.safetensors",
        Slow("a minute each; each needs the one before"),
    ),
    (
        "experiments/zoo/fbnet-cifar/MODEL_CARD.md",
        "scripts/ofa calibration make --supernet runs/fbnet-cifar/bundle --data parquet:FOLDER --steps 300",
        Slow("a minute each; each needs the one before"),
    ),
    (
        "experiments/zoo/mcu-cifar/MODEL_CARD.md",
        "scripts/ofa calibration make --supernet runs/mcu-cifar/bundle --data parquet:FOLDER",
        Slow("half a minute; docs/training.md runs it"),
    ),
    ("docs/own-device.md", "scripts/time-operators operators/", WithPackage("onnxruntime")),
    (
        "docs/own-device.md",
        "scripts/ofa target import ort-profile operators/ --name my-phone",
        WithPackage("onnxruntime"),
    ),
];

/// Words that are given otherwise: what documents show, what is run, why.
pub(super) const CHANGED: &[(&str, &str, &str)] = &[
    ("--minutes 20", "--minutes 0.05", "time: the shortest build"),
    ("--name here --networks 100", "--name here", "time"),
    ("--name here", "--name here --networks 2 --precision 0.5", "time: each operator a few times"),
    ("-n 1000 ", "-n 60 ", "time: fewer measured subnets"),
    ("-n 140 --near-front 8x20", "-n 60 --near-front 1x5", "time: fewer measured subnets"),
    (
        "--supernet runs/mcu-cifar --data cifar:FOLDER --out",
        "--supernet runs/mcu-cifar --data cifar:FOLDER -n 60 --out",
        "time: fewer measured subnets",
    ),
    (" --steps 300", "", "time: fewer updates"),
    ("calibration make ", "calibration make --steps 2 ", "time: fewer updates"),
    ("calibration compare ", "calibration compare -n 2 ", "time: fewer subnets"),
    (
        "--network found --target jetson-tx2 --energy 20mJ",
        "--network found --target jetson-tx2 --energy 43mJ --short-steps 1 --epochs 1",
        "time: a few steps of refinement, and hardly any training",
    ),
    ("--latency 500us", "--latency 500ms", "nobody knows how fast this machine is"),
    ("--device cuda:0 ", "", "there may be no GPU"),
];

/// Documents that are of use without LibTorch.
pub(super) const WITHOUT_LIBTORCH: &[&str] = &[
    "docs/command-line.md",
    "docs/own-device.md",
    "docs/search.md",
    "docs/spaces.md",
    "docs/sweeps.md",
    "docs/targets.md",
];

/// Verbs in those documents that need it.
pub(super) const NEEDS_LIBTORCH: &[&str] =
    &["data", "export", "import", "predictor", "target measure", "search --target here", "report run"];
