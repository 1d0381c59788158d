"""Line charts for the terminal, in braille: two by four dots per character, a colour per curve."""

import math
from collections.abc import Sequence

from rich.text import Text

SCALE = 10  # columns of the numbers at the left
COLOURS = ("cyan", "magenta", "yellow", "green", "red", "blue")
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column and row (Unicode 15, chapter 21.1)

Points = Sequence[tuple[float, float]]


def line_chart(curves: Sequence[Points], width: int, height: int) -> Text:
    """Draw curves of points (x, y), each in its colour, into ``height`` lines of at most ``width`` columns.

    A column of dots shows the mean of its points; between columns the curve is straight. Points that are not
    finite are left out.
    """
    curves = [[(x, y) for x, y in points if math.isfinite(y)] for points in curves]
    xs, ys = ([point[axis] for points in curves for point in points] for axis in (0, 1))
    columns = max(1, width - SCALE - 1)
    cells, colours = [[0] * columns for _ in range(height)], [[0] * columns for _ in range(height)]
    left, right = (min(xs), max(xs)) if xs else (0.0, 0.0)
    low, high = (min(ys), max(ys)) if ys else (0.0, 0.0)
    for number, points in enumerate(curves):
        for column, row in _dots(points, (left, right), (low, high), 2 * columns, 4 * height):
            cells[row // 4][column // 2] |= DOTS[column % 2][row % 4]
            colours[row // 4][column // 2] = number
    text = Text()
    for line in range(height):
        label = f"{high:.4g}" if line == 0 else f"{low:.4g}" if line == height - 1 else ""
        text.append(f"{label:>{SCALE}} ", style="dim")
        for cell, colour in zip(cells[line], colours[line], strict=True):
            text.append(chr(0x2800 + cell) if cell else " ", style=COLOURS[colour % len(COLOURS)])
        text.append("\n" * (line < height - 1))
    return text


def _dots(
    points: Points, x_range: tuple[float, float], y_range: tuple[float, float], columns: int, rows: int
) -> list[tuple[int, int]]:
    """Return the (column, row) of every dot of a curve; row 0 is the top."""
    sums: dict[int, list[float]] = {}
    for x, y in points:
        share = (x - x_range[0]) / ((x_range[1] - x_range[0]) or 1.0)
        sums.setdefault(round(share * (columns - 1)), []).append(y)
    span = (y_range[1] - y_range[0]) or 1.0
    heights = {
        column: round((y_range[1] - sum(ys) / len(ys)) / span * (rows - 1)) for column, ys in sums.items()
    }
    dots: list[tuple[int, int]] = []
    known = sorted(heights)
    for start, end in zip(known, known[1:] or known, strict=False):
        for column in range(start, end + 1):
            share = (column - start) / max(1, end - start)
            row = round(heights[start] + share * (heights[end] - heights[start]))
            before = dots[-1][1] if dots else row
            step = 1 if row >= before else -1
            dots += [(column, between) for between in range(before, row + step, step)]
    return dots
