"""The command `ofa` of the installed package: finds LibTorch and becomes the program.

LibTorch is 0.5 GB and does not travel in the package. In this order it is taken from

1. `LIBTORCH`, where that is set;
2. the package `torch` of this Python environment, which is looked at and not imported;
3. a copy that was fetched before, `libtorch/` in the user's folder of `ofa` (`OFA_HOME`).

Where there is none, what needs none is answered by a program that is built without it; anything else has it fetched into
the user's folder first. The launcher replaces itself by the program: signals, exit code and output are the program's own.
"""

import importlib.util
import os
import shutil
import signal
import sys
from pathlib import Path

from ofa_search import fetch_libtorch
from ofa_search.fetch_libtorch import VERSION, say

PACKAGE = Path(__file__).resolve().parent
# With LibTorch and without it. Programs look for `zoo/`, the bundles that ship, in the folder above their own.
WHOLE, PLAIN = PACKAGE / "bin" / "ofa", PACKAGE / "bin" / "ofa-without-libtorch"
# Says to the program without LibTorch that the next command may have it: it then answers as the whole one would.
ON_DEMAND = "OFA_LIBTORCH_ON_DEMAND"

# Verbs that answer the same in both programs, whatever follows.
PLAIN_VERBS = {"help", "space", "completions", "man", "cite"}
# The others of which that holds, by their second word.
PLAIN_SECOND = {"target": {"list", "show", "cost", "range", "diff", "schema", "add", "rm", "rename"}}
# A search needs weights and images only if it is asked for one of these.
SEARCH_WITH_WEIGHTS = ("--out", "--to", "--verify", "--data", "--device")


class Refused(Exception):
    """What is wrong, and what to try."""


def needs_libtorch(words):
    """Whether that command line has to be answered by the whole program. In doubt it has."""
    if not words or any(word in ("-h", "--help", "-V", "--version") for word in words):
        return False
    verb, rest = words[0], words[1:]
    if verb == "search":
        # Clap takes no abbreviations, but `--out=FOLDER`.
        return any(word.split("=")[0] in SEARCH_WITH_WEIGHTS for word in rest)
    return verb not in PLAIN_VERBS and not (rest and rest[0] in PLAIN_SECOND.get(verb, ()))


def home(environment):
    """The user's folder, by the rule of the program itself (`default_home` in hw-targets/src/library.rs); None where
    nothing says."""
    if environment.get("OFA_HOME"):
        return Path(environment["OFA_HOME"])
    if environment.get("XDG_DATA_HOME"):
        return Path(environment["XDG_DATA_HOME"], "ofa")
    if environment.get("HOME"):
        return Path(environment["HOME"], ".local/share/ofa")
    return None


def is_libtorch(folder):
    return (folder / "lib" / "libtorch_cpu.so").exists()


def named(environment):
    """The folder that `LIBTORCH` names; None where it names none."""
    if not environment.get("LIBTORCH"):
        return None
    folder = Path(environment["LIBTORCH"]).absolute()
    way_out = f"set it to the folder `torch` of an installed PyTorch {VERSION}, or unset it"
    if not is_libtorch(folder):
        raise Refused(f"LIBTORCH is set to {folder}, which holds no lib/libtorch_cpu.so\nhint: {way_out}")
    version = fetch_libtorch.stated_version(folder)
    if version is None:
        say(f"note: {folder} does not state its version; {VERSION} is needed")
    elif version != VERSION:
        raise Refused(f"LIBTORCH is set to {folder}, which is version {version}; {VERSION} is needed\nhint: {way_out}")
    return folder


def installed():
    """Folder and version of the package `torch` of this environment, found without importing it; None where there is none
    with libraries."""
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):
        return None
    for folder in map(Path, (spec and spec.submodule_search_locations) or ()):
        if is_libtorch(folder):
            return folder, fetch_libtorch.stated_version(folder)
    return None


def find(environment):
    """The folder of LibTorch, or None where it has to be fetched, and what to say then."""
    folder = named(environment)
    if folder:
        return folder, ""
    found = installed()
    if found and found[1] == VERSION:
        return found[0], ""
    own = home(environment)
    if own and fetch_libtorch.stated_version(own / "libtorch") == VERSION:
        return own / "libtorch", ""
    if found:
        return None, f"this environment's torch is {found[1] or 'of unstated version'} and cannot be used"
    return None, "this environment has no torch"


def fetched(environment, why):
    """LibTorch in the user's folder, having told what that takes."""
    own = home(environment)
    if own is None:
        raise Refused(
            f"LibTorch {VERSION} is needed, and {why}\n"
            f"hint: pip install torch=={VERSION}, or set OFA_HOME to a folder that LibTorch may be fetched into"
        )
    folder = (own / "libtorch").absolute()
    say(f"LibTorch {VERSION} is needed, and {why}: fetching it into {folder} (once; 0.55 GB to download, 0.5 GB to keep;")
    say(f"`pip install torch=={VERSION}` or LIBTORCH would do instead)")
    if shutil.which("nvidia-smi"):
        say(f"note: what is fetched is for the CPU; `pip install torch=={VERSION}` uses the NVIDIA GPU")
    try:
        fetch_libtorch.fetch(folder)
    except OSError as error:
        fetch_libtorch.give_up(f"LibTorch could not be put into {folder}: {error}\nhint: set OFA_HOME to a folder elsewhere")
    return folder


def prepare(words, environment):
    """The program to become, and its environment."""
    folder, why = find(environment)
    if folder is None:
        if not needs_libtorch(words):
            return PLAIN, {**environment, ON_DEMAND: "1"}
        folder = fetched(environment, why)
    before = environment.get("LD_LIBRARY_PATH")
    libraries = str(folder / "lib")
    return WHOLE, {**environment, "LD_LIBRARY_PATH": f"{libraries}:{before}" if before else libraries}


def main():
    try:
        program, environment = prepare(sys.argv[1:], dict(os.environ))
    except Refused as refusal:
        say(f"error: {refusal}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    # Python ignores these, and what is ignored stays so in the program.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.execve(program, ["ofa", *sys.argv[1:]], environment)
