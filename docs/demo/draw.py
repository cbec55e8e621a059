"""Draws the ten pictures beside it, a simple one of each class of CIFAR-10, for `make demo`.

    python docs/demo/draw.py

They are drawings, made of ovals and polygons by this file, not photographs and not of CIFAR-10:
what a net says of them is a demonstration, and no measure of it.
"""

import pathlib
from collections.abc import Callable

from PIL import Image, ImageDraw

SIZE = 160  # pixels a side of what is written
FINER = 4  # and so many times finer drawn: the mean smooths the edges

Colour = str | tuple[int, int, int]
Point = tuple[float, float]


class Pen:
    """Draws on a square of 100 by 100, (0, 0) at the upper left."""

    def __init__(self, above: Colour, below: Colour, horizon: float = 100):
        side = SIZE * FINER
        self.image = Image.new("RGB", (side, side), above)
        self._draw, self._scale = ImageDraw.Draw(self.image), side / 100
        self.polygon(below, (0, horizon), (100, horizon), (100, 100), (0, 100))

    def _points(self, points: tuple[Point, ...]) -> list[Point]:
        return [(x * self._scale, y * self._scale) for x, y in points]

    def polygon(self, colour: Colour, *points: Point) -> None:
        self._draw.polygon(self._points(points), fill=colour)

    def oval(self, colour: Colour, x: float, y: float, across: float, down: float) -> None:
        """About (x, y), so far to each side."""
        corners = self._points(((x - across, y - down), (x + across, y + down)))
        self._draw.ellipse(corners, fill=colour)

    def line(self, colour: Colour, width: float, *points: Point) -> None:
        pixels = round(width * self._scale)
        self._draw.line(self._points(points), fill=colour, width=pixels, joint="curve")
        for x, y in points:
            self.oval(colour, x, y, width / 2, width / 2)


def airplane() -> Pen:
    pen = Pen("#86b5e4", "#86b5e4")
    pen.polygon("#9aa3ad", (50, 47), (66, 22), (72, 22), (64, 48))  # the far wing
    pen.oval("#eef1f4", 50, 52, 42, 7)
    pen.polygon("#eef1f4", (84, 50), (96, 30), (88, 30), (72, 48))
    pen.polygon("#c3cad2", (84, 52), (97, 60), (92, 61), (76, 55))
    pen.polygon("#b4bcc6", (44, 54), (62, 54), (72, 80), (64, 80))
    pen.oval("#6d7681", 50, 62, 6, 3)
    pen.polygon("#3b4653", (11, 49), (19, 48), (18, 51), (10, 52))
    for x in range(26, 74, 6):
        pen.oval("#55606d", x, 50, 1, 1.2)
    return pen


def automobile() -> Pen:
    pen = Pen("#b9c0c4", "#6b6c70", 62)
    pen.oval("#4a4b4e", 50, 80, 46, 4)
    pen.polygon("#a81420", (24, 48), (36, 30), (66, 30), (82, 48))
    pen.polygon("#c81e2c", (5, 50), (22, 46), (84, 46), (95, 54), (96, 74), (5, 74))
    pen.polygon("#2b3440", (29, 47), (38, 34), (49, 34), (49, 47))
    pen.polygon("#2b3440", (53, 47), (53, 34), (64, 34), (75, 47))
    for x in (25, 76):
        pen.oval("#17181a", x, 74, 11, 11)
        pen.oval("#a9adb2", x, 74, 5.5, 5.5)
    pen.oval("#f6e9a6", 92, 58, 3, 3)
    pen.polygon("#7d0f18", (5, 54), (9, 54), (9, 60), (5, 60))
    return pen


