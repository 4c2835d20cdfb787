"""Settings reference: writes docs/reference/settings.md from the settings' models.

    python tools/settings_reference.py          writes the page
    python tools/settings_reference.py --check  says whether the page is up to date

The models hold name, default and meaning of each setting; the page repeats
them for readers and is never edited by hand.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sealwax.settings import Settings

__all__ = ["PAGE", "render", "settings"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "settings.md"

_HEAD = """\
<!-- Written by tools/settings_reference.py (make settings-reference); do not edit by hand. -->
# Settings

From `SEALWAX_…` variables (nested with `__`: `SEALWAX_LIMITS__ATTEMPTS=5`), then the files named by
`SEALWAX_CONFIG` (several as in PATH, the last first; default `sealwax.toml` in the current
folder), then the defaults below. AWS's own variables (`AWS_REGION`, `AWS_ENDPOINT_URL`,
credentials) are boto3's. A variable or a member that is no setting is refused. `sealwax check`
says what is wrong.

| Setting | Default | Meaning |
|---|---|---|
"""

#: Dictionaries whose keys are the reader's: how the page writes such a key.
_KEYS = {"lanes": "<lane>", "retry": '"<task>"', "schedules": "<name>"}


def settings(
    model: type[BaseModel] = Settings, prefix: str = ""
) -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting's dotted name and its field; sections are opened.

    Parameters
    ----------
    model
        The model whose fields are listed.
    prefix
        What stands before each name: empty, or a section with its dot.
    """
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is None:
            yield prefix + name, field
            continue
        key = f".{_KEYS[name]}" if typing.get_origin(field.annotation) is dict else ""
        yield from settings(section, f"{prefix}{name}{key}.")


def _section(field: FieldInfo) -> type[BaseModel] | None:
    for kind in (field.annotation, *typing.get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:,}"
    if isinstance(value, str):
        return f"`{value}`"
    return "empty" if not value else f"`{value}`"


def render() -> str:
    """Return the page as Markdown."""
    rows = [
        f"| `{name}` | {_default(field)} | {(field.description or '').replace('|', '&#124;')} |"
        for name, field in settings()
    ]
    return _HEAD + "\n".join(rows) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check the page; return the exit code."""
    text = render()
    if arguments == ["--check"]:
        if PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(
            f"{PAGE.relative_to(ROOT)} is not what the models say: run 'make settings-reference'."
        )
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
