"""What goes wrong and what is submitted, derived from the seed alone; pure.

`suite` carries it out, `proxy` asks it which AWS calls fail. It must never look
at a clock or at what happens: the same seed gives the same plan.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = [
    "FAULT_SHARE",
    "FOREIGN",
    "HEALTHY",
    "LEASE",
    "POISON",
    "AwsFault",
    "Event",
    "Plan",
    "Submission",
    "fault_of",
    "make_plan",
    "throttled",
]

#: Seconds of the lanes' leases: pauses last longer.
LEASE = 12
#: Jobs a minute that two cores and the emulated AWS carry.
JOBS_A_MINUTE = 1_000
#: Share of the run in which jobs are submitted and things go wrong; then it drains.
ACTIVE = 0.8
#: Share of AWS calls that fail.
FAULT_SHARE = 0.05
#: Seconds for which AWS is cut off, once.
CUT_SECONDS = 20.0
#: Seconds for which DynamoDB throttles, once, and the share of its calls.
STORM_SECONDS = 25.0
STORM_SHARE = 0.6

WORKERS = ("worker-a", "worker-b", "threads-a")
STEWARDS = ("steward-a", "steward-b")
TARGETS = ("api-a", "api-b", *WORKERS, *STEWARDS)

Verb = Literal["kill", "term", "pause", "child", "cut", "storm", "rotate"]
AwsFault = Literal["500", "throttle", "reset", "lost", "delay"]

#: Healthy kinds and their share among the healthy.
HEALTHY = {
    "relay": 0.55,
    "delayed": 0.05,
    "aside": 0.15,
    "customer": 0.17,
    "export": 0.07,
    "long": 0.01,
}
#: Poison that callers submit: kind and the reason it must die of.
SUBMITTED = {"refused": "rejected", "down": "exhausted", "crash": "crashed"}
#: Poison that strangers put into the queue.
FOREIGN = {
    "tampered": "stray",
    "stray": "unknown-job",
    "garbage": "stray",
    "unheard": "stray",
}
POISON = {**SUBMITTED, **FOREIGN}
#: Share of each kind of poison among all that is submitted.
POISON_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that goes wrong: when (seconds from the start), what, with whom, how long."""

    at: float
    verb: Verb
    target: str
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One job or foreign message; `pick` chooses among whatever varies in its kind."""

    number: int
    at: float
    kind: str
    pick: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All of a run."""

    seed: int
    minutes: float
    stewards: bool
    events: tuple[Event, ...]
    submissions: tuple[Submission, ...]

    def document(self) -> dict[str, Any]:
        """Return the plan for printing; submissions by number of each kind and a digest."""
        lines = [json.dumps(asdict(one), sort_keys=True) for one in self.submissions]
        return {
            "seed": self.seed,
            "minutes": self.minutes,
            "stewards": self.stewards,
            "events": [asdict(event) for event in self.events],
            "submissions": dict(sorted(Counter(one.kind for one in self.submissions).items())),
            "submissions_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            "aws_calls_that_fail_first": [
                [number, fault]
                for number in range(200)
                if (fault := fault_of(self.seed, number)) is not None
            ],
        }


def fault_of(seed: int, call: int) -> AwsFault | None:
    """Return how AWS call number `call` fails, None for the 95 % that do not."""
    digest = hashlib.blake2b(f"{seed}/{call}".encode(), digest_size=8).digest()
    chance = int.from_bytes(digest, "big") / 2**64
    if chance >= FAULT_SHARE:
        return None
    kinds: tuple[AwsFault, ...] = ("500", "throttle", "reset", "lost", "delay")
    return kinds[int(chance / FAULT_SHARE * len(kinds))]


def throttled(seed: int, call: int) -> bool:
    """Return whether DynamoDB throttles its call number `call` of a storm."""
    digest = hashlib.blake2b(f"{seed}/storm/{call}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < STORM_SHARE


def make_plan(
    seed: int,
    *,
    minutes: float = 5.0,
    jobs: int | None = None,
    faults: bool = True,
    poison: bool = True,
    stewards: bool = True,
) -> Plan:
    """Return the plan of a run.

    Parameters
    ----------
    jobs
        Submissions in all, poison included; default 1,000 a minute.
    faults, poison, stewards
        Whether anything goes wrong, anything is poison, there are stewards.
    """
    count = jobs if jobs is not None else round(JOBS_A_MINUTE * minutes)
    seconds = minutes * 60 * ACTIVE
    events = _events(random.Random(f"events {seed}"), minutes, seconds) if faults else ()
    if not stewards:
        # The others meet the same all the same.
        events = tuple(event for event in events if event.target not in STEWARDS)
    chosen = random.Random(f"submissions {seed}")
    return Plan(
        seed=seed,
        minutes=minutes,
        stewards=stewards,
        events=events,
        submissions=tuple(_submissions(chosen, count, seconds, poison)),
    )


def _events(chance: random.Random, minutes: float, seconds: float) -> tuple[Event, ...]:
    rounds = max(1, round(minutes / 3))
    what: list[tuple[Verb, str, float]] = []
    for _ in range(rounds):
        what += [("kill", target, 0.0) for target in TARGETS]
        what += [
            ("pause", target, round(LEASE * chance.uniform(1.4, 2.2), 1)) for target in WORKERS
        ]
        what.append(("pause", chance.choice(STEWARDS), round(chance.uniform(20, 35), 1)))
        what += [("child", chance.choice(WORKERS[:2]), 0.0) for _ in range(2)]
    chance.shuffle(what)
    first, last = min(8.0, seconds * 0.1), seconds
    step = (last - first) / max(1, len(what))
    events = [
        Event(
            at=round(first + step * (number + chance.random()), 2),
            verb=verb, target=target, seconds=length,
        )
        for number, (verb, target, length) in enumerate(what)
    ]  # fmt: skip
    # A rolling restart goes through all roles, one after the other.
    begun = chance.uniform(first, last * 0.7)
    events += [
        Event(at=round(begun + number * last * 0.03, 2), verb="term", target=target)
        for number, target in enumerate(TARGETS)
    ]
    events.append(
        Event(
            at=round(chance.uniform(last * 0.25, last * 0.75), 2),
            verb="cut", target="aws", seconds=min(CUT_SECONDS, seconds * 0.2),
        )
    )  # fmt: skip
    # By a chance of its own: what was drawn before stays what it was for each seed.
    events.append(
        Event(
            at=round(random.Random(f"storm {last} {begun}").uniform(last * 0.1, last * 0.8), 2),
            verb="storm", target="dynamodb", seconds=min(STORM_SECONDS, seconds * 0.25),
        )
    )  # fmt: skip
    events.append(Event(at=round(last / 2, 2), verb="rotate", target="keys"))
    return tuple(sorted(events, key=lambda event: (event.at, event.verb, event.target)))


def _submissions(
    chance: random.Random, count: int, seconds: float, poison: bool
) -> Iterator[Submission]:
    kinds: list[str] = []
    if poison:
        kinds = [kind for kind in POISON for _ in range(max(1, round(count * POISON_SHARE)))]
    healthy = chance.choices(
        list(HEALTHY), weights=list(HEALTHY.values()), k=max(0, count - len(kinds))
    )
    kinds = (kinds + healthy)[:count]
    chance.shuffle(kinds)
    for number, kind in enumerate(kinds):
        yield Submission(
            number=number,
            at=round(seconds * number / max(1, count), 3),
            kind=kind,
            pick=chance.randrange(2**31),
        )
