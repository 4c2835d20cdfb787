"""The table and the JSON of `bench/job.py`."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: By latency, then by column, then by row.
Results = Mapping[str, Mapping[str, Mapping[str, float]]]


def machine() -> dict[str, Any]:
    """Return what the figures were taken on, and how busy it was."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": os.cpu_count(),
        "processor": processor(Path("/proc/cpuinfo").read_text()),
        "python": platform.python_version(),
        "load, 1 minute": round(os.getloadavg()[0], 2),
    }


def processor(text: str) -> str:
    """Return the first model that /proc/cpuinfo names."""
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each row's median over the runs that have it."""
    rows = dict.fromkeys(row for run in runs for row in run)
    return {row: statistics.median(run[row] for run in runs if row in run) for row in rows}


def figure(value: float | None) -> str:
    """Write a number in three digits, or a dash for what was not measured."""
    if value is None or math.isnan(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(latency: str, columns: Mapping[str, Mapping[str, float]]) -> str:
    """Return one latency's table in Markdown: a row a measure, a column a system."""
    rows = dict.fromkeys(row for column in columns.values() for row in column)
    lines = [
        f"| {latency} a call | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row in rows:
        cells = [figure(column.get(row)) for column in columns.values()]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tables(results: Results) -> str:
    """Return all tables."""
    return "\n\n".join(table(latency, columns) for latency, columns in results.items())
