"""A machine whose clock is wrong: `time.time` is SHIFTED_CLOCK_SECONDS ahead."""

from __future__ import annotations

import os
import time

_ahead = float(os.environ.get("SHIFTED_CLOCK_SECONDS", "0"))
_right = time.time


def _shifted() -> float:
    return _right() + _ahead


time.time = _shifted
