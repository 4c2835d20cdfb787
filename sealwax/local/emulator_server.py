"""The emulated AWS's process: ministack, ending with its parent, saving as it goes.

Run as a file by the interpreter of the emulator's own environment, by
`sealwax.local.emulator`; it must not import anything of Sealwax, which is not
installed there. ministack by itself saves its state only on a clean exit. This
saves every few seconds too, so that a crash loses seconds and not everything.
It ends cleanly on SIGTERM, on SIGINT, and when its standard input closes, which
is how it learns that its parent is gone; with the argument `alone`, for a
container that has no parent, standard input does not matter.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

SNAPSHOT_SECONDS = 5.0
READY = "/_ministack/health"


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while True:
        try:
            if not os.read(0, 1024):
                break
        except OSError:
            break
    with contextlib.suppress(RuntimeError):  # the loop is closed: already ending
        loop.call_soon_threadsafe(stop.set)


async def _serve(port: int, *, alone: bool) -> None:
    from hypercorn.asyncio import serve  # type: ignore[import-not-found]
    from hypercorn.config import Config  # type: ignore[import-not-found]
    from ministack import app as ministack  # type: ignore[import-not-found]
    from ministack.core import persistence  # type: ignore[import-not-found]

    requests = 0

    async def counted(
        scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]
    ) -> None:
        nonlocal requests
        if scope["type"] == "http" and scope["path"] != READY:
            requests += 1
        await ministack.app(scope, receive, send)

    async def snapshots() -> None:
        saved = 0
        while True:
            await asyncio.sleep(SNAPSHOT_SECONDS)
            if requests != saved:
                saved = requests
                # The function of its own shutdown; the lock pins the version.
                persistence.save_all(ministack._build_persistence_save_dict())  # noqa: SLF001

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(name, stop.set)
    if not alone:
        threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()

    config = Config()
    config.bind = [f"{os.environ.get('BIND_HOST', '127.0.0.1')}:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.shutdown_timeout = 10
    config.loglevel = "WARNING"
    saver = asyncio.create_task(snapshots()) if persistence.PERSIST_STATE else None
    try:
        await serve(counted, config, shutdown_trigger=stop.wait)
    finally:
        if saver:
            saver.cancel()


if __name__ == "__main__":
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ImportError, ValueError, OSError):
        pass
    asyncio.run(_serve(int(sys.argv[1]), alone="alone" in sys.argv[2:]))
