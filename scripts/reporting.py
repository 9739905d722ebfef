"""What the report scripts share: asking `ofa`, measuring every subnet once, and differences with their errors."""

import hashlib, json, math, pathlib, statistics, subprocess, sys, tempfile


class Ofa:
    """`ofa`'s answers about one bundle, which is given by name or path."""

    def __init__(self, binary, bundle):
        self.binary, self.bundle = binary, bundle
        folder = pathlib.Path(bundle)
        self.folder = folder if folder.is_dir() else pathlib.Path(__file__).parents[1] / "experiments/zoo" / bundle
        self.space = str(self.folder / "space.yaml")

    def __call__(self, *words, subnets=None):
        """One object per line of the answer; `subnets` are handed over as a file."""
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            if subnets is not None:
                file.write("".join(json.dumps(subnet) + "\n" for subnet in subnets))
                file.flush()
                words = (*words, "--subnets", file.name)
            done = subprocess.run([self.binary, *words, "--format", "json", "--quiet"], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"ofa {' '.join(words)}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def search(self, *words):
        return self("search", "--supernet", self.bundle, *words)[0]

    def costs(self, target, subnets):
        return self("target", "cost", target, "--space", self.space, subnets=subnets) if subnets else []

    def predicted(self, subnets):
        return [row["top1"] for row in self("predictor", "predict", "--predictor", self.bundle, subnets=subnets)]


class Measured:
    """Which images a subnet gets right, kept in FOLDER/measured.jsonl: a script that was stopped goes on from there."""

    def __init__(self, ofa, data, folder):
        self.ofa, self.data = ofa, data
        weights = hashlib.sha256((ofa.folder / "supernet.safetensors").read_bytes()).hexdigest()[:16]
        self.of = {"weights": weights, "data": data}
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        self.file = pathlib.Path(folder) / "measured.jsonl"
        # The last line of a killed run may be cut off.
        whole = self.file.read_bytes().rpartition(b"\n")[0] if self.file.exists() else b""
        self.file.write_bytes(whole + b"\n" if whole else b"")
        self.known = {self.key(row): row["right"] for row in map(json.loads, whole.splitlines())}

    @staticmethod
    def key(row):
        return json.dumps([row[field] for field in ("weights", "data", "part", "subnet")], sort_keys=True)

    def right(self, subnets, part="test"):
        """For each subnet a list with 1 for every image that it gets right and 0 for the others."""
        rows = [{**self.of, "part": part, "subnet": subnet} for subnet in subnets]
        missing = {self.key(row): row for row in rows if self.key(row) not in self.known}
        for at, (key, row) in enumerate(missing.items()):
            print(f"measuring {part} {at + 1} of {len(missing)}", file=sys.stderr)
            answer, = self.ofa("eval", "--supernet", self.ofa.bundle, "--data", self.data, "--part", part, "--per-image",
                               subnets=[row["subnet"]])
            self.known[key] = answer["right"]
            with self.file.open("a") as file:
                file.write(json.dumps({**row, "top1": answer["top1"], "right": answer["right"]}) + "\n")
        return [[int(bit) for bit in self.known[self.key(row)]] for row in rows]


def mean_and_error(values):
    """The mean, and its standard error."""
    mean = sum(values) / len(values)
    return mean, math.sqrt((sum(value * value for value in values) / len(values) - mean**2) / len(values))


def average(lists):
    """Image by image, the mean of several lists: subnets share their images, so errors of means are taken from this."""
    return [sum(values) / len(values) for values in zip(*lists)]


def percent(fraction):
    return f"{100 * fraction:.2f} %"


def points(mean, error):
    return f"{100 * mean:+.2f} ± {100 * error:.2f}"


def shape(subnet):
    """A subnet in a few words: input, number of blocks, mean kernel and mean expand ratio."""
    blocks = [block for stage in subnet["stages"] for block in stage]
    kernel, expand = (statistics.mean(block[field] for block in blocks) for field in ("kernel", "expand"))
    return f"{subnet['resolution']} px, {len(blocks)} blocks, k{kernel:.1f} e{expand:.1f}"


def budgets_along(least, most, count):
    """`count` budgets in equal ratios above `least`; the last is `most`, and all are rounded up to four digits."""
    def up(value):
        unit = 10.0 ** (math.floor(math.log10(value)) - 3)
        return float(f"{math.ceil(value / unit - 1e-9) * unit:.4g}")
    return [up(least * (most / least) ** ((step + 1) / count)) for step in range(count)]


def table(header, rows):
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)