def bird() -> Pen:
    pen = Pen("#8fa86c", "#8fa86c")
    pen.line("#5b4330", 4, (0, 84), (100, 76))
    for x in (48, 55):
        pen.line("#6b4a22", 1.5, (x, 64), (x - 1, 81))
    pen.polygon("#5a3f2c", (26, 60), (4, 78), (10, 83), (38, 68))  # the tail
    pen.oval("#8a6544", 50, 52, 25, 19)
    pen.oval("#d9c3a0", 58, 58, 17, 13)
    pen.oval("#8a6544", 72, 33, 13, 12)
    pen.polygon("#5a3f2c", (32, 48), (58, 44), (50, 60), (26, 64))  # the wing
    pen.polygon("#e0a53a", (83, 30), (97, 35), (83, 38))
    pen.oval("#101010", 76, 30, 2.4, 2.4)
    pen.oval("#ffffff", 76.8, 29.2, 0.8, 0.8)
    return pen


def cat() -> Pen:
    pen = Pen("#c9b8a5", "#a58d74", 74)
    pen.oval("#7c7a78", 50, 98, 34, 30)
    for side in (-1, 1):
        pen.polygon("#7c7a78", (50 + 33 * side, 8), (50 + 35 * side, 48), (50 + 8 * side, 24))
        pen.polygon("#d8a5a0", (50 + 29 * side, 17), (50 + 30 * side, 38), (50 + 15 * side, 26))
    pen.oval("#8a8886", 50, 49, 35, 29)
    for x in (42, 50, 58):
        pen.line("#4f4d4b", 2.4, (x, 23), (x, 33))
    for side in (-1, 1):
        pen.oval("#b9d05a", 50 + 15 * side, 46, 7, 6)
        pen.oval("#0d0d0d", 50 + 15 * side, 46, 2.4, 5.6)
        pen.oval("#e6e2dc", 50 + 7 * side, 63, 9, 7)
        for y in (58, 63, 68):
            pen.line("#f5f5f5", 0.8, (50 + 13 * side, 63), (50 + 42 * side, y))
    pen.polygon("#d27d7d", (45, 55), (55, 55), (50, 61))
    return pen


def deer() -> Pen:
    pen = Pen("#7f9a5a", "#a9a05c", 58)
    for x in (28, 35, 60, 66):
        pen.line("#6f4a28", 3.4, (x, 60), (x + 1, 92))
    pen.oval("#9a6a3b", 46, 56, 25, 12)
    pen.oval("#ece3d2", 21, 54, 4, 6)
    pen.polygon("#9a6a3b", (56, 54), (70, 58), (80, 30), (70, 28))
    pen.oval("#8f6136", 80, 29, 9, 5.5)
    pen.oval("#2a1c10", 88, 31, 2, 2)
    pen.oval("#0d0d0d", 79, 27, 1.4, 1.4)
    pen.polygon("#7a5230", (72, 27), (60, 20), (68, 30))
    for side in (0, 8):
        pen.line("#5b4025", 1.8, (72 + side, 25), (66 + 2 * side, 12), (68 + 2 * side, 3))
        pen.line("#5b4025", 1.6, (66 + 2 * side, 12), (59 + 3 * side, 6))
    return pen


def dog() -> Pen:
    pen = Pen("#7fa25c", "#6c9150", 70)
    pen.oval("#b98548", 50, 98, 33, 32)
    pen.oval("#c8955a", 50, 44, 27, 31)
    for side in (-1, 1):
        pen.oval("#7a5028", 50 + 28 * side, 44, 9, 25)
        pen.oval("#f4efe6", 50 + 11 * side, 37, 5, 4)
        pen.oval("#20140a", 50 + 11 * side, 37, 3.4, 3.6)
    pen.oval("#efdfc3", 50, 60, 16, 15)
    pen.polygon("#efdfc3", (46, 14), (54, 14), (57, 52), (43, 52))
    pen.oval("#17110c", 50, 53, 7, 5)
    pen.line("#3b2a1a", 1.4, (50, 57), (50, 64), (42, 67))
    pen.line("#3b2a1a", 1.4, (50, 64), (58, 67))
    pen.oval("#d9626a", 50, 72, 5, 7)
    return pen


