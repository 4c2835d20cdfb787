"""`sealwax operators` and `sealwax keys` of lanes, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sealwax.cli import cli
from sealwax.keys.lifecycle import init_keys
from sealwax.keys.operator import OperatorKey
from sealwax.secrets import FileSource
from sealwax.settings import load_settings


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """An environment of two lanes; gives the audit lines that commands leave."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sealwax.toml").write_text(
        f'suite = "x25519"\nsecrets_file = "{tmp_path}/secrets.json"\n'
        "[lanes.default]\n[lanes.slow]\n"
    )
    init_keys(load_settings(), FileSource(tmp_path / "secrets.json"))
    found: list[dict[str, Any]] = []
    for module in ("keys", "operators"):
        monkeypatch.setattr(
            f"sealwax.cli.{module}.record_cli", lambda _stores, **line: found.append(line)
        )
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def listed() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(run("operators", "list", "--json").output)
    return rows


def test_add_makes_a_key_and_enrols_it(lines: list[dict[str, Any]], tmp_path: Path) -> None:
    done = run("operators", "add", "ada", "--key", "ada.json")
    assert done.exit_code == 0, done.output
    key = OperatorKey.read(tmp_path / "ada.json")
    assert [(row["id"], row["name"]) for row in listed()] == [(key.id, "ada")]
    assert [(line["verb"], line["target"]["id"]) for line in lines] == [("operator.add", key.id)]
    assert json.loads(key.to_json())["seed"] not in (tmp_path / "secrets.json").read_text()


def test_add_does_not_overwrite(lines: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "ada.json").write_text("something")
    done = run("operators", "add", "ada", "--key", "ada.json")
    assert done.exit_code == 1
    assert (tmp_path / "ada.json").read_text() == "something"
    assert lines == []
    assert listed() == []


def test_add_enrols_somebody_else_s_public_half(
    lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    grace = OperatorKey.create("grace", "x25519", 1)
    grace.write(tmp_path / "grace.json")
    half = run("operators", "public", "--key", "grace.json")
    (tmp_path / "half.json").write_text(half.stdout)
    assert grace.id in half.stderr
    assert run("operators", "add", "eve", "--public", "half.json").exit_code == 2
    assert listed() == []
    done = run("operators", "add", "grace", "--public", "half.json")
    assert done.exit_code == 0, done.output
    assert f"enrolled {grace.id} grace" in done.output
    assert len(lines) == 1


def test_remove_is_a_dry_run_unless_it_is_meant(lines: list[dict[str, Any]]) -> None:
    run("operators", "add", "ada", "--key", "ada.json")
    (row,) = listed()
    done = run("operators", "remove", row["id"])
    assert "nothing was changed" in done.output
    assert listed() == [row]
    assert run("operators", "remove", row["id"], "--yes").exit_code == 0
    assert [found["state"] for found in listed()] == ["removed"]
    assert [line["verb"] for line in lines] == ["operator.add", "operator.remove"]
    assert run("operators", "remove", row["id"], "--yes").exit_code == 1


def seals(lane: str) -> list[str]:
    rows = json.loads(run("keys", "list", "--json").output)
    return sorted(row["state"] for row in rows if (row["lane"], row["kind"]) == (lane, "seal"))


def test_rotate_renews_one_lane_or_all(lines: list[dict[str, Any]]) -> None:
    assert run("keys", "rotate", "--lane", "slow").exit_code == 0
    assert (seals("slow"), seals("default")) == (["active", "open"], ["active"])
    assert run("keys", "rotate", "--all-lanes").exit_code == 0
    assert (len(seals("slow")), len(seals("default"))) == (3, 2)
    assert [line["target"] for line in lines] == [
        {"role": "worker", "lane": "slow"}, {"role": "worker", "lanes": "all"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [["--lane", "slow", "--all-lanes"], ["--role", "api", "--lane", "slow"],
     ["--role", "api", "--all-lanes"]],
    ids=" ".join,
)  # fmt: skip
def test_rotate_refuses_what_makes_no_sense(
    lines: list[dict[str, Any]], options: list[str]
) -> None:
    assert run("keys", "rotate", *options).exit_code == 2
    assert run("keys", "rotate", "--lane", "nowhere").exit_code == 1
    assert lines == []


def test_init_names_what_a_new_lane_needs(lines: list[dict[str, Any]], tmp_path: Path) -> None:
    with (tmp_path / "sealwax.toml").open("a") as file:
        file.write("[lanes.new]\n")
    done = run("keys", "init")
    assert done.exit_code == 0
    assert "run `sealwax keys rotate --lane new`" in done.stderr
    assert lines == []
