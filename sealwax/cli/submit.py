"""`sealwax submit`."""

from __future__ import annotations

import gzip
import json
import secrets
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sealwax.client import ApiClient, client_from_environment
from sealwax.errors import SealwaxError

__all__ = ["submit"]

#: Jobs that are under way in this command at once; more wait for their turn.
_AT_ONCE = 16

#: Failures listed one by one.
_LISTED = 10


def read_payloads(path: Path) -> Iterator[Any]:
    """Yield the payloads of a `.json`, `.jsonl` or `.jsonl.gz` file, one at a time.

    Raises
    ------
    click.ClickException
        Where a line is not JSON; names the line, not its content.
    """
    lines = path.name.endswith((".jsonl", ".jsonl.gz", ".ndjson"))
    opener = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            if not lines:
                yield json.load(file)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except ValueError:
                        raise click.ClickException(
                            f"{path.name}, line {number}: not JSON; nothing after it was sent"
                        ) from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path}: cannot be read ({error})") from None
    except json.JSONDecodeError as error:
        raise click.ClickException(f"{path.name}: not JSON (line {error.lineno})") from None


class _Fitter:
    """Leaves out top-level members that the task's contract does not have.

    Files made for something else often carry more than a task wants (a line
    number, an origin). Left-out names are counted and shown, and `--strict`
    turns this off.
    """

    def __init__(self, schema: dict[str, Any], *, strict: bool) -> None:
        closed = schema.get("additionalProperties") is False
        self._known = set(schema.get("properties", {})) if closed and not strict else None
        self.left_out: Counter[str] = Counter()

    def fit(self, payload: Any) -> Any:
        if self._known is None or not isinstance(payload, dict):
            return payload
        extra = set(payload) - self._known
        self.left_out.update(extra)
        return {name: value for name, value in payload.items() if name not in extra}


@click.command()
@click.argument("task")
@click.option("--payload", help="The payload as JSON.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A .json file, or one payload a line in .jsonl or .jsonl.gz.",
)
@click.option("--wait", "follow", is_flag=True, help="Follow the jobs to their ends.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to follow a job.")
@click.option("--strict", is_flag=True, help="Send members that the contract does not have, too.")
@click.option(
    "--run",
    help="Name of this run, from which the Idempotency-Keys are made: give the name of an "
    "interrupted run to go on without doubles. Default: random.",
)
def submit(
    task: str,
    payload: str | None,
    path: Path | None,
    follow: bool,  # noqa: FBT001 - a flag of the command line
    timeout: float,
    strict: bool,  # noqa: FBT001 - a flag of the command line
    run: str | None,
) -> None:
    r"""Submit one or many jobs of TASK through the API.

    Exits with 0 when all were accepted (with --wait: succeeded).

    \b
    Examples:
      sealwax submit webhooks.relay --payload '{"event": "ping", "body": {"zen": 1}}' --wait
      sealwax submit webhooks.relay --file events.jsonl.gz --wait
    """
    if (payload is None) == (path is None):
        raise click.UsageError("give either --payload or --file")
    client = client_from_environment()
    if payload is not None:
        try:
            payloads: Iterator[Any] = iter([json.loads(payload)])
        except ValueError:
            raise click.UsageError("--payload is not JSON") from None
    elif path is not None:
        payloads = read_payloads(path)
    schema = next((t["schema"] for t in client.tasks() if t["name"] == task), None)
    if schema is None:
        raise click.ClickException(f"The API knows no task {task}, or the token may not submit it.")
    fitter = _Fitter(schema, strict=strict)
    run = run or secrets.token_hex(4)
    console = Console(stderr=True)
    total = None if path is None else sum(1 for _ in read_payloads(path))
    outcome = _Outcome()
    try:
        with Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), console=console,
        ) as progress:  # fmt: skip
            bar = progress.add_task(task, total=total or 1)
            _run_all(
                client, task, payloads, fitter, run, follow=follow, timeout=timeout,
                outcome=outcome, advance=lambda: progress.advance(bar),
            )  # fmt: skip
    except KeyboardInterrupt:
        console.print(f"interrupted; go on without doubles with --run {run}")
        sys.exit(130)
    for name, count in fitter.left_out.items():
        console.print(f"left out {name!r} of {count} payloads: not in the contract")
    for number, text in sorted(outcome.failures)[:_LISTED]:
        console.print(f"[red]payload {number}[/red]: {text}", highlight=False)
    states = ", ".join(f"{count} {state}" for state, count in sorted(outcome.states.items()))
    click.echo(f"{states or 'nothing submitted'} (run {run})")
    if payload is not None and outcome.last is not None:
        click.echo(json.dumps(outcome.last, indent=2, ensure_ascii=False))
    wanted = {"succeeded"} if follow else {"accepted"}
    if set(outcome.states) - wanted:
        sys.exit(1)


class _Outcome:
    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.failures: list[tuple[int, str]] = []
        self.last: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def add(self, number: int, document: dict[str, Any]) -> None:
        with self._lock:
            self.states[document["state"]] += 1
            self.last = document
            if "error" in document:
                error = document["error"]
                self.failures.append(
                    (number, f"job {document['id']}: {error.get('reason')} {error.get('cause')}")
                )

    def refuse(self, number: int, error: SealwaxError) -> None:
        with self._lock:
            self.states["refused"] += 1
            self.failures.append((number, str(error)))


def _run_all(
    client: ApiClient,
    task: str,
    payloads: Iterator[Any],
    fitter: _Fitter,
    run: str,
    *,
    follow: bool,
    timeout: float,
    outcome: _Outcome,
    advance: Any,
) -> None:
    def one(number: int, payload: Any) -> None:
        try:
            document = client.submit(
                task, fitter.fit(payload), idempotency_key=f"cli-{run}-{number}"
            )
            if follow:
                document = client.wait(document["id"], timeout=timeout)
            outcome.add(number, document)
        except SealwaxError as error:
            outcome.refuse(number, error)
        advance()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        pending: set[Future[None]] = set()
        for number, payload in enumerate(payloads, 1):
            pending.add(pool.submit(one, number, payload))
            if len(pending) >= 2 * _AT_ONCE:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        for future in pending:
            future.result()
