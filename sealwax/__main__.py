"""The program `sealwax`, also as `python -m sealwax`: obeys SIGTERM from its first moment.

As process 1 of a container it would lose a SIGTERM that came before its role
listens to one: the kernel drops what process 1 does not handle. The role would
start, take work, and be killed with it. So the handler stands before any import
that takes time; a role puts its own in place.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["end", "main"]


def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
    """End the process as the signal does by default, also where it is process 1.

    Nothing has been taken that would have to be given back.
    """
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    # Still here: the kernel kills process 1 for no signal of its own container.
    os._exit(128 + number)


def main() -> None:
    """Run the command line."""
    # What a parent has had ignored stays so.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    from sealwax.cli import main as run

    run()


if __name__ == "__main__":
    main()
