"""AWS's time, as told by the `Date` of its answers to calls that are made anyway.

Leases, due times and expiries are compared by machines that did not write
them, so all roles count by one clock: AWS's. Every client of `Aws` tells what
it hears; requests are signed with the same time, since AWS refuses those that
are five minutes off.

Makes no call of its own. Where the machine is right within `TOLERANCE`, or
nobody has told, its own clock counts.
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import mktime_tz, parsedate_tz
from functools import partial
from typing import Any

__all__ = ["AWS_CLOCK", "OFF", "TOLERANCE", "AwsClock"]

logger = logging.getLogger(__name__)

#: Seconds of difference that count as none: `Date` has whole seconds, an answer takes its time.
TOLERANCE = 2.0

#: Seconds from which on a machine's clock is called wrong.
OFF = 5.0

#: Answers that are remembered, and how many of them it takes to be believed: a single
#: wrong `Date` changes nothing.
KEPT, ENOUGH = 5, 3

#: Seconds between two answers that are looked at, once enough are known.
EVERY = 1.0

#: Seconds that an answer may take to be of use: a long poll's `Date` may be its start or its end.
LONGEST = 2.0

#: Seconds from which on a difference may be why AWS refuses a signature. It takes five minutes.
#: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
SIGNED_WRONG = 60.0

#: What AWS says where a request's time is wrong, among other causes.
SKEWED = frozenset(
    {
        "AuthFailure",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)

_SIGV4 = "%Y%m%dT%H%M%SZ"


#: Seconds that nobody sets; they go on while a machine is suspended, where it can tell.
STEADY: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)


class AwsClock:
    """AWS's time; call it for epoch seconds. Thread-safe; a forked child goes on with it.

    Parameters
    ----------
    machine
        The machine's clock, in epoch seconds.
    steady
        Seconds since any moment, never set.
    """

    def __init__(
        self,
        machine: Callable[[], float] = time.time,
        steady: Callable[[], float] = STEADY,
    ) -> None:
        self._machine = machine
        self.steady = steady
        self._started = threading.local()
        # Replaced, never changed: no lock that a fork could catch.
        self._heard: tuple[float, ...] = ()
        self._ahead: float | None = None  # of AWS's time before the steady seconds
        self._looked = 0.0
        self._told = 0.0

    def __call__(self) -> float:
        """Return AWS's time in epoch seconds."""
        machine = self._machine()
        if self._ahead is None:
            return machine
        aws = self.steady() + self._ahead
        return machine if abs(aws - machine) < TOLERANCE else aws

    @property
    def off(self) -> float:
        """Seconds by which the machine's clock is ahead of AWS's; under `TOLERANCE`: 0."""
        if self._ahead is None:
            return 0.0
        off = self._machine() - self.steady() - self._ahead
        return 0.0 if abs(off) < TOLERANCE else off

    def answered(
        self, headers: Mapping[str, Any], sent: float, *, refused: str | None = None
    ) -> bool:
        """Learn from an answer.

        Parameters
        ----------
        sent
            When the request was, in `steady` seconds.
        refused
            AWS's code where it refused the request.

        Returns
        -------
        Whether it was refused for its time, so that it is worth signing anew. That AWS refuses
        is a second witness to its `Date`, which is believed at once.
        """
        now = self.steady()
        if refused not in SKEWED:
            if refused or (len(self._heard) >= KEPT and 0 <= now - self._looked < EVERY):
                return False
            refused = None
        date, took = headers.get("Date") or headers.get("date"), now - sent
        if not date or not 0 <= took <= LONGEST:
            return False
        try:
            # Half a second on average is cut off; it was written half-way, as far as we know.
            parts = parsedate_tz(str(date))
            ahead = mktime_tz(parts) + 0.5 - (now - took / 2) if parts else None
        except (OverflowError, TypeError, ValueError):
            ahead = None
        if ahead is None:
            return False
        if refused is not None:
            if abs(now + ahead - self()) < SIGNED_WRONG:
                return False
            self._heard = (ahead,) * ENOUGH
        else:
            self._looked = now
            self._heard = (*self._heard, ahead)[-KEPT:]
        heard = self._heard
        if len(heard) >= ENOUGH:
            self._ahead = statistics.median_low(heard)
            self._tell()
        return refused is not None

    def register(self, events: Any) -> None:
        """Hear what a boto3 client is answered, and sign its requests with this time."""
        events.register("before-sign", self._sign)
        events.register("response-received", self._received)
        events.register("needs-retry", self._repeat)

    # -- botocore's events ------------------------------------------------------------

    def _sign(self, request: Any = None, **_: Any) -> None:
        # It is sent next, by the same thread.
        self._started.at = self.steady()
        # botocore asks its own clock and keeps the time here, before it signs. One that
        # kept it elsewhere would sign with the machine's time, as it does by itself.
        context = getattr(request, "context", None)
        if isinstance(context, dict) and self.off:
            request.context = _SigningContext(context, self)

    def _received(self, response_dict: Any = None, **_: Any) -> None:
        sent = getattr(self._started, "at", None)
        if response_dict and sent is not None:
            self.answered(response_dict.get("headers") or {}, sent)

    def _repeat(self, response: Any = None, request_dict: Any = None, **_: Any) -> float | None:
        """Return 0 where a call is to be made again now (`needs-retry`), once a call."""
        sent = getattr(self._started, "at", None)
        if not response or not request_dict or sent is None:
            return None
        (answer, parsed), context = response, request_dict["context"]
        refused = parsed.get("Error", {}).get("Code")
        if "sealwax_signed_anew" in context or refused not in SKEWED:
            return None
        if not self.answered(answer.headers, sent, refused=refused):
            return None
        context["sealwax_signed_anew"] = True
        return 0.0

    def _tell(self) -> None:
        """Log once that the clock is wrong, by how much it is so anew, and that it is right."""
        off = self.off
        wrong = off if abs(off) > OFF else 0.0
        if bool(wrong) == bool(self._told) and abs(wrong - self._told) < OFF:
            return
        self._told = wrong
        if wrong:
            logger.warning(
                "This machine's clock is %+.0f s off AWS's; going by AWS's. Set it: "
                "only what asks no AWS clock, such as logs, is wrong until then",
                wrong,
            )
        else:
            logger.warning("This machine's clock agrees with AWS's again")


class _SigningContext(dict[str, Any]):
    """What botocore keeps of one request; the time of its signature becomes AWS's."""

    def __init__(self, context: dict[str, Any], clock: AwsClock) -> None:
        super().__init__(context)
        self._clock = clock

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "timestamp":
            try:
                own = datetime.strptime(value, _SIGV4).replace(tzinfo=UTC)
                value = (own - timedelta(seconds=self._clock.off)).strftime(_SIGV4)
            except (OverflowError, TypeError, ValueError):
                pass  # another botocore's way to write it
        super().__setitem__(name, value)


#: The clock of this process. One: so is the machine's, whichever client hears of AWS's.
AWS_CLOCK = AwsClock(lambda: time.time())  # noqa: PLW0108 - looked up each time
