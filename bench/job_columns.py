"""The columns of `bench/job.py`: how each system is started, pool by pool."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PEERS = HERE / "peers"

#: Pools by name: kind, processes or threads, and messages held for each (ours).
POOLS = {
    "prefork 4": ("prefork", 4, 16),
    "prefork 8": ("prefork", 8, 16),
    "threads 16": ("threads", 16, 8),
}


@dataclass(frozen=True)
class Column:
    """One system in one environment."""

    name: str
    #: The program in `bench/peers` that prepares and submits.
    app: str
    python: str
    #: Threads that submit while a worker runs: as many as suit it.
    senders: int = 16
    #: The checkout that is measured; for ours alone.
    tree: Path | None = None
    #: For peers: worker's command by pool, after the interpreter.
    workers: dict[str, list[str]] = field(default_factory=dict)
    #: Variables of the worker by pool.
    variables: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.tree is not None

    def worker(self, pool: str) -> list[str]:
        """Return the command that runs a worker."""
        arguments = ["-m", "sealwax", "worker"] if self.ours else self.workers[pool]
        return [self.python, *arguments]

    def environment(self, pool: str, folder: Path) -> dict[str, str]:
        """Return the variables that select the pool, and the tree that is imported.

        `folder`: of this run; what describes the tree is written there.
        """
        path = f"{folder}:{PEERS}:{self.tree or ''}"
        if self.tree is None:
            return {"PYTHONPATH": path, **self.variables.get(pool, {})}
        describe(self.tree, folder)
        kind, concurrency, prefetch = POOLS[pool]
        lane = {"poll": 1, "pool": kind, "concurrency": concurrency, "prefetch": prefetch}
        return {
            "PYTHONPATH": path,
            "SEALWAX_TASK_MODULES": json.dumps(["job_sealwax_task"]),
            "SEALWAX_LANES": json.dumps({"default": lane}),
        }


def sealwax(tree: Path = ROOT, name: str = "sealwax") -> Column:
    """Return a checkout of ours as a column; it runs in this environment."""
    return Column(name, "job_sealwax", sys.executable, tree=tree.resolve())


CELERY = ["-m", "celery", "-A", "job_celery", "worker", "-l", "WARNING", "--without-gossip",
          "--without-mingle"]  # fmt: skip
DRAMATIQ = ["-m", "dramatiq", "job_dramatiq"]
LAMBDA = [str(PEERS / "job_powertools.py"), "work"]


def peers(environments: Path = ROOT / ".venv-bench") -> list[Column]:
    """Return the columns of the peers; each needs its environment, made by `make bench-job`."""

    def python(name: str) -> str:
        return str(environments / f"job-{name}" / "bin" / "python")

    return [
        Column(
            "celery, bolted on", "job_celery", python("celery"),
            # Its threads share one connection, and more of them send less.
            senders=1,
            workers={
                "prefork 4": [*CELERY, "-P", "prefork", "-c", "4"],
                "prefork 8": [*CELERY, "-P", "prefork", "-c", "8"],
                "threads 16": [*CELERY, "-P", "threads", "-c", "16"],
            },
            variables={f"prefork {count}": {"BENCH_MULTIPLIER": "4"} for count in (4, 8)},
        ),
        Column(
            "dramatiq_sqs, bolted on", "job_dramatiq", python("dramatiq_sqs"),
            workers={
                "prefork 4": [*DRAMATIQ, "-p", "4", "-t", "1"],
                "prefork 8": [*DRAMATIQ, "-p", "8", "-t", "1"],
                "threads 16": [*DRAMATIQ, "-p", "1", "-t", "16"],
            },
        ),
        Column(
            "Lambda's loop, imitated", "job_powertools", python("powertools"),
            workers={
                "prefork 4": [*LAMBDA, "4", "1"],
                "prefork 8": [*LAMBDA, "8", "1"],
                "threads 16": [*LAMBDA, "1", "16"],
            },
        ),
    ]  # fmt: skip


def describe(tree: Path, folder: Path) -> None:
    """Write what an installation of a checkout would: its entry points, by which kombu finds it.

    A distribution that comes first in the path hides one of the same name in the environment.
    """
    project = tomllib.loads((tree / "pyproject.toml").read_text("utf-8"))["project"]
    known = folder / f"{project['name']}-0.dist-info"
    known.mkdir()
    (known / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n")
    lines = []
    for group, points in project.get("entry-points", {}).items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in points.items())]
    (known / "entry_points.txt").write_text("\n".join(lines) + "\n")
