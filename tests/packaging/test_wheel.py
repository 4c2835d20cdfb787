"""The wheel as a team installs it: `sealwax` only, beside modules of their own."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest
from support.installing import PIP, run

TASKS = """
from pydantic import BaseModel
from sealwax import Job, task

class Parcel(BaseModel):
    number: int

@task(name="parcels.send", contract=Parcel)
def send(payload: Parcel, job: Job) -> int:
    return payload.number
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A team's repository, with a `tasks` and an `api` of its own."""
    for name in ("tasks", "api"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "tasks" / "parcels.py").write_text(TASKS)
    (tmp_path / "sealwax.toml").write_text('task_modules = ["tasks"]\n')
    return tmp_path


def test_it_holds_sealwax_only_and_all_that_it_reads(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"sealwax", *(top for top in tops if top.endswith(".dist-info"))}
    for needed in (
        "sealwax/py.typed",
        "sealwax/local/emulator.txt",
        "sealwax/web/console/templates/console/overview.html",
        "sealwax/web/console/static/console.css",
        "sealwax/scaffold/project/tasks/greetings.py.in",
    ):
        assert needed in names


def test_the_command_serves_the_folders_own_tasks(python: Path, project: Path) -> None:
    command = str(python.with_name("sealwax"))
    # `check` asks AWS too, which is not there.
    done = run(
        [command, "check", "--json"], project, AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_REGION="eu-central-1",
        SEALWAX_AWS__ATTEMPTS="1",
    )  # fmt: skip
    served = [line for line in (done.stdout + done.stderr).splitlines() if "parcels.send" in line]
    assert served, done.stdout + done.stderr
    assert "webhooks.relay" not in done.stdout + done.stderr


def test_tasks_that_are_not_there_are_named(python: Path, tmp_path: Path) -> None:
    (tmp_path / "sealwax.toml").write_text('task_modules = ["tasks"]\n')
    done = run([str(python.with_name("sealwax")), "check"], tmp_path)
    assert done.returncode == 1
    assert "no module tasks" in done.stdout + done.stderr
    assert "--app-dir" in done.stdout + done.stderr


def test_another_folder_can_be_named(python: Path, project: Path, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    command = [str(python.with_name("sealwax")), "--app-dir", str(project), "check", "--json"]
    done = run(command, elsewhere, SEALWAX_TASK_MODULES='["tasks"]', SEALWAX_AWS__ATTEMPTS="1",
               AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ACCESS_KEY_ID="test",
               AWS_SECRET_ACCESS_KEY="test", AWS_REGION="eu-central-1")  # fmt: skip
    assert "parcels.send" in done.stdout + done.stderr


@pytest.mark.long
def test_a_foreign_wheel_of_tasks_and_api_is_neither_mixed_nor_lost(
    python: Path, wheel: Path, tmp_path: Path
) -> None:
    for name in ("tasks", "api"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"OWNER = 'acme {name}'\n")
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "acme-jobs"\nversion = "1"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["tasks", "api"]\n'
    )
    pip = [*PIP, "--python", str(python)]
    install = [*pip, "install", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*install, str(tmp_path)], check=True, timeout=120)
    look = [str(python), "-c", "import api, tasks; print(api.OWNER, tasks.OWNER, tasks.__path__)"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([*pip, "uninstall", "--yes", "sealwax"], check=True, timeout=120)
    try:
        done = run(look, elsewhere)
        assert done.stdout.startswith("acme api acme tasks"), done.stderr
    finally:
        subprocess.run([*install, str(wheel)], check=True, timeout=120)
        subprocess.run([*pip, "uninstall", "--yes", "acme-jobs"], check=True, timeout=120)


#: Modules of extras: an import of one fails as if it were not installed.
EXTRAS = {
    "certifi", "credstash", "flask", "gunicorn", "idna", "markupsafe", "phonenumbers", "requests",
    "rich", "standardwebhooks", "waitress", "werkzeug",
}  # fmt: skip
BLOCK = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""

CORE = """
import sealwax
import sealwax.transport
from celery import Celery
app = Celery("shop", broker="sealwax://", task_cls="sealwax.transport:Task")
assert type(app.connection().transport).__module__ == "sealwax.transport.transport"
@app.task
def hello(): ...
assert isinstance(hello, sealwax.transport.Task)
assert all(getattr(sealwax, name) for name in sealwax.__all__)
sys.path.insert(0, ".")
from tasks.parcels import send
print(sealwax.run_task(send, {"number": 4}).result)
"""

BY_NAME = """
import sys
from celery import Celery
app = Celery("shop", broker="sealwax://")
app.conf.broker_transport = "sealwax.transport:Transport"
assert "sealwax.transport" not in sys.modules
print(type(app.connection_for_write().transport).__module__)
"""

BY_SCHEME = """
import sys
from celery import Celery
app = Celery("shop", broker="sealwax://", task_cls="sealwax.transport:Task")
assert "sealwax.transport" not in sys.modules
print(type(app.connection_for_write().transport).__module__)
"""

ALONE = """
import sys, sealwax.transport, sealwax.transport.celery.task
rooms = {"settings", "keys", "envelope", "ledger", "runtime", "worker", "producer", "outbox"}
packages = {"pydantic_settings", "cryptography", "structlog", "flask"}
print(sorted(
    name for name in sys.modules
    if name in {f"sealwax.{room}" for room in rooms} or name.partition(".")[0] in packages
))
"""


def test_the_core_alone_is_a_broker_and_runs_tasks(python: Path, project: Path) -> None:
    done = run([str(python), "-c", BLOCK + CORE], project)
    assert done.stdout.splitlines()[-1:] == ["4"], done.stdout + done.stderr


def test_a_producer_may_name_the_transport_without_importing_it(
    python: Path, tmp_path: Path
) -> None:
    done = run([str(python), "-c", BLOCK + BY_NAME], tmp_path)
    assert done.stdout == "sealwax.transport.transport\n", done.stdout + done.stderr


def test_a_producer_that_only_names_tasks_needs_no_import(python: Path, tmp_path: Path) -> None:
    done = run([str(python), "-c", BLOCK + BY_SCHEME], tmp_path)
    assert done.stdout == "sealwax.transport.transport\n", done.stdout + done.stderr


def test_the_transport_loads_neither_settings_nor_keys(python: Path, tmp_path: Path) -> None:
    done = run([str(python), "-c", ALONE], tmp_path)
    assert done.stdout == "[]\n", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [("submit x --payload {}", "cli"), ("api", "api")],
)
def test_a_missing_extra_is_named(python: Path, project: Path, arguments: str, extra: str) -> None:
    code = f"{BLOCK}sys.argv[1:] = {arguments.split()!r}\nfrom sealwax.cli import main\nmain()"
    done = run([str(python), "-c", code], project, AWS_REGION="eu-central-1")
    assert done.returncode == 1
    assert f"sealwax[{extra}]" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
