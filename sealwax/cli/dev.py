"""`sealwax dev`: everything on this machine, with a demo job."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from sealwax.errors import SealwaxError
from sealwax.local.dev import DevOptions, Stack
from sealwax.local.environment import default_folder, ensure_environment, is_complete
from sealwax.local.state import PRIVATE_UMASK, StateLock
from sealwax.local.supervisor import Stop, StopRequested, Supervisor

__all__ = ["dev"]

#: What a shell expects of a program that Ctrl-C ended before it was done.
INTERRUPTED = 130

_PORT = click.IntRange(0, 65_535)


@click.command()
@click.option("--once", is_flag=True, help="End when the demo job has ended; 0 if it succeeded.")
@click.option("--port", type=_PORT, help="Port of the API. Default: 8080 or the next free one.")
@click.option("--emulator-port", type=_PORT, help="Port of the emulated AWS. Default: from 4566.")
@click.option("--sandbox-port", type=_PORT, help="Port of the sandbox. Default: from 8090.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".sealwax"),
    show_default=True,
    help="Keeps queues, tables, keys and logs from run to run.",
)
@click.option("--demo/--no-demo", default=True, help="Run the demo job.")
@click.option("--verbose", is_flag=True, help="Show the processes' log lines.")
def dev(
    *,
    once: bool,
    port: int | None,
    emulator_port: int | None,
    sandbox_port: int | None,
    state_dir: Path,
    demo: bool,
    verbose: bool,
) -> None:
    r"""Start an emulated AWS, the sandbox, API, worker and steward; run a demo job.

    Takes the sealwax.toml of this folder (or SEALWAX_CONFIG's) and SEALWAX_…
    variables; only the environment's name and addresses are this command's own.
    Everything listens on 127.0.0.1 only and ends on Ctrl-C. A port of 0 means
    any free one. The state folder is yours alone to read. In another terminal,
    `. .sealwax/env` points `sealwax check` and the others to it; `sealwax submit`
    finds it by itself.

    \b
    Examples:
      sealwax dev
      sealwax dev --once --state-dir /tmp/sealwax
    """
    options = DevOptions(
        state=state_dir.absolute(),
        api_port=port,
        emulator_port=emulator_port,
        sandbox_port=sandbox_port,
        # The processes look for the tasks where this one was told to.
        app_dir=click.get_current_context().find_root().params["app_dir"].absolute(),
    )
    # Whatever this process and those that it starts make is this user's alone to read.
    os.umask(PRIVATE_UMASK)
    stop = Stop()
    up = False
    try:
        _make_environment(stop)
        held: list[Supervisor] = []

        def kill() -> None:
            for each in held:
                each.kill()

        with (
            _signals(stop, kill),
            StateLock(options.state, pause=stop.pause) as lock,
            Supervisor(
                options.state / "logs",
                stop=stop,
                echo=_say if verbose else None,
                keep_open=[lock.fileno()],
            ) as supervisor,
        ):
            held.append(supervisor)
            _start(Stack(options, supervisor, stop=stop, say=_say), demo=demo)
            up = True
            if not once:
                _say("\nCtrl-C stops everything.")
                supervisor.watch()
            _say("stopping")
    except StopRequested as error:
        _say(f"stopped: {error}")
        if not up:
            raise click.exceptions.Exit(INTERRUPTED) from None
    except SealwaxError as error:
        raise click.ClickException(str(error)) from None


def _start(stack: Stack, *, demo: bool) -> None:
    began = time.monotonic()
    _say("starting Sealwax on this machine")
    stack.start_emulator()
    stack.prepare()
    stack.start_sandbox()
    stack.start_roles()
    job_id = stack.run_demo() if demo else None
    _say(f"  {'all':<48} {time.monotonic() - began:5.1f} s\n")
    _say(f"API      {stack.api_url}")
    _say(f"console  {stack.api_url}/console (sign in with the token)")
    _say(f"token    {stack.token}")
    _say(f"sandbox  {stack.sandbox_url}")
    _say(f"logs     {stack.state / 'logs'}")
    if job_id:
        _say(f"demo     job {job_id} succeeded")
    if stack.curls(job_id):
        _say("\nSubmit a job, look at a job:")
        for line in stack.curls(job_id):
            _say(f"  {line}")
    _say(f"\nIn another terminal: . {stack.state / 'env'}")


def _make_environment(stop: Stop) -> None:
    # Here a signal interrupts at once: pip runs for seconds and knows no `Stop`.
    if is_complete(default_folder()):
        return
    _say(f"making the environment of the emulated AWS in {default_folder()} (once)")

    def interrupt(reason: str) -> None:
        raise StopRequested(reason)

    with _signals(stop, lambda: None, first=interrupt):
        ensure_environment()


@contextmanager
def _signals(
    stop: Stop, again: Callable[[], None], *, first: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into requests to stop; a second one kills."""
    asked = False

    def handler(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            again()
            return
        asked = True
        reason = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        (first or stop.request)(reason)

    former = {
        number: signal.signal(number, handler)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, action in former.items():
            signal.signal(number, action)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone; the work is not
        click.echo(line)
