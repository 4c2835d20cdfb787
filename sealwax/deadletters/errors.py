"""What the archive of dead letters raises, one class a cause."""

from __future__ import annotations

from sealwax.aws.errors import StoreDenied, StoreUnreachable
from sealwax.errors import SealwaxError

__all__ = [
    "LettersDenied",
    "LettersError",
    "LettersUnreachable",
    "NoSuchLetter",
    "NoSuchReplay",
    "NoSuchReveal",
    "ReplayStateConflict",
    "RevealModeRefused",
    "RevealRefused",
    "SelectionInvalid",
]


class LettersError(SealwaxError):
    """The archive of dead letters could not do this; see the chained cause."""


class LettersUnreachable(LettersError, StoreUnreachable):
    """DynamoDB or S3 does not serve the archive now; try again later."""


class LettersDenied(LettersError, StoreDenied):
    """AWS refused the archive; check the names of table and bucket and the role's permissions."""


class NoSuchLetter(LettersError):
    """There is no such letter; it may have been resolved long ago. List the open ones again."""


class NoSuchReplay(LettersError):
    """There is no such replay; list them again."""


class NoSuchReveal(LettersError):
    """There is no such request: it was shown already, has expired, or is not yours. Ask again."""


class ReplayStateConflict(LettersError):
    """The replay is not in a state that allows this; look at it again."""


class RevealModeRefused(LettersError):
    """Payloads are not revealed in this way here; see `reveal.mode`."""


class RevealRefused(LettersError):
    """A worker does not reveal this; the cause says why.

    Parameters
    ----------
    cause
        Short kebab-case code.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(f"The payload was not revealed: {cause}.")
        self.cause = cause


class SelectionInvalid(LettersError):
    """Choose letters by ids, by group, or by a filter: at most 500 ids, and not several ways."""
