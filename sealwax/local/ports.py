"""Choosing TCP ports on 127.0.0.1.

A port that the user named must be free; a default one may move to the next
free port. Between looking and binding somebody else can take the port: the
process then fails to start, and its log says so.
"""

from __future__ import annotations

import errno
import socket

from sealwax.errors import SealwaxError

__all__ = ["HOST", "PortTaken", "choose_port", "free_port", "is_free"]

#: Nothing local listens anywhere else.
HOST = "127.0.0.1"

#: How many ports after a taken default one are tried.
PORTS_TRIED = 100


class PortTaken(SealwaxError):
    """The port is taken by another program; name another one, or leave the choice to Sealwax."""


def is_free(port: int) -> bool:
    """Return whether nobody listens on the port of 127.0.0.1, nor on all addresses."""
    for address in (HOST, "0.0.0.0"):  # noqa: S104 - only to see whether somebody else has it
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As servers do, so that connections in TIME_WAIT do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                    return False
                raise
    return True


def free_port() -> int:
    """Return a port that the system says is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def choose_port(
    default: int, explicit: int | None, *, what: str, taken: frozenset[int] = frozenset()
) -> int:
    """Return the port to use.

    Parameters
    ----------
    default
        Used when free, else the next free one after it.
    explicit
        What the user named: used or refused, never changed; 0 means any free one.
    what
        Who wants it, and the option that sets it, for the message.
    taken
        Ports promised to others that do not listen yet.

    Raises
    ------
    PortTaken
        Where `explicit` is taken, or none of the next ones is free.
    """
    if explicit == 0:
        return free_port()
    if explicit is not None:
        if explicit in taken or not is_free(explicit):
            raise PortTaken(f"Port {explicit} for {what} is taken; name another.")
        return explicit
    for port in range(default, min(default + PORTS_TRIED, 65_536)):
        if port not in taken and is_free(port):
            return port
    raise PortTaken(f"Ports {default} to {default + PORTS_TRIED - 1} for {what} are all taken.")
