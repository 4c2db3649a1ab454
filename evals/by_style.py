"""Composition by style, each style a rung of the ladder: what adds up easily, and what does not."""

from __future__ import annotations

from collections.abc import Sequence

from .log import Row
from .stats import Estimate, bootstrap, by_item
from .suites.items import Item
from .summary import Summary


def by_style(rows: Sequence[Row], items: Sequence[Item]) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Joint accuracy (mean and 95 % interval over prompts): group -> style -> arm; only groups with several styles."""
    style = {item.id: item.style for item in items if item.style is not None}
    cells: dict[str, dict[str, dict[str, list[tuple[str, float]]]]] = {}
    for row in rows:
        if row.item in style:
            arms = cells.setdefault(row.group, {}).setdefault(style[row.item], {})
            arms.setdefault(row.arm, []).append((row.item, float(row.joint)))
    return {
        group: {
            name: {arm: bootstrap(list(by_item(scores).values())) for arm, scores in arms.items()}
            for name, arms in styles.items()
        }
        for group, styles in cells.items()
        if len(styles) > 1
    }


def markdown(summary: Summary) -> list[str]:
    """Lines of a table a group: an arm a row, a style a column."""
    lines: list[str] = []
    for group, styles in summary.styles.items():
        lines += [f"## {group}, by style", "", "| arm | " + " | ".join(styles) + " |", "|---" * (len(styles) + 1) + "|"]
        for arm, told in summary.arms.items():
            found = [cells.get(arm) for cells in styles.values()]
            if any(found):
                shown = [f"{cell.mean:.2f}" if cell else "" for cell in found]
                lines.append(f"| {told.title} | " + " | ".join(shown) + " |")
        lines.append("")
    return lines
