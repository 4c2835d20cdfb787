"""The verdict: what was observed in, counts that must be 0 out; pure.

`suite` calls it once, at the end. It believes the product's ledger only about
what the product promises there; effects, attempts, deaths of processes and
pauses come from the suite's own records.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Accepted",
    "Attempt",
    "Count",
    "Effect",
    "Ended",
    "Foreign",
    "Letter",
    "Observed",
    "Overlap",
    "Span",
    "judge",
    "overlaps",
    "table",
]

FINAL = frozenset({"succeeded", "dead", "cancelled", "expired"})

#: Seconds by which clocks and files of one machine may differ.
SLACK = 0.05


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A job whose caller got 202; `expect` is None for healthy ones, else the reason of death.

    `not_before`: epoch seconds before which the caller did not want it to begin.
    """

    job: str
    kind: str
    expect: str | None
    key: str
    not_before: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A message that a stranger put into a queue: `body` whole, and the reason it must die of."""

    kind: str
    expect: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What the product says of a job; `finished` in epoch seconds."""

    state: str
    reason: str | None = None
    finished: float | None = None


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One effect that the downstream saw."""

    job: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of business code, from the journal; `end` is None where its process died.

    `process` names the incarnation of the role it ran in.
    """

    job: str
    number: int
    start: float
    end: float | None
    process: str
    pid: int = 0


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A dead letter: its reason, the job it names, its body where it is kept."""

    reason: str
    job: str | None
    body: str | None
    place: str = "queue"


@dataclass(frozen=True, kw_only=True)
class Span:
    """Something that happened: `what` is pause, cut or death; to a process or to all.

    A process is an incarnation of a role, or `<incarnation>/<pid>` for a child.
    """

    what: str
    process: str
    begun: float
    ended: float


@dataclass(kw_only=True)
class Observed:
    """Everything that is judged."""

    accepted: list[Accepted] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)
    ended: Mapping[str, Ended] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    canaries: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    left: Mapping[str, int] = field(default_factory=dict)
    lease: float = 12.0


@dataclass(frozen=True, kw_only=True)
class Count:
    """One line of the table; it fails where anything was found."""

    name: str
    found: int
    of: int
    examples: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return self.found == 0


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Two attempts of one job at the same time; `cause` is None where nothing explains it."""

    job: str
    first: Attempt
    second: Attempt
    cause: str | None


def judge(seen: Observed) -> list[Count]:
    """Return the counts, each of which must be 0."""
    effects: dict[str, list[float]] = defaultdict(list)
    for effect in seen.effects:
        effects[effect.job].append(effect.at)
    healthy = {one.job: one for one in seen.accepted if one.expect is None}
    poison = {one.job: one for one in seen.accepted if one.expect is not None}
    succeeded = {job: e for job, e in seen.ended.items() if e.state == "succeeded"}
    foreign_bodies = {one.body for one in seen.foreign}
    own_letters = [one for one in seen.letters if one.body not in foreign_bodies]
    lettered = {one.job for one in own_letters}
    dead = [job for job, e in seen.ended.items() if e.state == "dead"]
    found = overlaps(seen)

    def state(job: str) -> str:
        end = seen.ended.get(job)
        return "unknown" if end is None else f"{end.state} {end.reason or ''}".strip()

    endless = [job for job in {**healthy, **poison} if _endless(seen.ended.get(job))]
    effectless = [job for job in succeeded if not effects.get(job)]
    late = [
        f"{a.job} attempt {a.number} began {a.start - (end.finished or 0):.2f} s after success"
        for a in seen.attempts
        if (end := succeeded.get(a.job)) is not None
        and end.finished is not None
        and a.start > end.finished + SLACK
        and not _covered(seen.spans, a.process, end.finished, a.start, {"pause"})
    ]
    times = {one.job: one.not_before for one in seen.accepted}
    early = [
        f"{a.job} attempt {a.number} began {times[a.job] - a.start:.2f} s too early"
        for a in seen.attempts
        if a.start < times.get(a.job, 0.0) - SLACK
    ]
    unwell = [f"{job} ({healthy[job].kind}): {state(job)}" for job in healthy if _dead(seen, job)]
    unwell += [
        f"{one.job} ({healthy[one.job].kind}): letter {one.reason}, ledger {state(one.job)}"
        for one in own_letters
        if one.job in healthy and not _dead(seen, one.job)
    ]
    lively = [
        f"{job} ({one.kind}): {state(job)}, not dead {one.expect}"
        for job, one in poison.items()
        if (end := seen.ended.get(job)) is None or end.state != "dead" or end.reason != one.expect
    ]
    lively += list(_unpunished(seen))
    keys: dict[str, set[str]] = defaultdict(set)
    for one in seen.accepted:
        keys[one.key].add(one.job)
    return [
        _count("accepted jobs without an end", endless, len(seen.accepted), state),
        _count("succeeded jobs without an effect", effectless, len(succeeded)),
        _count("attempts begun after recorded success", late, len(seen.attempts)),
        _count("attempts begun before their time", early, len(seen.attempts)),
        _count("healthy jobs dead or in a dead-letter queue", unwell, len(healthy)),
        _count("poison not dead with the right reason", lively, len(poison) + len(seen.foreign)),
        _count("dead jobs without a letter", [j for j in dead if j not in lettered], len(dead)),
        _count("sightings of the canary", seen.canaries, 0),
        _count("processes that stopped by themselves", seen.stopped, 0),
        _count(
            "messages left",
            [f"{name}: {number}" for name, number in seen.left.items() for _ in range(number)],
            0,
        ),
        _count(
            "overlapping attempts without a lost lease",
            [_describe(one) for one in found if one.cause is None],
            len(found),
        ),
        _count(
            "keys that were given two jobs",
            [f"{key}: {sorted(jobs)}" for key, jobs in keys.items() if len(jobs) > 1],
            len(keys),
        ),
    ]


