"""What the sandbox has been told to do wrong, and to whom: no sockets here."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from sealwax.errors import SealwaxError

__all__ = ["Control", "Controls", "InvalidControl"]


class InvalidControl(SealwaxError):
    """Not a control; send one of fail, hang, slow, garbage, redirect, reset, big."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """One way of failing.

    Parameters
    ----------
    kind
        fail, hang, slow, garbage, redirect, reset or big.
    times
        How many requests it still hits; None: all.
    """

    kind: str
    times: int | None = None
    status: int = 503
    retry_after: str | None = None
    seconds: float = 0.0
    bytes_per_second: float = 1.0
    location: str = ""
    size: int = 0

    @classmethod
    def parse(cls, data: Any) -> Control:
        """Read a control from its JSON, ``{kind: details}``.

        Raises
        ------
        InvalidControl
            Where it is none.
        """
        if not isinstance(data, dict) or len(data) < 1:
            raise InvalidControl
        data = dict(data)
        times = data.pop("times", None)
        if len(data) != 1:
            raise InvalidControl
        ((kind, details),) = data.items()
        try:
            made = cls._of(kind, details)
            inner = details.get("times") if isinstance(details, dict) else None
            times = inner if inner is not None else times
            return made if times is None else cls(**{**vars(made), "times": int(times)})
        except (TypeError, ValueError, KeyError, AttributeError):
            raise InvalidControl from None

    @classmethod
    def _of(cls, kind: str, details: Any) -> Control:
        if kind == "fail":
            wait = details.get("retry_after")
            return cls(
                kind=kind,
                status=int(details["status"]),
                retry_after=None if wait is None else str(wait),
            )
        if kind == "hang":
            seconds = details["seconds"] if isinstance(details, dict) else details
            return cls(kind=kind, seconds=float(seconds))
        if kind == "slow":
            return cls(kind=kind, bytes_per_second=max(float(details["bytes_per_second"]), 0.01))
        if kind == "redirect":
            location = details["location"] if isinstance(details, dict) else details
            return cls(kind=kind, status=302, location=str(location))
        if kind == "big":
            size = details["bytes"] if isinstance(details, dict) else details
            return cls(kind=kind, size=int(size))
        if kind in {"garbage", "reset"} and details:
            return cls(kind=kind)
        raise InvalidControl


class Controls:
    """The controls in force, by path prefix; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_prefix: dict[str, Control] = {}

    @staticmethod
    def normalise(prefix: str) -> str:
        """Return a prefix as a path; a bare name stands for ``/hooks/<name>``."""
        prefix = prefix.strip("/")
        if prefix and "/" not in prefix and prefix not in {"hooks", "internal", "crm"}:
            prefix = f"hooks/{prefix}"
        return f"/{prefix}"

    def put(self, prefix: str, control: Control) -> None:
        """Put a control into force for every path under `prefix`, instead of its last one."""
        with self._lock:
            self._by_prefix[self.normalise(prefix)] = control

    def remove(self, prefix: str | None = None) -> None:
        """Lift the control of a prefix, or all."""
        with self._lock:
            if prefix is None:
                self._by_prefix.clear()
            else:
                self._by_prefix.pop(self.normalise(prefix), None)

    def take(self, path: str) -> Control | None:
        """Return the control that the next request to `path` meets; counts it down.

        The longest prefix wins; prefixes end at a slash, so that `/hooks/a` does
        not hit `/hooks/ab`.
        """
        with self._lock:
            matches = [
                prefix
                for prefix in self._by_prefix
                if prefix == "/" or path == prefix or path.startswith(f"{prefix}/")
            ]
            if not matches:
                return None
            prefix = max(matches, key=len)
            control = self._by_prefix[prefix]
            if control.times is not None:
                if control.times <= 1:
                    del self._by_prefix[prefix]
                else:
                    self._by_prefix[prefix] = Control(
                        **{**vars(control), "times": control.times - 1}
                    )
                if control.times < 1:
                    return None
            return control

    def listing(self) -> dict[str, dict[str, Any]]:
        """Return what is in force."""
        with self._lock:
            return {prefix: vars(control).copy() for prefix, control in self._by_prefix.items()}
