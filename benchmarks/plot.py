"""Plots of bars as SVG, by hand: a label, a bar, its figure. Ours is dark, a peer is light, a limit is an outline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _FIGURES = 760, 290, 120
_LINE, _BAR, _TOP = 26, 16, 44
_STYLE = {
    "ours": 'fill="#1f4e79"',
    "peer": 'fill="#9db7cf"',
    "limit": 'fill="none" stroke="#707070" stroke-dasharray="3 2"',
}


@dataclass(frozen=True)
class Bar:
    """One of them. `kind`: ours, peer or limit."""

    label: str
    value: float
    figure: str
    kind: str


def bars(title: str, rows: Sequence[Bar], *, less_is_better: bool = False) -> str:
    """The plot."""
    most = max((row.value for row in rows), default=1.0) or 1.0
    room = _WIDTH - _LABELS - _FIGURES
    height = _TOP + _LINE * len(rows) + 8
    way = "shorter is better" if less_is_better else "longer is better"
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
            f' height="{height}" font-family="sans-serif" font-size="13" role="img">'
        ),
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="20" font-size="15" font-weight="bold" fill="#222222">{escape(title)}</text>',
        f'<text x="8" y="36" font-size="11" fill="#555555">{way}</text>',
    ]
    for place, row in enumerate(rows):
        top = _TOP + _LINE * place
        length = max(room * row.value / most, 1.0)
        middle = top + _BAR - 3
        weight = ' font-weight="bold"' if row.kind == "ours" else ""
        parts += [
            f'<text x="{_LABELS - 8}" y="{middle}" text-anchor="end" fill="#222222"{weight}>{escape(row.label)}</text>',
            f'<rect x="{_LABELS}" y="{top}" width="{length:.1f}" height="{_BAR}" {_STYLE[row.kind]}/>',
            f'<text x="{_LABELS + length + 6:.1f}" y="{middle}" fill="#222222"{weight}>{escape(row.figure)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
