"""Labels of a page's pictures, as they lie in the browser."""

from __future__ import annotations

from itertools import combinations

from playwright.sync_api import Page

_APART = 6
"""Pixels between labels on one line; with less they read as one."""
_BOXES = """
pictures => pictures.map(picture => [...picture.querySelectorAll('text:not(.name)')].map(text => {
  const { left, right, top, bottom } = text.getBoundingClientRect();
  return [text.textContent, left, right, top, bottom];
}))
"""


def touching_labels(page: Page) -> list[tuple[str, str]]:
    """Those at the axes of pictures that lie on each other, or side by side too close to be told apart; two at a time."""
    pictures: list[list[tuple[str, float, float, float, float]]] = page.eval_on_selector_all("svg.plot", _BOXES)
    assert all(len(each) > 1 for each in pictures), "each picture has an axis"
    return [
        (one[0], other[0])
        for boxes in pictures
        for one, other in combinations(boxes, 2)
        if max(one[1], other[1]) < min(one[2], other[2]) + _APART and max(one[3], other[3]) < min(one[4], other[4])
    ]
