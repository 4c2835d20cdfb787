"""What counts as a hop and as a layer."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tools"))
import paths  # noqa: E402 - a program, not a package


def test_what_is_not_listed_is_a_hop() -> None:
    called = ["web/jobs:submit", "settings:Settings.queue_name", "a:part", "new:wrapper"]
    assert paths.hops(called, details=["a:part"]) == ["web/jobs:submit", "new:wrapper"]


def test_layers_are_ours_and_celerys_between_them_in_the_main_process() -> None:
    receiving = ["transport/receiver:main", "transport/receiver:receive"]
    loop = ["celery/loops.py:loop", "transport/a:read", "kombu/b.py:callback", "celery/c.py:pool"]
    child = ["celery/trace.py:trace", "worker/task:run"]
    assert paths.layers(receiving, loop, child, passed=["transport/receiver:main"]) == [
        "transport/receiver:receive",
        "transport/a:read",
        "kombu/b.py:callback",
        "celery/c.py:pool",
        "worker/task:run",
    ]


@pytest.fixture
def recorder(tmp_path: Path) -> paths.Recorder:
    """A recorder of calls into a package made here."""
    return paths.Recorder(roots={str(tmp_path): "made/"})


SOURCE = """
class A:
    def __init__(self):
        self.value = 1

    @property
    def look(self):
        return self.value

    def step(self):
        return [part(self.look) for _ in (1, 2)]


def part(value):
    return (lambda: value)()
"""


def test_a_recorder_names_each_function_once(recorder: paths.Recorder, tmp_path: Path) -> None:
    path = tmp_path / "room.py"
    names: dict[str, object] = {"__name__": "made"}
    exec(compile(SOURCE, path, "exec"), names)
    cls = names["A"]
    assert isinstance(cls, type)

    def run() -> None:
        sys.setprofile(recorder._profile)
        recorder.recording = True
        cls().step()
        recorder.recording = False
        sys.setprofile(None)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    # The class stands in no module that was imported: its property is not known for one.
    assert recorder.functions() == ["made/room:A.step", "made/room:A.look", "made/room:part"]


def test_a_hand_over_keeps_the_first_stack(recorder: paths.Recorder, tmp_path: Path) -> None:
    names: dict[str, object] = {}
    source = "def outer(): inner()\ndef inner(): pass\n"
    exec(compile(source, tmp_path / "room.py", "exec"), names)
    outer, inner = names["outer"], names["inner"]
    assert callable(outer)
    assert callable(inner)
    recorder.hand_overs[inner.__code__] = "handed"  # type: ignore[attr-defined]

    def run() -> None:
        sys.setprofile(recorder._profile)
        recorder.recording = True
        outer()
        inner()
        sys.setprofile(None)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert recorder.stacks == {"handed": ["made/room:outer", "made/room:inner"]}


def test_properties_are_found_to_be_left_out() -> None:
    from sealwax.runtime import Runtime

    getter = Runtime.__dict__["keyring"].fget
    assert getter.__code__ in set(paths._getters(["sealwax"]))
