"""How values look on a page: pure functions, used by the templates as filters.

They take numbers and give text or safe markup; no request, no clock but the
one that is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from sealwax.aws.clock import AWS_CLOCK
from sealwax.web.times import iso

__all__ = ["ago", "count", "moment", "rate", "short", "span", "sparkline"]

#: Stands for what is not known.
NOTHING = "\u2013"

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def span(seconds: float | None) -> str:
    """Return a duration in its two largest units: `3 min 20 s`."""
    if seconds is None:
        return NOTHING
    if seconds < 0.001:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for size, name in _UNITS:
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append(f"{amount} {name}" if amount else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def moment(at: float | None) -> Markup:
    """Return a point in time, to the second, as an element."""
    if not at:
        return escape(NOTHING)
    text = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return Markup(
        '<time datetime="{}">{} <abbr title="Coordinated Universal Time">UTC</abbr></time>'
    ).format(iso(at, "seconds"), text)


def ago(at: float | None, now: float | None = None) -> Markup:
    """Return how long ago something was, or how soon it is, as an element."""
    if not at:
        return escape(NOTHING)
    passed = (AWS_CLOCK() if now is None else now) - at
    if abs(passed) < 1:
        text = "now"
    elif passed > 0:
        text = f"{span(passed)} ago"
    else:
        text = f"in {span(-passed)}"
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(iso(at, "seconds"), text)


def count(number: float | None) -> str:
    """Return a number with thin spaces between thousands; a dash where it is not known."""
    return NOTHING if number is None else f"{number:,.0f}".replace(",", "\u202f")


def rate(number: float | None) -> str:
    """Return a rate a second, with a decimal where it is small."""
    if number is None:
        return NOTHING
    return f"{number:.1f}" if number < 100 else count(number)


def short(identifier: str | None) -> str:
    """Return the beginning of a long id."""
    return identifier[:8] if identifier else NOTHING


def sparkline(
    values: Sequence[float], label: str, tone: str = "calm", width: int = 160, height: int = 36
) -> Markup:
    """Return a small chart as SVG, with its meaning in words.

    Parameters
    ----------
    label
        What the numbers are, for who cannot see the line.
    tone
        `calm` or `bad`: the class that colours it.
    """
    numbers = [max(0.0, float(value)) for value in values]
    top = max(numbers, default=0.0)
    words = f"{label}: {_words(numbers)}"
    head = Markup(
        '<svg class="spark spark-{}" viewBox="0 0 {} {}" role="img" aria-label="{}" '
        'preserveAspectRatio="none">'
    ).format(tone, width, height, words)
    if len(numbers) < 2 or top == 0:
        base = height - 1.5
        return head + Markup('<path class="line" d="M0 {0}H{1}"/></svg>').format(base, width)
    points = list(_points(numbers, top, width, height))
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    area = f"{line}L{width} {height}L0 {height}Z"
    return head + Markup('<path class="area" d="{}"/><path class="line" d="{}"/></svg>').format(
        escape(area), escape(line)
    )


def _points(
    numbers: Sequence[float], top: float, width: int, height: int
) -> Iterable[tuple[float, float]]:
    step = width / (len(numbers) - 1)
    for number, value in enumerate(numbers):
        yield number * step, height - 1.5 - (value / top) * (height - 4)


def _words(numbers: Sequence[float]) -> str:
    if not numbers:
        return "nothing yet"
    return f"now {rate(numbers[-1])}, highest {rate(max(numbers))}"
