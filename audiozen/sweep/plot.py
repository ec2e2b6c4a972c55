"""A picture of a sweep: the best score over the trials, and all scores against each setting."""

from __future__ import annotations

from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from audiozen.sweep.axes import Axis, choice_axis, linear_axis, log_axis
from audiozen.sweep.entries import DONE
from audiozen.sweep.space import Choices, in_words
from audiozen.sweep.study import label
from audiozen.sweep.text import told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audiozen.sweep.entries import Entry
    from audiozen.sweep.plan import Plan
    from audiozen.sweep.space import Range

COLUMNS = 3
WIDTH, HEIGHT = 320, 250
"""Of a panel, in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 30, 34
"""Room around what is drawn in it."""

STYLE = """
:root { --paper: #fff; --ink: #1f2937; --faint: #d1d5db; --done: #2563eb; --other: #9ca3af; --best: #dc2626 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #111827; --ink: #e5e7eb; --faint: #374151; --done: #60a5fa; --other: #6b7280; --best: #f87171 }
}
rect.paper { fill: var(--paper) }
rect.frame, line { fill: none; stroke: var(--faint) }
text { fill: var(--ink); font: 11px system-ui, sans-serif }
text.title { font-weight: 600; font-size: 12px }
circle { fill: var(--done); fill-opacity: 0.75 }
circle.other { fill: none; stroke: var(--other) }
circle.best { fill: var(--best); fill-opacity: 1 }
path { fill: none; stroke: var(--best) }
"""


class Point(NamedTuple):
    """One trial in a panel."""

    x: float
    entry: Entry


def plot(entries: Sequence[Entry], plan: Plan) -> str:
    """The picture as SVG, which any browser shows. A trial is told when the pointer rests on it.

    Args:
        entries: the best first. Those without a score are left out.
        plan: what was tried.
    """
    scored = [entry for entry in entries if entry.score is not None]
    panels = []
    if scored:
        scores = score_axis(scored)
        panels.append(progress_panel(scored, plan, scores))
        panels += [setting_panel(key, kind, scored, scores) for key, kind in plan.space.items()]
    columns = min(COLUMNS, len(panels) or 1)
    width, height = WIDTH * columns, HEIGHT * -(-len(panels) // columns) + TOP
    drawn = [
        f'<g transform="translate({number % columns * WIDTH} {number // columns * HEIGHT + TOP})">{panel}</g>'
        for number, panel in enumerate(panels)
    ]
    better = "higher" if plan.higher_is_better else "lower"
    title = f"{told(entries)}; {plan.best_metric}, {better} is better; hollow: not done"
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                f'viewBox="0 0 {width} {height}">'
            ),
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{width}" height="{height}"/>',
            f'<text class="title" x="{RIGHT}" y="20">{escape(title)}</text>',
            *drawn,
            "</svg>\n",
        ]
    )


def score_axis(scored: Sequence[Entry]) -> Axis:
    """Room for the scores of the trials that are done; worse ones lie on the edge."""
    shown = [entry for entry in scored if entry.state == DONE] or scored
    scores = [entry.score for entry in shown if entry.score is not None]
    margin = 0.05 * (max(scores) - min(scores)) or 0.5
    axis = linear_axis(min(scores) - margin, max(scores) + margin)
    return axis._replace(place=lambda score: min(1.0, max(0.0, axis.place(score))))


def progress_panel(scored: Sequence[Entry], plan: Plan, scores: Axis) -> str:
    """Scores in the order of the trials, with the best so far as a line."""
    last = max(1, *(entry.number for entry in scored))
    numbers = linear_axis(0, last)
    in_order = sorted(scored, key=lambda entry: entry.number)
    better = max if plan.higher_is_better else min
    best = accumulate((entry.score for entry in in_order if entry.score is not None), better)
    steps = [
        f"{_x(numbers.place(entry.number))} V {_y(scores.place(score))}"
        for entry, score in zip(in_order, best)
    ]
    start, *others = steps
    line = f'<path d="M {start.replace("V ", "")} {" ".join(f"H {step}" for step in others)}"/>'
    points = [Point(numbers.place(entry.number), entry) for entry in scored]
    return panel("trial", points, numbers, scores, best=scored[0]) + line


def setting_panel(key: str, kind: Range | Choices, scored: Sequence[Entry], scores: Axis) -> str:
    """Scores against the values of one setting."""
    axis = axis_of(kind)
    points = [Point(axis.place(e.values[key]), e) for e in scored if key in e.values]
    return panel(key, points, axis, scores, best=scored[0])


def axis_of(kind: Range | Choices) -> Axis:
    """The axis of a setting."""
    if isinstance(kind, Choices):
        labels = [label(value) for value in kind.values]
        return choice_axis(labels, [str(value) for value in labels])
    return (log_axis if kind.log else linear_axis)(kind.low, kind.high)


def panel(title: str, points: Sequence[Point], across: Axis, up: Axis, best: Entry) -> str:
    """Points in a frame, with the ticks of both axes."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    parts = [
        f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>',
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{width}" height="{height}"/>',
    ]
    for place, text in up.ticks:
        y = _y(place)
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + width}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:g}" text-anchor="end">{escape(text)}</text>')
    for place, text in across.ticks:
        x, y = _x(place), TOP + height + 16
        parts.append(f'<text x="{x}" y="{y}" text-anchor="middle">{escape(text)}</text>')
    # What is drawn last lies on top.
    ordered = sorted(points, key=lambda point: (point.entry is best, point.entry.state == DONE))
    circles = [_circle(point, up, is_best=point.entry is best) for point in ordered]
    return "\n".join([*parts, *circles])


def _circle(point: Point, up: Axis, *, is_best: bool) -> str:
    entry = point.entry
    kind = "best" if is_best else "done" if entry.state == DONE else "other"
    told = f"{entry.name} ({entry.state}): {entry.score:.4f}; {in_words(entry.values)}"
    return (
        f'<circle class="{kind}" cx="{_x(point.x)}" cy="{_y(up.place(entry.score))}" r="4">'
        f"<title>{escape(told)}</title></circle>"
    )


def _x(place: float) -> float:
    return round(LEFT + place * (WIDTH - LEFT - RIGHT), 1)


def _y(place: float) -> float:
    return round(HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM), 1)
