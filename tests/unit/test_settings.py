"""Where settings come from, what goes before what, and what errors show."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sealwax.errors import ConfigurationError
from sealwax.settings import Lane, Settings, load_settings

CANARY = "canary-71fe"


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("SEALWAX_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default() -> None:
    settings = load_settings()
    assert settings.environment == "local"
    assert list(settings.lanes) == ["default"]
    assert settings.suite == "x-wing"


def test_payloads_are_revealed_to_operators_keys_but_on_a_laptop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().reveal_mode == "console"
    assert load_settings(environment="prod").reveal_mode == "operator-key"
    monkeypatch.setenv("SEALWAX_REVEAL__MODE", "off")
    assert load_settings(environment="prod").reveal_mode == "off"
    monkeypatch.setenv("SEALWAX_REVEAL__MODE", "operator-key")
    assert load_settings().reveal_mode == "operator-key"
    for wrong in ("operator_key", ""):
        monkeypatch.setenv("SEALWAX_REVEAL__MODE", wrong)
        with pytest.raises(ConfigurationError, match=r"reveal\.mode"):
            load_settings()


def test_arguments_go_before_variables_before_the_file_before_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sealwax.toml").write_text(
        'environment = "file"\nsuite = "x25519"\n[limits]\nattempts = 3\ncrashes = 4\n'
    )
    assert load_settings().environment == "file"
    monkeypatch.setenv("SEALWAX_ENVIRONMENT", "variable")
    monkeypatch.setenv("SEALWAX_LIMITS__ATTEMPTS", "5")
    found = load_settings()
    assert (found.environment, found.suite) == ("variable", "x25519")
    # Sections are merged, not replaced.
    assert (found.limits.attempts, found.limits.crashes) == (5, 4)
    assert found.limits.message_bytes == 262_144
    assert load_settings(environment="argument").environment == "argument"


def test_the_file_is_named_by_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sealwax.toml").write_text('environment = "current"\n')
    other = tmp_path / "other.toml"
    other.write_text('environment = "other"\n')
    monkeypatch.setenv("SEALWAX_CONFIG", str(other))
    assert load_settings().environment == "other"
    monkeypatch.setenv("SEALWAX_CONFIG", "")
    assert load_settings().environment == "current"


def test_a_named_file_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in (tmp_path / "absent.toml", tmp_path):
        monkeypatch.setenv("SEALWAX_CONFIG", str(path))
        with pytest.raises(ConfigurationError, match="SEALWAX_CONFIG"):
            load_settings()


def test_lanes_come_from_variables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALWAX_LANES__SLOW__CONCURRENCY", "7")
    monkeypatch.setenv("SEALWAX_LANES__SLOW__POOL", "solo")
    assert load_settings().lanes["slow"] == Lane(queue=None, pool="solo", concurrency=7, lease=30)


def test_no_env_file_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SEALWAX_ENVIRONMENT=dotenv\n")
    assert load_settings().environment == "local"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f'environment = "{CANARY} not a name"', "environment"),
        (f'suite = "{CANARY}"', "suite"),
        (f'prefix = "{CANARY}/"', "prefix"),
        (f'log_level = "{CANARY}"', "log_level"),
        (f'unheard_of = "{CANARY}"', "unheard_of"),
        (f'[limits]\nattempts = "{CANARY}"', "limits.attempts"),
        (f'[limits]\nunheard_of = "{CANARY}"', "limits.unheard_of"),
        (f'[lanes.slow]\npool = "{CANARY}"', "lanes.slow.pool"),
        (f'lanes = "{CANARY}"', "lanes"),
        (f'[aws]\nread = "{CANARY}"', "aws.read"),
        (f'secrets_refresh_seconds = "{CANARY}"', "secrets_refresh_seconds"),
        (f'environment = "{CANARY}', "cannot be read as TOML"),
    ],
)
def test_what_does_not_fit_is_named_and_not_shown(text: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "sealwax.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert named in str(caught.value)
    assert CANARY not in str(caught.value)
    # Nor where the error is printed whole, as a failing start does.
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEALWAX_LIMITS", f"{{{CANARY}"),
        ("SEALWAX_LANES", CANARY),
        ("SEALWAX_TASK_MODULES", f"[{CANARY}"),
        ("SEALWAX_LIMITS__ATTEMPTS", CANARY),
    ],
)
def test_variables_that_do_not_fit_are_not_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert name.removeprefix("SEALWAX_").split("__")[0].lower() in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_all_that_does_not_fit_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "sealwax.toml").write_text('suite = "x"\n[limits]\nattempts = 0\ncrashes = 0\n')
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert all(name in str(caught.value) for name in ("suite", "limits.attempts", "limits.crashes"))


@pytest.mark.parametrize("good", ["a", "prod", "eu-west-1", "a" * 31])
def test_good_environments(good: str) -> None:
    assert Settings(environment=good).environment == good


@pytest.mark.parametrize("bad", ["", "A", "1a", "-a", "a_b", "a b", "a" * 32, "a\n"])
def test_bad_environments(bad: str) -> None:
    with pytest.raises(ValidationError):
        Settings(environment=bad)


def test_names_of_resources() -> None:
    settings = Settings(
        environment="prod",
        lanes={
            "default": {},
            "slow": {"queue": "their-queue"},
            "ordered": {"queue": "theirs.fifo"},
            "audit.fifo": {},
        },
    )
    assert [settings.queue_name(lane) for lane in settings.lanes] == [
        "sealwax-prod_default", "their-queue", "theirs.fifo", "sealwax-prod_audit.fifo",
    ]  # fmt: skip
    assert [settings.dead_letter_queue_name(lane) for lane in settings.lanes] == [
        "sealwax-prod_default-dlq", "their-queue-dlq", "theirs-dlq.fifo",
        "sealwax-prod_audit-dlq.fifo",
    ]  # fmt: skip
    assert settings.table_name("jobs") == "sealwax-prod-jobs"
    assert settings.kms_alias("worker") == "alias/sealwax-prod-worker"
    assert Settings(prefix="acme").table_name("jobs") == "acme-jobs"


def test_an_unknown_lane_says_which_there_are() -> None:
    settings = Settings(lanes={"b": {}, "a": {}})
    with pytest.raises(ConfigurationError, match=r"lanes\.nope.*a, b"):
        settings.queue_name("nope")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field("https://x", pattern="^https://")
    depth: int = 1


def test_a_task_module_s_section_is_validated() -> None:
    settings = Settings(tasks={"crm": {"depth": 3}})
    assert settings.section("crm", Section) == Section(depth=3)
    assert settings.section("absent", Section) == Section()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"url": CANARY}, "tasks.crm.url"),
        ({"depth": CANARY}, "tasks.crm.depth"),
        ({"other": CANARY}, "tasks.crm.other"),
        (CANARY, "tasks.crm."),
    ],
    ids=repr,
)
def test_a_section_that_does_not_fit_is_named_and_not_shown(values: Any, named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings(tasks={"crm": values}).section("crm", Section)
    assert named in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("SEALWAX_LIMIT__ATTEMPTS", "SEALWAX_LIMITS"), ("SEALWAX_XYZZY", "settings.md")],
)
def test_a_mistyped_variable_is_refused_with_a_hint(monkeypatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=hint):
        load_settings()


@pytest.mark.parametrize("name", ["a", "prod", "prod-eu", "prod-worker", "a1-2b", "a" * 31])
def test_environments_names_are_plain(name):
    assert Settings(environment=name).name_prefix == f"sealwax-{name}"


@pytest.mark.parametrize(
    "name", ["", "1a", "prod_eu", "prod--eu", "prod-", "Prod", "a.b", "a" * 32]
)
def test_environments_names_that_could_be_read_in_two_ways_are_refused(name):
    with pytest.raises(ConfigurationError, match="environment"):
        load_settings(environment=name)


@pytest.mark.parametrize("name", ["default", "eu-default", "ordered.fifo", "dlq"])
def test_lanes_names_are_plain(name):
    assert load_settings(lanes={name: {}}).queue_name(name) == f"sealwax-local_{name}"


@pytest.mark.parametrize(
    "name", ["a_b", "a--b", "a-", "A", "a/b", "a*", "x-dlq", "x-dlq.fifo", "a.b", "", ".fifo"]
)
def test_lanes_names_that_could_be_read_in_two_ways_are_refused(name):
    with pytest.raises(ConfigurationError, match="needs another name"):
        load_settings(lanes={name: {}})


def test_no_two_lanes_share_a_queue():
    with pytest.raises(ConfigurationError, match=r"^The .* 'a' and 'b' share the queue 'theirs'"):
        load_settings(lanes={"a": {"queue": "theirs"}, "b": {"queue": "theirs"}})
    with pytest.raises(ConfigurationError, match=r"share the queue 'theirs-dlq'.*lanes\.b\.queue"):
        load_settings(lanes={"a": {"queue": "theirs"}, "b": {"queue": "theirs-dlq"}})


@pytest.mark.parametrize(
    "text",
    ["", 'environment = "x"', "# a comment", "\n", "[limits]\nattempts = 3"],
)
def test_a_byte_order_mark_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "sealwax.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    with pytest.raises(ConfigurationError, match=r"sealwax\.toml begins with a byte order mark"):
        load_settings()
