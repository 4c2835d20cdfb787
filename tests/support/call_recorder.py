"""A pytest plugin that notes which calls to AWS each principal makes, processes included.

    pytest -p support.call_recorder tests/...      with RECORDED_CALLS=<file>

A process of a role is that principal. In the tests' own process the product's
outermost module on the stack says for whom a call is made; what a test does
itself, and what a thread of the transport does for nobody in particular, is not noted.
Lines are appended as they come, so that forked and killed processes lose none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from sealwax.aws.clients import Aws
from support.iam_requests import requests
from support.recorded_calls import shape

__all__ = ["DIRECT", "FILE_VARIABLE", "note", "start"]

FILE_VARIABLE = "RECORDED_CALLS"
ROOT = Path(__file__).resolve().parents[2]

#: The outermost of the product's folders on the stack, and for whom it calls.
FOLDERS = {
    "sealwax/steward/erasure.py": "eraser",
    "sealwax/steward/": "steward",
    "sealwax/web/tokens.py": "operator",
    "sealwax/web/": "api",
    "api/": "api",
    "sealwax/producer/": "api",
    "sealwax/worker/": "worker",
    "sealwax/transport/celery/": "worker",
    "sealwax/cli/": "operator",
}
COMMANDS = {
    "api": "api",
    "audit": "operator",
    "check": "operator",
    "jobs": "operator",
    "keys": "operator",
    "operators": "operator",
    "steward": "steward",
    "tokens": "operator",
    "worker": "worker",
}
_seen: set[tuple[str, str]] = set()


def _of_process() -> tuple[str | None, str]:
    """Return whose process this is, and a worker's lane."""
    words = sys.orig_argv[1:]
    at = next((n for n, word in enumerate(words) if Path(word).name == "sealwax"), None)
    if at is None:
        return None, "default"
    rest = [word for word in words[at + 1 :] if not word.startswith("-")]
    lane = words[words.index("--lane") + 1] if "--lane" in words else "default"
    if rest[:2] == ["jobs", "erase"]:
        return "eraser", lane
    return COMMANDS.get(rest[0] if rest else ""), lane


def _of_stack() -> str | None:
    """Return for whom the outermost of the product's modules on the stack calls."""
    found: str | None = None
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith((f"{ROOT}/sealwax/", f"{ROOT}/api/")):
            place = name[len(str(ROOT)) + 1 :]
            if (place, frame.f_code.co_name) == ("sealwax/cli/jobs.py", "erase"):
                return "eraser"
            found = next((who for folder, who in FOLDERS.items() if place.startswith(folder)), None)
        frame = frame.f_back
    return found


def note(service: str, operation: str, params: dict[str, Any], who: str | None = None) -> None:
    """Write down a call; `who` makes it, where a test says so."""
    of_process, lane = _of_process()
    who = who or of_process or _of_stack()
    if who is None or FILE_VARIABLE not in os.environ:
        return
    for request in requests("{environment}", service, operation, params):
        call = shape(who, request, lane=lane if of_process else None)
        if call is not None and (who, str(call)) not in _seen:
            _seen.add((who, str(call)))
            line = json.dumps([call.who, call.action, call.on, dict(call.context)]) + "\n"
            file = os.open(os.environ[FILE_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, line.encode())
            os.close(file)


#: Services whose requests may be made without the client's models: seen as they leave.
DIRECT = frozenset({"dynamodb", "sqs"})


def _called(params: dict[str, Any], model: Any, **_: Any) -> None:
    note(model.service_model.service_name, model.name, params)


def _sent(request: Any, event_name: str, **_: Any) -> None:
    service, operation = event_name.split(".")[1:]
    note(service, operation, json.loads(request.body))


def start() -> None:
    """Note the calls of all clients that this process makes from now on."""
    original = Aws._make

    def make(
        self: Aws,
        kind: str,
        service: str,
        overrides: dict[str, Any],
        endpoint_url: str | None = None,
    ) -> Any:
        known = len(self._clients)
        made = original(self, kind, service, overrides, endpoint_url)
        if len(self._clients) > known:
            client = made.meta.client if kind == "resource" else made
            if service in DIRECT:
                client.meta.events.register(f"before-send.{service}", _sent)
            else:
                client.meta.events.register("provide-client-params", _called)
        return made

    Aws._make = make  # type: ignore[method-assign]


def pytest_configure() -> None:
    """Record here and in every process that the tests start."""
    start()
    folder = Path(os.environ[FILE_VARIABLE]).parent / "recording"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        f"import os, sys\n"
        f"if os.environ.get({FILE_VARIABLE!r}) and 'sealwax' in ' '.join(sys.orig_argv):\n"
        f"    from support.call_recorder import start\n"
        f"    start()\n"
    )
    ours = [str(folder), str(ROOT), str(ROOT / "tests")]
    original = subprocess.Popen.__init__

    def begin(self: Any, *arguments: Any, **options: Any) -> None:
        environment = dict(options.get("env") or os.environ)
        given = environment.get("PYTHONPATH", "").split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join([*ours, *(each for each in given if each)])
        environment[FILE_VARIABLE] = os.environ[FILE_VARIABLE]
        original(self, *arguments, **{**options, "env": environment})

    subprocess.Popen.__init__ = begin  # type: ignore[method-assign,assignment]
