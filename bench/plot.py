"""Draws the benchmark's results as one SVG: `python bench/plot.py results.json out.svg`.

Bars of jobs a second, one group a measure, one panel a latency. Written by
hand, since a picture of a few bars needs no library.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

COLOURS = {
    "sealwax": "#b3261e",
    "celery": "#5f6368",
    "dramatiq_sqs": "#1a73e8",
    "taskiq": "#188038",
}
MEASURES = {
    "send64": "send, 64 threads",
    "bulk": "send, bulk",
    "consume_prefork4": "consume, 4 processes",
    "consume_threads16": "consume, 16 threads",
}
WIDTH, ROW, LEFT, PANEL = 760, 14, 190, 30


def draw(results: dict[str, dict[str, float]]) -> str:
    """Return the picture of results keyed `<peer>@<latency>ms`."""
    latencies = list(dict.fromkeys(key.partition("@")[2] for key in results))
    peers = list(dict.fromkeys(key.partition("@")[0] for key in results))
    parts: list[str] = []
    top = 24
    for number, peer in enumerate(peers):
        x = LEFT + number * 130
        parts.append(f'<rect x="{x}" y="6" width="10" height="10" fill="{COLOURS[peer]}"/>')
        parts.append(f'<text x="{x + 15}" y="15">{peer}</text>')
    for latency in latencies:
        top += PANEL
        parts.append(f'<text x="8" y="{top - 8}" font-weight="bold">{latency} a call</text>')
        panel = {p: results[f"{p}@{latency}"] for p in peers if f"{p}@{latency}" in results}
        most = max(found.get(m, 0.0) for found in panel.values() for m in MEASURES)
        for measure, label in MEASURES.items():
            middle = top + ROW * len(panel) / 2 + 4
            parts.append(f'<text x="{LEFT - 8}" y="{middle:g}" text-anchor="end">{label}</text>')
            for peer, found in panel.items():
                value = found.get(measure, 0.0)
                length = max(1.0, value / most * (WIDTH - LEFT - 70))
                parts.append(
                    f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{ROW - 3}" '
                    f'fill="{COLOURS[peer]}"/>'
                )
                parts.append(
                    f'<text x="{LEFT + length + 6:.1f}" y="{top + 10}">{value:,.0f}/s</text>'
                )
                top += ROW
            top += 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + 8}" '
        f'viewBox="0 0 {WIDTH} {top + 8}" font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(json.loads(Path(sys.argv[1]).read_text())))
