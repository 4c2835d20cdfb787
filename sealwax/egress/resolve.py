"""Name resolution with a time-out.

`getaddrinfo` cannot be interrupted, so it runs in a daemon thread that is left
behind when time is up; how many may be left behind is bounded.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable

from sealwax.egress.addresses import Address

__all__ = ["Resolver", "SystemResolver"]

#: Given host, port and seconds, return every address; raises OSError or TimeoutError.
Resolver = Callable[[str, int, float], list[Address]]


class SystemResolver:
    """Ask the system's resolver.

    Parameters
    ----------
    lookups
        How many look-ups may be under way; above it a look-up fails at once,
        because a resolver that hangs must not cost a thread for each job.
    getaddrinfo
        For tests.
    """

    def __init__(
        self, *, lookups: int = 32, getaddrinfo: Callable[..., object] = socket.getaddrinfo
    ) -> None:
        self._slots = threading.BoundedSemaphore(lookups)
        self._getaddrinfo = getaddrinfo

    def __call__(self, host: str, port: int, seconds: float) -> list[Address]:
        """Return the addresses of `host`, in the resolver's order, without repeats.

        Raises
        ------
        TimeoutError
            After `seconds`.
        OSError
            Where the name is not found or too many look-ups hang.
        """
        if not self._slots.acquire(blocking=False):
            raise OSError("too many look-ups are waiting for the resolver")
        answers: queue.SimpleQueue[object] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put(self._getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                answers.put(error)
            finally:
                self._slots.release()

        threading.Thread(target=look_up, name="sealwax-resolve", daemon=True).start()
        try:
            answer = answers.get(timeout=max(seconds, 0.001))
        except queue.Empty:
            raise TimeoutError("the resolver did not answer") from None
        if not isinstance(answer, list):
            raise OSError("the name was not resolved")
        # A scope id (fe80::1%eth0) makes no difference: link-local is refused.
        found = (ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in answer)
        return list(dict.fromkeys(found))
