"""Measures ratios in one run, and writes them as JSON and as a page.

python -m tests.perf [--only scoring,training] [--sizes 100000,1000000] [--out build/perf]

Every figure is a ratio of two things that this run measured by turns: machines differ, and are
busy with other things.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.perf import (
    bagging,
    detection,
    evaluation,
    growth,
    pipeline,
    ranking,
    reading,
    scoring,
    serving,
    training,
    warm_start,
)
from tests.perf.measuring import Figure
from tests.perf.page import render

MEASURES: dict[str, Callable[[Path, tuple[int, ...]], list[Figure]]] = {
    "scoring": scoring.measure,
    "serving": serving.measure,
    "training": training.measure,
    "reading": reading.measure,
    "bagging": bagging.measure,
    "pipeline": pipeline.measure,
    "ranking": ranking.measure,
    "evaluation": evaluation.measure,
    "growth": growth.measure,
    "detection": detection.measure,
    "warm_start": warm_start.measure,
}
SIZES, LARGE = (100_000, 1_000_000), (100_000, 1_000_000, 10_000_000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.perf", description=__doc__)
    parser.add_argument("--only", default=",".join(MEASURES), help="which measures, by commas")
    parser.add_argument("--sizes", help=f"samples of the growth runs; {SIZES} by default")
    parser.add_argument("--large", action="store_true", help=f"sizes {LARGE}")
    parser.add_argument("--out", default="build/perf", help="folder of the results")
    arguments = parser.parse_args()
    sizes = LARGE if arguments.large else SIZES
    if arguments.sizes:
        sizes = tuple(int(size) for size in arguments.sizes.split(","))
    out = Path(arguments.out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []
    for name in arguments.only.split(","):
        begin = time.monotonic()
        print(f"{name} ...", flush=True)
        found = MEASURES[name](out / "work", sizes)
        for figure in found:
            print(f"  {figure}", flush=True)
        figures += found
        print(f"  {time.monotonic() - begin:.0f} s", flush=True)
        _write(out, figures)
    print(f"written: {out / 'perf.html'}")


def _write(out: Path, figures: list[Figure]) -> None:
    content = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "figures": [asdict(figure) for figure in figures],
    }
    (out / "perf.json").write_text(json.dumps(content, indent=1))
    (out / "perf.html").write_text(render(content))


if __name__ == "__main__":
    main()
