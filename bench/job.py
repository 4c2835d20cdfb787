"""Measures whole jobs, from the call that submits one to its recorded end, side by side.

`make bench-job`, or `python bench/job.py --quick`. Sealed jobs with the ledger
stand beside other checkouts of the product (`--tree`), and beside peers with
what a team bolts on to come near the promises; each runs in an environment of
its own. SQS and the tables answer from memory with the latency added to each
call, keys and secrets come from the emulated AWS. Prints tables and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from job_columns import HERE, POOLS, Column, peers, sealwax
from job_growth import SIZES, grown, ratios
from job_run import Failed, Size, measure
from job_table import machine, medians, tables

from sealwax.local.emulator import Emulator
from sealwax.local.environment import default_folder

#: A run of a minute or two, that shows whether something is far off.
QUICK = Size(jobs=400, low=40, steady=3.0)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tree",
        type=Path,
        action="append",
        default=[],
        help="another checkout of ours, as a column of its own",
    )
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        help="how its name begins; default: all whose environment is there",
    )
    parser.add_argument("--latency", type=float, action="append", help="milliseconds a call")
    parser.add_argument("--pool", choices=POOLS, action="append", help="default: all")
    parser.add_argument("--jobs", type=int, default=Size.jobs, help="for ours")
    parser.add_argument("--peer-jobs", type=int, default=600, help="for peers, which take longer")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few jobs, 5 ms, prefork 4")
    parser.add_argument(
        "--growth", action="store_true", help="ours alone: ten times the jobs, and again ten times"
    )
    parser.add_argument(
        "--growth-jobs",
        type=int,
        action="append",
        help="jobs of such a run; default: 2,000, 20,000 and 200,000",
    )
    parser.add_argument("--json", type=Path, default=HERE / "results" / "job.json")  # fmt: skip
    given = parser.parse_args(arguments)
    given.latency = given.latency or ([5.0] if given.quick else [0.0, 5.0, 20.0])
    given.growth_jobs = given.growth_jobs or list(SIZES)
    given.pool = given.pool or ([next(iter(POOLS))] if given.quick else list(POOLS))
    return given


def columns(given: argparse.Namespace) -> list[Column]:
    """Return what is to be measured."""
    known = [sealwax(), *(sealwax(tree, tree.resolve().name) for tree in given.tree)]
    known += [peer for peer in peers() if Path(peer.python).exists()]
    names = tuple(given.column) or ("",)
    return [column for column in known if column.name.startswith(names)]


def size(column: Column, given: argparse.Namespace) -> Size:
    """Return how much of a column is measured."""
    if given.quick:
        return QUICK
    return Size(jobs=given.jobs if column.ours else given.peer_jobs)


def run(given: argparse.Namespace, emulator: str | None) -> dict[str, Any]:
    """Measure all columns by turns, so that an hour's mood of the machine meets all; keep JSON."""
    runs: dict[str, dict[str, list[dict[str, float]]]] = {}
    found: dict[str, Any] = {"machine": machine(), "results": {}, "failures": []}
    turns = [
        (latency, column)
        for _ in range(given.repeat)
        for latency in given.latency
        for column in columns(given)
    ]
    for latency, column in turns:
        name = f"{latency:g} ms"
        try:
            one = measure(column, latency, size(column, given), given.pool, emulator)
        except Failed as failure:
            found["failures"].append(f"{column.name} at {name}: {failure}")
            print(found["failures"][-1], flush=True)
        else:
            runs.setdefault(name, {}).setdefault(column.name, []).append(one)
            print(f"measured {column.name} at {name}", flush=True)
        found["results"] = {
            name: {column: medians(each) for column, each in by_column.items()}
            for name, by_column in runs.items()
        }
        keep(given.json, found)
    return found


def grow(given: argparse.Namespace, emulator: str) -> dict[str, Any]:
    """Measure growth at the first latency and pool; keep JSON."""
    latency, pool = given.latency[0], given.pool[0]
    found: dict[str, Any] = {"machine": machine(), "results": {}, "failures": []}
    runs: list[dict[str, float]] = []
    for jobs in given.growth_jobs:
        runs.append(grown(sealwax(), pool, latency, emulator, jobs))
        found["results"] = {f"{latency:g} ms": ratios(runs)}
        keep(given.json, found)
        print(f"measured {jobs:,} jobs", flush=True)
    return found


def keep(file: Path, found: dict[str, Any]) -> None:
    """Write what was found up to now."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1))


def main() -> None:
    """Run all, print the tables, write JSON."""
    given = parse()
    # What was started is ended too, whoever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        emulator = stack.enter_context(
            Emulator(environment=default_folder(), log=folder / "emulator.log")
        )
        found = (grow if given.growth else run)(given, emulator.url)
    print(json.dumps(found["machine"]))
    print(tables(found["results"]))


if __name__ == "__main__":
    main()
