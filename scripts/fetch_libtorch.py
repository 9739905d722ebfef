#!/usr/bin/env python3
"""Puts LibTorch 2.11.0 for the CPU into FOLDER: headers and libraries out of the PyTorch wheel.

Usage: fetch_libtorch.py FOLDER

Needs CPython 3.9 or newer with pip (or venv) and about 1.5 GB of free disk while it works, 0.5 GB afterwards. All work
is done in FOLDER.tmp and the result renamed into place, so a set-up that is killed leaves nothing half-done; whole
wheels that it had downloaded are used the next time.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

VERSION = "2.11.0"

# PyTorch's default wheel is the CUDA one. Its CPU library still names the CUDA runtime and the profiling interface, in
# the versions that `cuda-toolkit==13.0.2` stands for. Wheels for CPython 3.12 serve every Python: nothing in them that
# depends on Python is kept.
WHEELS = {
    "torch==2.11.0": {
        "x86_64": "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
        "aarch64": "f99924682ef0aa6a4ab3b1b76f40dc6e273fca09f367d15a524266db100a723f",
    },
    "nvidia-cuda-runtime==13.0.96": {
        "x86_64": "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        "aarch64": "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
    },
    "nvidia-cuda-cupti==13.0.85": {
        "x86_64": "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        "aarch64": "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151",
    },
}
# pip matches these tags exactly, so each one in use is named.
PLATFORMS = ["manylinux_2_28", "manylinux_2_27", "manylinux_2_25", "manylinux_2_17", "manylinux2014"]

# Libraries that only CUDA or Python need; without them the CPU half stands alone.
DROPPED = ("libtorch_cuda", "libtorch_nvshmem", "libc10_cuda", "libtorch_python", "libcaffe2_nvrtc", "libshm")


def say(text):
    print(text, file=sys.stderr, flush=True)


def give_up(text):
    say(f"error: {text}")
    sys.exit(1)


def main():
    if len(sys.argv) != 2:
        give_up("usage: fetch_libtorch.py FOLDER")
    fetch(Path(sys.argv[1]))


def fetch(folder):
    """Puts LibTorch into `folder`; ends the process, having said why, where that cannot be done."""
    folder = folder.resolve()
    machine = check_machine()
    work = folder.with_name(folder.name + ".tmp")
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        wait_for(lock)
        if stated_version(folder) == VERSION:
            shutil.rmtree(work, ignore_errors=True)  # another set-up finished while this one waited
            return
        check_disk(work)
        wheels = download(work, machine)
        fresh = work / "libtorch"
        shutil.rmtree(fresh, ignore_errors=True)
        say("unpacking LibTorch …")
        for wheel in wheels:
            unpack(wheel, fresh)
        (fresh / "lib" / "libtorch.so").symlink_to("libtorch_cpu.so")
        if stated_version(fresh) != VERSION:
            give_up(f"the wheels hold LibTorch {stated_version(fresh)}, not {VERSION}")
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(fresh, folder)
        shutil.rmtree(work)
    say(f"LibTorch {VERSION} is in {folder}")


def check_machine():
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    if sys.version_info < (3, 9):
        give_up(f"Python 3.9 or newer is needed, this is {platform.python_version()}")
    libc, libc_version = platform.libc_ver()
    known = sys.platform == "linux" and machine in ("x86_64", "aarch64") and libc == "glibc"
    if not known:
        give_up(
            f"no LibTorch is known for this system ({sys.platform}, {machine}, {libc or 'no glibc'})\n"
            f"hint: set LIBTORCH to the folder `torch` of an installed PyTorch {VERSION}"
        )
    if tuple(int(part) for part in libc_version.split(".")[:2]) < (2, 28):
        give_up(f"LibTorch {VERSION} needs glibc 2.28 or newer, this system has {libc_version}")
    return machine


def check_disk(work):
    free = shutil.disk_usage(work).free
    if free < 1.5e9:
        give_up(f"{work} has {free / 1e9:.1f} GB of free disk; setting up LibTorch takes 1.5 GB for a moment")


def wait_for(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another set-up of LibTorch is running; waiting for it …")
        fcntl.flock(lock, fcntl.LOCK_EX)


def stated_version(folder):
    """The release in `version.py`, without its `+cu130`; None where there is no such file."""
    try:
        lines = (folder / "version.py").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("__version__"):
            return line.split("=", 1)[1].strip().strip("'\"").split("+")[0]
    return None


def download(work, machine):
    wheels = work / "wheels"
    requirements = work / "requirements.txt"
    requirements.write_text(
        "".join(f"{name} --hash=sha256:{hashes[machine]}\n" for name, hashes in WHEELS.items())
    )
    command = [*pip(work), "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--python-version=3.12"]
    command += ["--implementation=cp", "--abi=cp312", "--disable-pip-version-check"]
    command += [f"--platform={tag}_{machine}" for tag in PLATFORMS]
    command += ["--requirement", str(requirements), "--dest", str(wheels)]
    say(f"downloading LibTorch {VERSION} for {machine} (three wheels, about 0.55 GB; only this once) …")
    # pip's own talk goes to stderr, so that the caller's stdout stays clean; its temporary files lie here too, as /tmp
    # is often too small for them.
    environment = {**os.environ, "TMPDIR": str(work)}
    if subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, env=environment).returncode != 0:
        give_up(
            "LibTorch could not be downloaded; pip's message is above\n"
            "hint: check the network (pip reads HTTPS_PROXY and PIP_INDEX_URL) and run the command again,\n"
            f"      or set LIBTORCH to the folder `torch` of an installed PyTorch {VERSION}"
        )
    return sorted(wheels.glob("*.whl"))


def pip(work):
    """pip of this Python, or, where it has none, of a virtual environment made for the purpose."""
    own = [sys.executable, "-m", "pip"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if subprocess.run([*own, "--version"], **quiet).returncode == 0:
        return own
    venv = work / "venv"
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], **quiet).returncode == 0:
        return [str(venv / "bin" / "python"), "-m", "pip"]
    install = os.environ.get("OFA_INSTALL_PIP", "sudo apt-get install -y python3-pip")
    give_up(f"Python's pip is missing (and so is venv)\nhint: {install}")


def unpack(wheel, fresh):
    """Headers, libraries and version of a wheel, with all libraries in one folder, where their rpath finds them."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            target = place(member.filename)
            if target is None or member.is_dir():
                continue
            path = fresh / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(path, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def place(name):
    """Where a wheel's file goes in the LibTorch folder; None for what is left behind."""
    file = name.rsplit("/", 1)[-1]
    if name == "torch/version.py" or name.startswith("torch/include/"):
        return name[len("torch/"):]
    if name.startswith("torch/lib/") and ".so" in file:
        kept = not file.startswith(DROPPED) and file != "libtorch.so"
        return name[len("torch/"):] if kept and name.count("/") == 2 else None
    if file.startswith(("libcudart.so", "libcupti.so")) or name.startswith("torch.libs/"):
        return f"lib/{file}"
    return None


if __name__ == "__main__":
    main()
