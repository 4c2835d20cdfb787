"""Counts by interval over the last minutes: what sparklines and rates are drawn from.

A worker keeps them in memory and reports them; the reader adds the workers'
up. Pure: clocks are passed in. They are for people's eyes, not for billing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["INTERVAL", "LENGTH", "NAMES", "Summary", "ThroughputSeries", "summarise"]

#: Seconds of one interval, and how many are kept: ten minutes.
INTERVAL = 10
LENGTH = 60

#: What is counted: messages that ended well, that will come again, that died;
#: and the milliseconds from sending to the end, and of running, of the first.
NAMES = ("finished", "postponed", "dead", "latency", "run")


class ThroughputSeries:
    """A ring of counts for each name."""

    def __init__(self) -> None:
        self._newest = 0
        self._rows: dict[str, list[int]] = {name: [0] * LENGTH for name in NAMES}
        self._last: dict[str, int] = {}

    def add(self, counters: Mapping[str, int], now: float) -> None:
        """Add what counters have risen by since the last call, to the interval of `now`."""
        self._advance(int(now // INTERVAL))
        for name, total in _totals(counters).items():
            self._rows[name][-1] += max(0, total - self._last.get(name, 0))
            self._last[name] = total

    def _advance(self, newest: int) -> None:
        steps = min(max(0, newest - self._newest), LENGTH)
        for name, row in self._rows.items():
            self._rows[name] = row[steps:] + [0] * steps
        self._newest = max(newest, self._newest)

    def report(self) -> dict[str, str]:
        """Return the counts as short texts: the newest interval's number, and each row."""
        rows = {name: ",".join(str(n or "") for n in row) for name, row in self._rows.items()}
        return {
            "newest": str(self._newest),
            **{k: v for k, v in rows.items() if any(self._rows[k])},
        }


def _totals(counters: Mapping[str, int]) -> dict[str, int]:
    return {
        "finished": counters.get("acknowledged", 0),
        "postponed": counters.get("postponed", 0),
        "dead": sum(n for name, n in counters.items() if name.startswith("dead_lettered.")),
        "latency": counters.get("latency.milliseconds", 0),
        "run": counters.get("run.milliseconds", 0),
    }


class Summary:
    """Several workers' series added up, the newest interval last.

    The newest one is not over yet, so rates leave it out.
    """

    def __init__(self, rows: Mapping[str, list[int]]) -> None:
        self._rows = rows

    def row(self, name: str) -> list[float]:
        """Return counts a second, by interval, complete ones only."""
        return [count / INTERVAL for count in self._rows[name][:-1]]

    def rate(self, name: str, intervals: int = 6) -> float:
        """Return counts a second over the last complete intervals (default: a minute)."""
        recent = self._rows[name][-1 - intervals : -1]
        return sum(recent) / (len(recent) * INTERVAL) if recent else 0.0

    def total(self, name: str) -> int:
        """Return the count of all intervals."""
        return sum(self._rows[name])

    def mean(self, name: str, intervals: int = 6) -> float | None:
        """Return mean seconds of `latency` or `run` a finished job; None where none finished."""
        parts = slice(-1 - intervals, None)
        finished = sum(self._rows["finished"][parts])
        return sum(self._rows[name][parts]) / finished / 1000 if finished else None

    def means(self, name: str) -> list[float]:
        """Return mean seconds a finished job, by complete interval; 0 where none finished."""
        pairs = zip(self._rows[name][:-1], self._rows["finished"][:-1], strict=True)
        return [total / count / 1000 if count else 0.0 for total, count in pairs]


def summarise(reports: Iterable[Mapping[str, str]], now: float) -> Summary:
    """Add up the series of reports, each shifted to `now`."""
    rows = {name: [0] * LENGTH for name in NAMES}
    newest = int(now // INTERVAL)
    for report in reports:
        try:
            shift = newest - int(report.get("newest", "0"))
        except ValueError:
            continue
        for name in NAMES:
            counts = report.get(name, "").split(",")
            for place, text in enumerate(counts):
                at = place - shift + (LENGTH - len(counts))
                if text.isdecimal() and 0 <= at < LENGTH:
                    rows[name][at] += int(text)
    return Summary(rows)
