"""Benchmarks: `python -m tests.bench [NAME…] [--json] [options of the benchmark]`, by default all of them.

One JSON object a name on stdout, with `--json` on one line each; progress goes to stderr.
Options after the names go to every benchmark named.
Example: python -m tests.bench predict --json --threads 2
"""

import argparse
import json
import sys
from importlib import import_module

BENCHMARKS = {
    "train": "tests.bench.train",
    "masks": "tests.bench.masks",
    "predict": "tests.bench.predict",
    "predict_gpu": "tests.bench.predict_gpu",
    "predict_memory": "tests.bench.predict_memory",
    "claim": "tests.bench.claim",
    "totag": "tests.bench.totag",
    "select": "tests.bench.select",
    "select_diversity": "tests.bench.select_diversity",
    "loop": "tests.bench.loop",
    "faults": "tests.bench.faults",
    "cold": "tests.bench.cold",
    "transfer": "tests.bench.transfer",
    "events": "tests.bench.events",
    "mc": "tests.bench.mc",
    "calibration": "tests.bench.calibration",
    "promise": "tests.bench.promise",
    "label_efficiency": "tests.bench.label_efficiency.command",
    "label_errors": "tests.bench.label_errors",
}
"""Name → module with `run(args) -> dict`, imported when it is asked for."""


def main(arguments: list[str]) -> int:
    """Run the named benchmarks one after the other, and print each one's result as soon as it is there."""
    names, as_json, options = _parse(arguments)
    for name in names:
        print(f"{name}: running", file=sys.stderr, flush=True)
        result = {"name": name, **import_module(BENCHMARKS[name]).run(options)}
        print(json.dumps(result, indent=None if as_json else 2), flush=True)
    return 0


def _parse(arguments: list[str]) -> tuple[list[str], bool, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", action="store_true", help="one line of JSON a benchmark")
    count = next((index for index, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    if set(arguments[:count]) - BENCHMARKS.keys():
        parser.error(f"there is no such benchmark; choose from: {', '.join(BENCHMARKS)}")
    # after a name, everything that is not known here is for the benchmark, --help too
    known = [word for word in arguments[count:] if word == "--json" or not count]
    options = parser.parse_args([*arguments[:count], *known])
    return options.names or list(BENCHMARKS), options.json, [word for word in arguments[count:] if word != "--json"]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