def _endless(end: Ended | None) -> bool:
    return end is None or end.state not in FINAL


def _dead(seen: Observed, job: str) -> bool:
    end = seen.ended.get(job)
    # Nobody cancelled any, and none has an expiry: those ends are deaths too.
    return end is not None and end.state in FINAL - {"succeeded"}


def _unpunished(seen: Observed) -> Iterable[str]:
    letters: Counter[tuple[str | None, str]] = Counter()
    for one in seen.letters:
        letters[(one.body, one.reason)] += 1
    # In the archive the copies of a stray's body collapse.
    collapsed = {(one.body, one.reason) for one in seen.letters if one.place == "archive"}
    for foreign in seen.foreign:
        # One letter answers for one message: bodies may repeat.
        place = (foreign.body, foreign.expect)
        if place in collapsed:
            continue
        if letters[place]:
            letters[place] -= 1
        else:
            other = sorted(one.reason for one in seen.letters if one.body == foreign.body)
            yield f"{foreign.kind}: {', '.join(other) or 'no letter'}, not {foreign.expect}"


def _covered(
    spans: Iterable[Span], process: str, begun: float, ended: float, kinds: set[str]
) -> bool:
    """Whether the suite did something of these kinds to the process meanwhile."""
    return any(
        span.what in kinds
        and span.process in (process, "all")
        and span.begun <= ended + SLACK
        and span.ended >= begun - SLACK
        for span in spans
    )


def overlaps(seen: Observed) -> list[Overlap]:
    """Return attempts of one job that ran at the same time, each with its cause.

    The cause can only be a lost lease: the second began at least a lease after
    the first, and the suite had paused the first's process, killed its parent
    or cut AWS off meanwhile.
    """
    deaths = {span.process: span.ended for span in seen.spans if span.what == "death"}
    by_job: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in seen.attempts:
        by_job[attempt.job].append(attempt)
    found = []
    for job, attempts in by_job.items():
        attempts.sort(key=lambda one: one.start)
        for index, first in enumerate(attempts):
            # What was killed wrote no end: it ended when the suite killed it.
            end = first.end
            if end is None:
                end = deaths.get(f"{first.process}/{first.pid}", deaths.get(first.process))
            end = first.start if end is None else end
            for second in attempts[index + 1 :]:
                if second.start < end - SLACK:
                    cause = _cause(seen, first, second)
                    found.append(Overlap(job=job, first=first, second=second, cause=cause))
    return found


def _cause(seen: Observed, first: Attempt, second: Attempt) -> str | None:
    # Without the end of the lease nobody may run it again, whatever happened.
    # The claim came a little before the business code's first line.
    if second.start - first.start < seen.lease - 1.0:
        return None
    for span in seen.spans:
        if (
            span.what in {"pause", "cut"}
            and span.process in (first.process, "all")
            and span.begun <= second.start
            and span.ended >= first.start - seen.lease
        ):
            return f"lease lost: {span.what} of {span.process} for {span.ended - span.begun:.1f} s"
    return None


def _describe(one: Overlap) -> str:
    return (
        f"{one.job} attempts {one.first.number} ({one.first.process}) and {one.second.number} "
        f"({one.second.process}), {one.second.start - one.first.start:.1f} s apart: "
        f"{one.cause or 'NO CAUSE'}"
    )


def _count(name: str, found: Iterable[str], of: int, more: Any = None) -> Count:
    items = list(found)
    return Count(
        name=name,
        found=len(items),
        of=of,
        examples=[f"{item}: {more(item)}" if more else item for item in items[:5]],
    )


def table(counts: Iterable[Count]) -> str:
    """Return the counts as text."""
    lines = [f"{'count (each must be 0)':<46} {'found':>6} {'of':>6}"]
    for one in counts:
        lines.append(
            f"{one.name:<46} {one.found:>6} {one.of or '':>6}  {'ok' if one.passed else 'FAILED'}"
        )
        if not one.passed:
            lines += [f"    {example}" for example in one.examples]
    return "\n".join(lines)
