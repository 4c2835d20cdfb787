"""What letters and strays share on the command line: pages read to a limit, bodies saved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from sealwax.client import ApiClient

__all__ = ["read_pages", "save_body"]

#: Rows that one page has at most.
PAGE = 100


def read_pages(
    client: ApiClient, what: str, parameters: dict[str, Any], *, limit: int
) -> list[dict[str, Any]]:
    """Return at most `limit` rows of a list of the operations API, page by page.

    Parameters
    ----------
    what
        The list's path behind `/v1/ops/`, which is also its member in a page.

    Raises
    ------
    sealwax.client.ApiRefused, sealwax.client.ApiUnreachable
    """
    found: list[dict[str, Any]] = []
    after: str | None = None
    while len(found) < limit:
        given = parameters | {"limit": min(PAGE, limit - len(found))}
        page = client.ops("GET", what, params=given | ({"after": after} if after else {}))
        found += page[what]
        after = page["after"]
        if after is None:
            break
    return found


def save_body(data: bytes, out: Path | None) -> None:
    """Write a message's bytes into a file, or to stdout."""
    if out is not None:
        out.write_bytes(data)
        click.echo(f"{len(data)} bytes in {out}", err=True)
    else:
        sys.stdout.buffer.write(data)
