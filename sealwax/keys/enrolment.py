"""Enrolling operators: whose requests to reveal a payload workers believe.

Called by `sealwax operators`, with permissions of its caller: no role of AWS may
write the shared document. Only public halves pass through here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sealwax.keys.documents import KeyDocuments
from sealwax.keys.public import SHARED, PublicKeyring
from sealwax.secrets import SecretSource

__all__ = ["describe_operators", "enrol_operator", "remove_operator"]


def enrol_operator(
    source: SecretSource, public: Mapping[str, Any], *, record: Callable[[], None] = lambda: None
) -> None:
    """Let workers believe an operator's requests.

    Parameters
    ----------
    public
        As `sealwax.keys.operator.read_public` gives it.
    record
        Called before anything is written; what it raises ends the work.

    Raises
    ------
    sealwax.keys.documents.OperatorExists
    sealwax.secrets.SecretVersionConflict
        Somebody else changed the keys meanwhile; nothing of theirs was
        overwritten. Run it again.
    """
    _change(source, lambda documents: documents.enrol(public), record)


def remove_operator(
    source: SecretSource, operator_id: str, *, record: Callable[[], None] = lambda: None
) -> None:
    """Let nobody believe an operator's requests any more; the name stays known.

    `record` is called as in `enrol_operator`.

    Raises
    ------
    sealwax.keys.documents.NoSuchOperator
    sealwax.secrets.SecretVersionConflict
        As in `enrol_operator`.
    """
    _change(source, lambda documents: documents.dismiss(operator_id), record)


def describe_operators(source: SecretSource) -> list[dict[str, Any]]:
    """Return id, name, suite, state and creation time of all operators, the removed too."""
    return PublicKeyring.load(source.get(SHARED)).describe_operators()


def _change(
    source: SecretSource,
    change: Callable[[KeyDocuments], KeyDocuments],
    record: Callable[[], None],
) -> None:
    version = source.version(SHARED)
    changed = change(KeyDocuments({SHARED: source.get(SHARED)})).secrets()[SHARED]
    record()
    source.put(SHARED, changed, replacing=version)
