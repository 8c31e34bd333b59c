"""A bar chart as an SVG, on a logarithmic scale, readable in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from bench.figures import number

_WIDTH, _LEFT, _RIGHT = 820, 330, 90  # pixels: all, left of the bars, right of the longest bar
_LEAST = 0.01  # microseconds: what noise makes less, or less than nothing, is drawn as this
_TOP, _ROW, _BAR, _BOTTOM = 64, 26, 16, 34
_STYLE = """\
svg { background: #ffffff; font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
text { fill: #1f2328; } .faint { fill: #59636e; font-size: 12px; }
.title { font-size: 16px; font-weight: 600; }
.grid { stroke: #d1d9e0; } .back { fill: #ffffff; }
.gateway { fill: #0969da; } .other { fill: #bc4c00; } .scale { fill: #818b98; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; }
  text { fill: #f0f6fc; } .faint { fill: #9198a1; } .grid { stroke: #3d444d; } .back { fill: #0d1117; }
  .gateway { fill: #4493f8; } .other { fill: #db6d28; } .scale { fill: #6e7681; }
}"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, its length in microseconds, and its kind, a key of the legend."""

    label: str
    value: float
    kind: str


def chart(title: str, bars: Sequence[Bar], legend: dict[str, str]) -> str:
    """Return an SVG of horizontal bars.

    Args:
        title: what is shown.
        bars: the bars, the first on top.
        legend: what each kind of bar is.
    """
    scale = _Scale(bar.value for bar in bars)
    height = _TOP + _ROW * len(bars) + _BOTTOM
    told = "; ".join(f"{bar.label}: {number(bar.value)} µs" for bar in bars)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
            f' height="{height}" role="img" aria-labelledby="title desc">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="desc">{escape(told)}</desc>',
            f"<style>\n{_STYLE}\n</style>",
            f'<rect class="back" width="{_WIDTH}" height="{height}"/>',
            _text(16, 26, title, "title"),
            *_legend(legend),
            *_grid(scale, height - _BOTTOM),
            *(line for row, bar in enumerate(bars) for line in _bar(bar, row, scale)),
            "</svg>\n",
        ]
    )


class _Scale:
    """Where a value lies: from the power of ten at or under the least to that at or over the greatest."""

    def __init__(self, values: Iterable[float]) -> None:
        logs = [math.log10(max(value, _LEAST)) for value in values]
        self.first, self.last = math.floor(min(logs)), math.ceil(max(logs))

    def x(self, value: float) -> float:
        share = (math.log10(max(value, _LEAST)) - self.first) / (self.last - self.first)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _legend(legend: dict[str, str]) -> Iterable[str]:
    x = 16
    for kind, label in legend.items():
        yield f'<rect class="{kind}" x="{x}" y="39" width="11" height="11" rx="2"/>'
        yield _text(x + 17, 49, label, "faint")
        x += 44 + 6 * len(label)


def _grid(scale: _Scale, bottom: int) -> Iterable[str]:
    for power in range(scale.first, scale.last + 1):
        x = scale.x(10.0**power)
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x, bottom + 18, f"{10.0**power:,g} µs", "faint", "middle")


def _bar(bar: Bar, row: int, scale: _Scale) -> Iterable[str]:
    y, end = _TOP + _ROW * row + (_ROW - _BAR) / 2, scale.x(bar.value)
    yield _text(_LEFT - 10, y + 12.5, bar.label, "label", "end")
    yield (f'<rect class="{bar.kind}" x="{_LEFT}" y="{y}" width="{end - _LEFT:.1f}" height="{_BAR}" rx="2"/>')
    yield _text(end + 6, y + 12.5, number(bar.value), "value")


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
