"""Exponential backoff: the one place where it is computed. Pure but for the jitter."""

from __future__ import annotations

import random

__all__ = ["backoff", "jittered"]

#: Doublings after which any cap of ours is reached: 2**1000 would overflow a float.
_DOUBLINGS = 64


def backoff(attempt: int, *, base: float, cap: float) -> float:
    """Return the seconds to wait after a number of failures, without jitter.

    Parameters
    ----------
    attempt
        Failures before this one, from 0.
    base
        Seconds after the first; doubles with each.
    cap
        Upper bound in seconds.
    """
    return float(min(cap, base * 2.0 ** max(0, min(attempt, _DOUBLINGS))))


def jittered(attempt: int, *, base: float = 0.1, cap: float = 3.0) -> float:
    """Return the same with jitter: between half of it and all of it.

    By default capped low, so that recovery of AWS is noticed within a few seconds.
    """
    bound = backoff(attempt, base=base, cap=cap)
    return bound * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret
