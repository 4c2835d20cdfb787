"""How `sealwax letters reveal` asks for a payload, and gets it.

With an operator's own key the request is signed, and the answer opened, on this
machine: the API hands both on and reads neither. Otherwise the API opens the
answer, as its setting lets it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sealwax.aws.clock import AWS_CLOCK
from sealwax.client import ApiClient
from sealwax.keys.public import PublicKeyring
from sealwax.settings import Settings

__all__ = ["reveal_by_api", "reveal_by_key"]

#: Seconds to wait for a worker to open a letter.
WAIT = 60.0

#: Seconds between two looks.
_EVERY = 1.0

_CAUSE = re.compile(r"[a-z][a-z0-9-]{0,63}")


def reveal_by_api(client: ApiClient, letter_id: str, why: str) -> Any:
    """Return the payload as the API opened it.

    Raises
    ------
    sealwax.client.ApiRefused, sealwax.client.ApiUnreachable
    click.ClickException
    """
    return _answer(client, letter_id, {"reason": why})["payload"]


def reveal_by_key(
    client: ApiClient, settings: Settings, letter_id: str, why: str, key_file: Path
) -> Any:
    """Return the payload that a worker sealed to this operator's key.

    Raises
    ------
    sealwax.keys.operator.OperatorKeyInvalid
        Where the file is no key that can be used.
    click.ClickException
        Also where the answer is no worker's, or not to this request: nothing of
        it is shown.
    sealwax.client.ApiRefused, sealwax.client.ApiUnreachable
    sealwax.secrets.source.SecretError
    """
    from sealwax.deadletters.reveal_request import new_fields
    from sealwax.envelope import EnvelopeError, Expected, Purpose, open_envelope, peek
    from sealwax.envelope.statement import sign_statement
    from sealwax.keys.operator import OperatorKey
    from sealwax.keys.public import SHARED
    from sealwax.stores import Stores

    key = OperatorKey.read(key_file)
    # From where it is kept, never from the API: it says whose answers to believe.
    keyring = PublicKeyring.load(Stores(settings).source.get(SHARED))
    _check_enrolled(keyring, key.id)
    fields = new_fields(letter_id, why, operator=key.id, now=int(AWS_CLOCK()))
    found = _answer(client, letter_id, {"request": sign_statement("reveal", fields, key.signer)})
    try:
        sealed = str(found["sealed"])
        expect = Expected(
            purpose=Purpose.REVEAL,
            task=peek(sealed).context.task,
            # The answer to another request does not open here.
            job=fields["nonce"],
            tenant=None,
        )
        opened = open_envelope(
            sealed, keyring=key.opener(keyring), expect=expect, now=AWS_CLOCK(), skew=60
        )
    except (EnvelopeError, KeyError) as error:
        cause = error.cause if isinstance(error, EnvelopeError) else "no-answer"
        raise click.ClickException(
            f"The answer is none that a worker sealed to this key for this request ({cause})."
        ) from None
    return json.loads(opened.plaintext)


def _check_enrolled(keyring: PublicKeyring, operator_id: str) -> None:
    from sealwax.envelope import EnvelopeError

    try:
        keyring.operator(operator_id)
    except EnvelopeError:
        raise click.ClickException(
            f"No worker believes the key {operator_id}: it is not enrolled, or was removed; see "
            "`sealwax operators list`."
        ) from None


def _answer(client: ApiClient, letter_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask, and wait until a worker has answered; say meanwhile what is waited for."""
    asked = client.call("POST", f"/v1/ops/letters/{letter_id}/reveal", json=body)
    click.echo("asked; a worker of the letter's lane opens it", err=True)
    end = time.monotonic() + WAIT
    tell = _teller()
    while time.monotonic() < end:
        found = client.call("GET", f"/v1/ops/reveals/{asked['id']}")
        if found["state"] == "failed":
            # Whoever answers, no text of theirs writes into this terminal.
            known = _CAUSE.fullmatch(str(found["cause"]))
            cause = known[0] if known else "unknown cause"
            raise click.ClickException(f"The worker could not open it: {cause}.")
        if found["state"] == "done":
            return found
        tell()
        time.sleep(_EVERY)
    raise click.ClickException("No worker has opened it; is one running? Ask again.")


def _teller() -> Callable[[], None]:
    begun = told = time.monotonic()

    def tell() -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= 5:
            told = now
            click.echo(f"waiting, {now - begun:.0f} s", err=True)

    return tell
