"""A ledger on both emulators."""

from support.ledger import atomic_ledger, clock, ledger

__all__ = ["atomic_ledger", "clock", "ledger"]
