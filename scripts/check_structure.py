"""Checks the shape of the workspace: crates depend on each other only along the arrows of ARCHITECTURE.md, and no two files
of a crate import each other in a loop. Tests may look anywhere.

    python3 scripts/check_structure.py [ROOT]
"""

import re
import sys
from pathlib import Path

# What each crate may use of the others; tools in scripts/ may use everything, and nobody uses them but tests.
ARROWS = {
    "storage": set(),
    "network": {"storage"},
    "hw-targets": {"network", "storage"},
    "search": {"hw-targets", "network", "storage"},
    "predictors": {"search", "hw-targets", "network", "storage"},
    "supernet": {"search", "hw-targets", "network", "storage"},
    "deploy": {"network", "storage"},
    "experiments": {"deploy", "supernet", "predictors", "search", "hw-targets", "network", "storage"},
    "cli": {"experiments", "deploy", "supernet", "predictors", "search", "hw-targets", "network", "storage"},
}
PACKAGES = {"ofa": "cli"}


def wrong_arrows(root):
    """Dependencies that no arrow allows, as (crate, dependency)."""
    for crate, allowed in ARROWS.items():
        text = (root / crate / "Cargo.toml").read_text()
        section = re.search(r"^\[dependencies\]\n(.*?)(?=^\[|\Z)", text, re.M | re.S)
        named = re.findall(r"^([\w-]+)", section.group(1) if section else "", re.M)
        for name in named:
            name = PACKAGES.get(name, name)
            if (name in ARROWS or (root / "scripts" / name).is_dir()) and name not in allowed:
                yield crate, name


def modules(source):
    """Module path (a tuple of names) of every file of a crate that is not a test."""
    for file in sorted(source.rglob("*.rs")):
        parts = file.relative_to(source).with_suffix("").parts
        if any(part.endswith("tests") or part == "tests" for part in parts):
            continue
        if parts[-1] in ("mod", "lib", "main"):
            parts = parts[:-1]
        yield parts, file


def imports(path, text, known):
    """Modules of `known` that the module at `path` names after `crate::` or `super::`."""
    text = text.split("#[cfg(test)]\nmod ")[0]
    text = re.sub(r"//[^\n]*", "", text)
    # `crate::{a, b::c}` names both.
    flat = re.sub(
        r"\b((?:crate|super)(?:::\w+)*)::\{([^{}]*)\}",
        lambda m: " ".join(f"{m.group(1)}::{name.strip()}" for name in m.group(2).split(",")),
        text,
    )
    for found in re.finditer(r"\b(crate|super)((?:::\w+)+)", flat):
        names = found.group(2).split("::")[1:]
        base = () if found.group(1) == "crate" else path[:-1]
        while names and names[0] == "super":
            base, names = base[:-1], names[1:]
        full = base + tuple(names)
        for length in range(len(full), 0, -1):
            if full[:length] in known:
                if full[:length] != path:
                    yield full[:length]
                break


def loops(graph):
    """Groups of modules that reach each other (Tarjan 1972)."""
    order, low, stack, groups = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                groups.append(sorted("::".join(member) for member in group))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return groups


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    sys.setrecursionlimit(10_000)
    faults = 0
    for crate, name in wrong_arrows(root):
        print(f"error: {crate} depends on {name}, which no arrow of ARCHITECTURE.md allows")
        faults += 1
    for crate in ARROWS:
        known = dict(modules(root / crate / "src"))
        graph = {path: set(imports(path, file.read_text(), known)) for path, file in known.items()}
        for group in loops(graph):
            print(f"error: {crate}: these files import each other in a loop: {', '.join(group)}")
            faults += 1
    if faults:
        sys.exit(1)
    print(f"{len(ARROWS)} crates: all arrows point one way, and no files import each other in a loop")


if __name__ == "__main__":
    main()
