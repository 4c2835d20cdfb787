"""Tables for people, JSON for programs; and one word for one thing."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from sealwax.cli import cli
from sealwax.cli.tables import show_rows

ROWS = [{"id": f"default-host-{'3' * 60}-1", "n": 1, "more": None}]


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--none", is_flag=True)
def shown(*, as_json: bool, none: bool) -> None:
    columns = {"worker": lambda row: row["id"], "twice": lambda row: row["n"] * 2}
    show_rows([] if none else ROWS, columns, as_json=as_json, nothing="There is nothing.")


def test_a_table_in_a_pipe_keeps_ids_whole() -> None:
    done = CliRunner().invoke(shown, [])
    assert str(ROWS[0]["id"]) in done.output
    assert "2" in done.output.splitlines()[-2]


def test_json_is_all_of_each_row() -> None:
    assert json.loads(CliRunner().invoke(shown, ["--json"]).output) == ROWS
    assert json.loads(CliRunner().invoke(shown, ["--json", "--none"]).output) == []


def test_an_empty_table_says_so() -> None:
    assert CliRunner().invoke(shown, ["--none"]).output == "There is nothing.\n"


def options(command: click.Command) -> list[tuple[str, click.Option]]:
    found = [
        (command.name or "", option)
        for option in command.params
        if isinstance(option, click.Option)
    ]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found += options(inner)
    return found


@pytest.mark.parametrize(
    ("flag", "word"), [("--why", "audit log"), ("--reason", "reason")], ids=["why", "reason"]
)
def test_why_is_the_operators_word_and_reason_is_a_filter(flag: str, word: str) -> None:
    of = [option for _, option in options(cli) if flag in option.opts]
    assert of
    assert all(word in (option.help or "").lower() for option in of)
