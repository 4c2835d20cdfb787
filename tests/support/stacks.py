"""Whole stacks as subprocesses, for tests that see only HTTP, queues, tables and logs.

Imports nothing of the product but `sealwax.local`, which starts them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sealwax.local.dev import Stack
from sealwax.local.supervisor import Stop, Supervisor
from support.aws import emulator_environment
from support.stack import LiveStack, free_options

#: Routes of the shared stack. Each test may fail, hang or delay its own path of
#: the sandbox: use one of these routes, or start a stack with `make_stack`.
ROUTES: dict[str, dict[str, Any]] = {
    "demo": {},
    **{f"r{number}": {} for number in range(20)},
    "transformed": {"transform": "{kind: type, id: id}"},
}


@pytest.fixture(scope="session")
def make_stack(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., LiveStack]]:
    """Start stacks of one's own: `make_stack(routes={...}, extra="[limits]\\n...")`.

    `top`, `lane`, `extra`: more lines of the configuration, see `support.stack`.
    """
    started: list[LiveStack] = []
    kept = dict(os.environ)

    def start(*, routes: dict[str, dict[str, Any]] | None = None, **more: Any) -> LiveStack:
        folder = tmp_path_factory.mktemp("stack")
        stop = Stop()
        supervisor = Supervisor(folder / "logs", stop=stop)
        try:
            stack = Stack(free_options(folder), supervisor, stop=stop, say=lambda _: None)
            live = LiveStack(stack, supervisor)
            live.start(routes=routes or ROUTES, environment=emulator_environment(), **more)
        except BaseException:
            supervisor.close()
            raise
        finally:
            # `Stack.prepare` points this process to the stack's AWS.
            os.environ.clear()
            os.environ.update(kept)
        started.append(live)
        return live

    yield start
    for live in reversed(started):
        live.close()
