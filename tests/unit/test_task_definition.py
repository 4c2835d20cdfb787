"""Declaring and finding tasks."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from pydantic import BaseModel

from sealwax.errors import ConfigurationError
from sealwax.job import Job, SecretNotDeclared
from sealwax.retry import RetryPolicy
from sealwax.settings import Settings, load_settings
from sealwax.task_definition import (
    MAX_TIME_LIMIT,
    InvalidPayload,
    NoTaskModules,
    TaskDefinition,
    TaskModuleNotFound,
    discover,
    task,
)


class Greeting(BaseModel):
    """Who is greeted."""

    name: str


def _declare(**changes: Any) -> TaskDefinition[Greeting]:
    arguments: dict[str, Any] = {"name": "demo.greet", "contract": Greeting} | changes

    @task(**arguments)
    def greet(payload: Greeting, job: Job) -> str:
        """Greet somebody.

        At length.
        """
        return f"{payload.name} {job}"

    return greet


def test_a_declaration_is_a_value_and_still_a_function() -> None:
    greet = _declare()
    assert (greet.name, greet.version, greet.lane, greet.time_limit) == (
        "demo.greet", 1, "default", None,
    )  # fmt: skip
    assert greet.retry is None
    assert greet(Greeting(name="Ann"), SimpleNamespace()) == "Ann namespace()"  # type: ignore[arg-type]
    assert greet.description == "Greet somebody."
    assert list(greet.secrets(SimpleNamespace())) == []  # type: ignore[arg-type]


def test_a_function_without_words_is_described_by_its_contract() -> None:
    assert task(name="demo.x", contract=Greeting)(lambda payload, job: None).description == (
        "Who is greeted."
    )


@pytest.mark.parametrize("name", ["a.b", "webhooks.relay", "crm2.up_sert.v2", f"a.{'b' * 98}"])
def test_good_names(name: str) -> None:
    assert _declare(name=name).name == name


@pytest.mark.parametrize(
    "name",
    ["", "relay", "Webhooks.relay", "webhooks.", ".relay", "a..b", "a-b.c", "a.b ", "a.b\n", "1.b",
     "ä.b", f"a.{'b' * 99}"],
)  # fmt: skip
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="Task name"):
        _declare(name=name)


@pytest.mark.parametrize("limit", [1, MAX_TIME_LIMIT])
def test_a_time_limit_at_its_edges_is_taken(limit: int) -> None:
    assert _declare(time_limit=limit).time_limit == limit


@pytest.mark.parametrize("limit", [0, -1, MAX_TIME_LIMIT + 1])
def test_a_time_limit_that_sqs_cannot_keep_is_refused(limit: int) -> None:
    with pytest.raises(ConfigurationError, match=r"demo\.greet"):
        _declare(time_limit=limit)


@pytest.mark.parametrize("version", [1, 1_000_000])
def test_a_contract_version_at_its_edges_is_taken(version: int) -> None:
    assert _declare(version=version).version == version


@pytest.mark.parametrize("version", [0, -1, 1_000_001])
def test_a_contract_version_that_no_envelope_carries_is_refused(version: int) -> None:
    with pytest.raises(ConfigurationError, match="version"):
        _declare(version=version)


def test_settings_override_a_policy_field_by_field() -> None:
    greet = _declare(retry=RetryPolicy(attempts=3, base=5, permanent=(KeyError,)))
    changed = Settings(retry={"demo.greet": {"attempts": 9, "cap": 60}})
    assert greet.policy(changed) == RetryPolicy(attempts=9, base=5, cap=60, permanent=(KeyError,))
    assert greet.policy(Settings(retry={"demo.other": {"attempts": 9}})) is greet.retry
    with pytest.raises(ConfigurationError, match="base"):
        greet.policy(Settings(retry={"demo.greet": {"cap": 1}}))


def test_an_invalid_payload_points_at_the_place() -> None:
    error = InvalidPayload("/route", "is not configured")
    assert (error.pointer, error.detail) == ("/route", "is not configured")
    assert str(error) == "/route: is not configured"


def test_a_job_hands_out_declared_secrets_only() -> None:
    job = Job(
        id="1" * 32,
        task="demo.greet",
        tenant="ab" * 16,
        attempt=1,
        accepted_at=0.0,
        settings=Settings(),
        secrets={"app/x": "canary-5e"},
    )
    assert job.secret("app/x") == "canary-5e"
    with pytest.raises(SecretNotDeclared, match="app/y"):
        job.secret("app/y")
    assert "canary" not in repr(job)


# -- discovery ----------------------------------------------------------------------

Package = Callable[..., str]

MODULE = """
from pydantic import BaseModel
from sealwax.task_definition import task
class Nothing(BaseModel): pass
@task(name={name!r}, contract=Nothing)
def run(payload, job): pass
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Return a function that writes a package of modules and returns its name."""
    name = f"found_{uuid.uuid4().hex[:8]}"
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**modules: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text(modules.pop("init", ""))
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text)
        return name

    yield write  # type: ignore[misc]
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        del sys.modules[module]


def test_tasks_of_a_package_and_its_modules_are_found(package: Package) -> None:
    name = package(
        init=MODULE.format(name="top.run"),
        one=MODULE.format(name="one.run"),
        two=MODULE.format(name="two.run"),
    )
    assert sorted(discover([name])) == ["one.run", "top.run", "two.run"]
    assert sorted(discover([f"{name}.one"])) == ["one.run"]
    # Named twice, or imported by another module, it is still one task.
    assert sorted(discover([name, f"{name}.one"])) == ["one.run", "top.run", "two.run"]


def test_a_task_imported_elsewhere_is_the_same(package: Package) -> None:
    name = package(one=MODULE.format(name="one.run"), two="from .one import run")
    assert list(discover([name])) == ["one.run"]


def test_two_tasks_of_one_name_are_refused(package: Package) -> None:
    name = package(one=MODULE.format(name="same.run"), two=MODULE.format(name="same.run"))
    with pytest.raises(ConfigurationError, match=r"same\.run"):
        discover([name])


@pytest.mark.parametrize("missing", ["no_such_package_9f", "no_such_package_9f.inner"])
def test_a_missing_package_says_what_to_do(missing: str) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        discover([missing])


def test_a_missing_module_of_a_package_says_what_to_do(package: Package) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        discover([f"{package()}.absent"])


def test_a_package_s_own_failing_import_is_not_hidden(package: Package) -> None:
    """`install it` would mislead: the package is there, something it needs is not."""
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency_9f"):
        discover([package(one="import no_such_dependency_9f")])


def test_no_packages_are_an_error_that_says_what_to_set() -> None:
    with pytest.raises(NoTaskModules, match="task_modules"):
        discover([])


def test_a_module_that_is_not_there_has_an_error_of_its_own() -> None:
    with pytest.raises(TaskModuleNotFound, match=r"names no_such_tasks_4d, .*--app-dir"):
        discover(["no_such_tasks_4d"])


def test_each_task_is_logged_with_its_module_and_file(package: Package) -> None:
    name = package(one=MODULE.format(name="one.run"))
    with structlog.testing.capture_logs() as lines:
        (found,) = discover([name]).values()
    (line,) = [each for each in lines if each["event"] == "task served"]
    assert line["task"] == found.name
    assert line["source"].startswith(f"{name}.one (")
    assert line["source"].endswith("one.py)")


@pytest.mark.parametrize(("policy", "attempts"), [(None, 3), (RetryPolicy(attempts=5), 5)])
def test_a_task_without_its_own_policy_has_the_settings_attempts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: RetryPolicy | None, attempts: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEALWAX_LIMITS__ATTEMPTS", "3")
    greet = task(name="demo.greet", contract=Greeting, retry=policy)(lambda payload, job: None)
    assert greet.policy(load_settings()).attempts == attempts
