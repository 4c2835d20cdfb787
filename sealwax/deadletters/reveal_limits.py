"""What workers remember of reveals, in the control table: nonces used, and how many an hour.

Written by workers alone: no other role's policy lets it touch these items, so
that whoever takes over the API can neither ask twice with one request nor set
the count back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from sealwax.aws.backoff import jittered
from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.table import ConditionFailed, ControlTable, ControlUnreachable

__all__ = ["HOUR", "KIND", "RevealLimits"]

KIND = "revealed"

#: Seconds over which reveals are counted, whenever they end.
HOUR = 3_600

#: Seconds that a nonce is remembered: longer than any request with it is believed,
#: whatever the clocks of two workers say.
NONCE_SECONDS = 86_400

#: Tries to count while other workers count theirs.
TRIES = 10


class RevealLimits:
    """The items.

    Parameters
    ----------
    sleep
        Waits between the tries to count, in seconds.
    """

    def __init__(
        self,
        table: ControlTable,
        *,
        clock: Callable[[], float] = AWS_CLOCK,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = table
        self._clock = clock
        self._sleep = sleep

    def use(self, operator: str, nonce: str) -> bool:
        """Use up a request's nonce; False where it was used before."""
        values = {"expires": int(self._clock() + NONCE_SECONDS)}
        try:
            self._table.put(KIND, f"nonce-{operator}-{nonce}", values, new=True)
        except ConditionFailed:
            return False
        return True

    def count(self, what: Literal["opened", "refused"], most: int) -> bool:
        """Count one more of `what`; False, and nothing is counted, where an hour's are used up.

        Parameters
        ----------
        most
            How many there may be in any hour, of all workers together.

        Raises
        ------
        sealwax.control.table.ControlUnreachable, sealwax.control.table.ControlDenied
            Nothing was counted.
        """
        for attempt in range(TRIES):
            now = self._clock()
            item = self._table.get(KIND, what)
            times = [at for at in (item or {}).get("times", []) if at > now - HOUR]
            if len(times) >= most:
                return False
            values = {"times": [*times, now], "expires": int(now + 2 * HOUR)}
            try:
                if item is None:
                    self._table.put(KIND, what, {**values, "turn": 1}, new=True)
                else:
                    self._table.update(
                        KIND,
                        what,
                        "SET times = :times, expires = :expires, turn = :next",
                        "turn = :turn",
                        {
                            ":times": values["times"],
                            ":expires": values["expires"],
                            ":next": item["turn"] + 1,
                            ":turn": item["turn"],
                        },
                    )
            except ConditionFailed:
                # Another worker counted first.
                self._sleep(jittered(attempt, base=0.02, cap=0.5))
                continue
            return True
        raise ControlUnreachable("Other workers kept counting reveals: try again later.")