def frog() -> Pen:
    pen = Pen("#7d6a4c", "#6b5a3e", 66)
    for side in (-1, 1):
        pen.oval("#4e7d22", 50 + 31 * side, 70, 15, 17)
        pen.oval("#41691c", 50 + 33 * side, 88, 16, 4)
    pen.oval("#6aa32e", 50, 62, 32, 28)
    pen.oval("#d8dc9a", 50, 74, 22, 15)
    for side in (-1, 1):
        pen.line("#5b8f28", 7, (50 + 22 * side, 72), (50 + 18 * side, 88))
        pen.oval("#6aa32e", 50 + 19 * side, 34, 11, 12)
        pen.oval("#e3c23c", 50 + 19 * side, 32, 7, 7)
        pen.oval("#0d0d0d", 50 + 19 * side, 32, 4.5, 3)
    pen.line("#36571a", 1.6, (28, 56), (40, 61), (60, 61), (72, 56))
    return pen


def horse() -> Pen:
    pen = Pen("#a9c9e8", "#5f9440", 62)
    for x in (25, 33, 60, 67):
        pen.line("#5b3117", 5, (x, 60), (x, 92))
        pen.line("#241409", 5, (x, 90), (x, 93))
    pen.polygon("#24140a", (24, 46), (10, 54), (8, 80), (15, 80), (20, 58))
    pen.oval("#7b4421", 46, 54, 28, 15)
    pen.polygon("#7b4421", (54, 46), (72, 62), (84, 30), (72, 18))
    pen.polygon("#7b4421", (72, 17), (82, 16), (97, 36), (91, 44), (76, 34))
    pen.polygon("#24140a", (50, 44), (58, 42), (76, 16), (70, 14), (58, 26))
    pen.polygon("#7b4421", (74, 19), (74, 8), (80, 18))
    pen.oval("#0d0d0d", 82, 25, 1.6, 1.6)
    return pen


def ship() -> Pen:
    pen = Pen("#a8c8e4", "#2f6390", 66)
    pen.polygon("#24303d", (4, 54), (96, 50), (86, 74), (14, 74))
    pen.polygon("#a3262a", (12, 69), (89, 69), (86, 74), (14, 74))
    pen.polygon("#f3f3f0", (20, 53), (20, 40), (72, 40), (72, 51))
    pen.polygon("#e4e4df", (28, 40), (28, 30), (60, 30), (60, 40))
    pen.polygon("#c8372d", (40, 30), (40, 14), (52, 14), (52, 30))
    pen.polygon("#1e1e1e", (40, 18), (40, 13), (52, 13), (52, 18))
    pen.line("#4b5560", 1.2, (82, 51), (82, 20))
    for x in range(25, 70, 7):
        pen.oval("#33475c", x, 46, 1.8, 1.8)
    pen.polygon("#3d76a6", (0, 73), (100, 73), (100, 76), (0, 76))
    return pen


def truck() -> Pen:
    pen = Pen("#c7d3dc", "#77777a", 72)
    pen.polygon("#f0f0ec", (3, 18), (64, 18), (64, 70), (3, 70))
    pen.polygon("#2f6db5", (3, 38), (64, 38), (64, 47), (3, 47))
    pen.polygon("#d4761e", (66, 34), (84, 34), (93, 52), (97, 54), (97, 74), (66, 74))
    pen.polygon("#2b3a48", (72, 38), (82, 38), (89, 52), (72, 52))
    pen.polygon("#3a3a3c", (3, 70), (97, 70), (97, 76), (3, 76))
    for x in (17, 34, 80):
        pen.oval("#151516", x, 77, 9, 9)
        pen.oval("#9c9ea2", x, 77, 4, 4)
    pen.oval("#f6e9a6", 95, 62, 2, 2.6)
    return pen


PICTURES: dict[str, Callable[[], Pen]] = {
    drawing.__name__: drawing
    for drawing in (airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck)
}


def drawn(name: str) -> Image.Image:
    """Returns the picture of a class."""
    return PICTURES[name]().image.resize((SIZE, SIZE), Image.Resampling.BOX)


if __name__ == "__main__":
    for name in PICTURES:
        file = pathlib.Path(__file__).parent / f"{name}.png"
        drawn(name).quantize(64).save(file, optimize=True)
