"""`sealwax://` is known to kombu whatever an installed app imports first."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Ends in the class of the broker's transport; SQS itself is not asked.
ENDS = {
    "a connection of an app that names a task class": """
from celery import Celery
app = Celery("shop", broker="sealwax://", task_cls="sealwax.transport:Task")
print(app.connection_for_write().transport_cls)
""",
    "send_task before any task object": """
from celery import Celery
app = Celery("shop", broker="sealwax://", task_cls="sealwax.transport:Task")
app.conf.broker_transport_options = {"send_timeout": 1, "connect_timeout": 1, "linger": 0}
try:
    app.send_task("orders.pay", queue="orders", retry=False)
except Exception as error:
    # Nothing listens: the transport itself says so.
    causes = [error]
    while causes[-1].__cause__ or causes[-1].__context__:
        causes.append(causes[-1].__cause__ or causes[-1].__context__)
    print(*[f"{type(one).__module__}.{type(one).__name__}" for one in causes])
""",
    "settings by name": """
import os
from celery import Celery
os.environ["CELERY_BROKER_URL"] = "sealwax://"
print(Celery("shop").connection_for_write().transport_cls)
""",
    "kombu's producer": """
from kombu import Connection, Producer
Producer
print(Connection("sealwax://").transport_cls)
""",
    "kombu's serializers first": """
import kombu.serialization
from kombu.transport import TRANSPORT_ALIASES
assert TRANSPORT_ALIASES["sealwax"] == "sealwax.transport:Transport"
from kombu import Connection
print(Connection("sealwax://").transport_cls)
""",
    "the client's pools first": """
from kombu.pools import connections
from kombu import Connection
with connections[Connection("sealwax://")].acquire(block=True) as connection:
    print(connection.transport_cls)
""",
    "a failover from another broker": """
from celery import Celery
app = Celery("shop", broker=["memory://", "sealwax://"])
connection = app.connection_for_write()
connection.switch(connection.alt[1])
print(connection.get_transport_cls())
""",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installer writes of the project's entry points, first on the path."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    folder = tmp_path_factory.mktemp("site")
    meta = folder / "sealwax-0.1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: sealwax\nVersion: 0.1.0\n")
    lines = [
        f"[{group}]\n{name} = {value}" for group, g in points.items() for name, value in g.items()
    ]
    (meta / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def run(code: str, site: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("way", ENDS)
def test_the_scheme_is_known_whatever_is_imported_first(way: str, installed: Path) -> None:
    done = run(ENDS[way], installed)
    assert done.stdout.strip(), done.stderr
    assert "sealwax" in done.stdout, done.stdout + done.stderr
    assert "No such transport" not in done.stdout + done.stderr


def test_kombu_loads_no_room_of_the_engine(installed: Path) -> None:
    code = (
        "import sys, kombu.serialization\nprint(sorted(m for m in sys.modules if 'sealwax' in m))"
    )
    done = run(code, installed)
    assert done.stdout.strip() == "['sealwax', 'sealwax.broker_scheme']", done.stderr


def test_the_entry_point_is_no_serializer(installed: Path) -> None:
    code = """
from kombu.serialization import dumps, loads, registry
before = dumps({"a": 1}, serializer="json")
assert before[0] == "application/json", before
assert registry.type_to_name["application/json"] == "json"
try:
    dumps({"a": 1}, serializer="sealwax")
except Exception as error:
    print(type(error).__name__)
"""
    done = run(code, installed)
    assert done.stdout.strip() == "SerializerNotInstalled", done.stdout + done.stderr
