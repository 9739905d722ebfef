"""Tests of the launcher: where it finds LibTorch, what it refuses, and that it becomes the program.

    python3 -B scripts/python/test_launcher.py
"""

import contextlib
import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
FETCH = HERE.parent / "fetch_libtorch.py"
sys.path.insert(0, str(HERE))
# `scripts/wheel` copies it into the package.
spec = importlib.util.spec_from_file_location("ofa_search.fetch_libtorch", FETCH)
sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[spec.name])

from ofa_search import fetch_libtorch, launcher  # noqa: E402

# Says what it was started with and ends by its first word.
PROGRAM = """#!/bin/sh
printf '%s\\n' "$0" "$LD_LIBRARY_PATH" "$OFA_LIBTORCH_ON_DEMAND" "$@"
case "$1" in
    exit) exit "$2" ;;
    wait) exec sleep 60 ;;
esac
"""


def libtorch_in(folder, version="2.11.0+cpu"):
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "libtorch_cpu.so").touch()
    if version:
        (folder / "version.py").write_text(f"__version__ = '{version}'\n")
    return folder


class LauncherTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.environment = {"OFA_HOME": str(self.folder / "home")}
        self.has_torch(None)

    def has_torch(self, version, libraries=True):
        """A package `torch` in the environment that ends the process when it is imported; none for None."""
        site = self.folder / "site"
        shutil.rmtree(site, ignore_errors=True)
        if version:
            package = libtorch_in(site / "torch", version) if libraries else site / "torch"
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").write_text("raise SystemExit('imported')")
        # Nothing of the Python that runs the tests.
        paths = [str(site)] + [path for path in sys.path if "-packages" not in path]
        patched = mock.patch.object(sys, "path", paths)
        patched.start()
        self.addCleanup(patched.stop)
        importlib.invalidate_caches()

    def find(self):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            return (*launcher.find(self.environment), said.getvalue())

    def refused(self, *words):
        with self.assertRaises(launcher.Refused) as caught:
            launcher.prepare(["doctor"], self.environment)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_libtorch_is_taken_from_the_variable_then_torch_then_an_earlier_copy(self):
        self.assertEqual(self.find(), (None, "this environment has no torch", ""))
        own = libtorch_in(self.folder / "home" / "libtorch")
        self.assertEqual(self.find()[0], own)
        self.has_torch("2.11.0+cu130")
        self.assertEqual(self.find()[0], self.folder / "site" / "torch")
        self.assertNotIn("torch", sys.modules)
        self.environment["LIBTORCH"] = str(libtorch_in(self.folder / "other"))
        self.assertEqual(self.find()[0], self.folder / "other")
        self.environment["LIBTORCH"] = ""
        self.assertEqual(self.find()[0], self.folder / "site" / "torch")

    def test_another_torch_is_named_and_not_used(self):
        self.has_torch("2.9.1+cu128")
        self.assertEqual(self.find(), (None, "this environment's torch is 2.9.1 and cannot be used", ""))
        self.has_torch("2.11.0", libraries=False)
        self.assertEqual(self.find()[1], "this environment has no torch")
        libtorch_in(self.folder / "home" / "libtorch", "2.10.0")
        self.assertEqual(self.find()[0], None)

    def test_a_variable_that_names_something_else_is_refused(self):
        self.environment["LIBTORCH"] = str(self.folder)
        self.refused(str(self.folder), "holds no lib/libtorch_cpu.so", "hint: ", "unset it")
        self.environment["LIBTORCH"] = str(libtorch_in(self.folder / "old", "2.9.1"))
        self.refused("is version 2.9.1; 2.11.0 is needed", "hint: ")
        self.environment["LIBTORCH"] = str(libtorch_in(self.folder / "silent", None))
        self.assertEqual(self.find()[0], self.folder / "silent")
        self.assertIn("does not state its version", self.find()[2])

    def test_the_users_folder_is_that_of_the_program(self):
        for environment, folder in [
            ({"OFA_HOME": "/a", "XDG_DATA_HOME": "/b", "HOME": "/c"}, "/a"),
            ({"OFA_HOME": "", "XDG_DATA_HOME": "/b", "HOME": "/c"}, "/b/ofa"),
            ({"HOME": "/c"}, "/c/.local/share/ofa"),
        ]:
            self.assertEqual(launcher.home(environment), Path(folder))
        self.environment = {}
        self.refused("this environment has no torch", "pip install torch==2.11.0", "OFA_HOME")

    def test_what_needs_no_libtorch_has_none_fetched(self):
        for line in [
            "", "--version", "--help", "train --help", "help train", "space list", "completions bash", "target list",
            "target add a.csv --name a", "search --target pixel3 --energy 50mJ", "search --macs 5M --format json",
        ]:
            self.assertFalse(launcher.needs_libtorch(line.split()), line)
            program, environment = launcher.prepare(line.split(), self.environment)
            self.assertEqual((program, environment[launcher.ON_DEMAND]), (launcher.PLAIN, "1"))
        for line in [
            "doctor", "train r.yaml --out run", "target", "target measure --name here", "--quiet search --macs 5M",
            "search --macs 5M --out found", "search --macs 5M --out=found", "search --macs 5M --verify 5 --data folder:a",
            "report run", "predictor fit --pairs p --out q",
        ]:
            self.assertTrue(launcher.needs_libtorch(line.split()), line)

    def test_it_is_fetched_once_into_the_users_folder_and_told(self):
        own = self.folder / "home" / "libtorch"
        with mock.patch.object(fetch_libtorch, "fetch", side_effect=libtorch_in) as fetch:
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                program, environment = launcher.prepare(["doctor"], self.environment)
            self.assertEqual((program, environment["LD_LIBRARY_PATH"]), (launcher.WHOLE, f"{own}/lib"))
            for word in [str(own), "0.55 GB", "this environment has no torch", "pip install torch==2.11.0"]:
                self.assertIn(word, said.getvalue())
            self.environment["LD_LIBRARY_PATH"] = "/of/the/user"
            environment = launcher.prepare(["search", "--macs", "5M"], self.environment)[1]
            self.assertEqual(environment["LD_LIBRARY_PATH"], f"{own}/lib:/of/the/user")
            fetch.assert_called_once_with(own)

    def package(self):
        """The package as it is installed, but for its programs."""
        package = self.folder / "installed" / "ofa_search"
        shutil.copytree(HERE / "ofa_search", package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(FETCH, package)
        (package / "bin").mkdir()
        for name in ("ofa", "ofa-without-libtorch"):
            (package / "bin" / name).write_text(PROGRAM)
            (package / "bin" / name).chmod(0o755)
        self.environment |= {"PYTHONPATH": str(package.parent), "PATH": os.environ["PATH"]}
        self.environment["LIBTORCH"] = str(libtorch_in(self.folder / "libtorch"))
        return [sys.executable, "-B", "-S", "-m", "ofa_search"]

    def test_the_launcher_becomes_the_program(self):
        command = self.package()
        done = subprocess.run([*command, "exit", "4", "a b"], env=self.environment, cwd=self.folder, capture_output=True, text=True)
        program = self.folder / "installed" / "ofa_search" / "bin" / "ofa"
        lines = [str(program.resolve()), f"{self.folder}/libtorch/lib", "", "exit", "4", "a b"]
        self.assertEqual((done.returncode, done.stdout.splitlines(), done.stderr), (4, lines, ""))
        self.environment["LIBTORCH"] = "/nowhere"
        done = subprocess.run([*command, "exit", "4"], env=self.environment, cwd=self.folder, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("error: LIBTORCH is set to /nowhere", done.stderr)

    def test_signals_reach_the_program(self):
        command = self.package()
        # A shell has its background jobs ignore Ctrl-C, and whoever they start.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        child = subprocess.Popen([*command, "wait"], env=self.environment, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        self.assertTrue(child.stdout.readline().endswith("/bin/ofa\n"))
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.wait(timeout=10), -signal.SIGINT)
        child.stdout.close()


if __name__ == "__main__":
    unittest.main()
