"""Makes the texts of a figure appear as they are: no formulas, no boxes for missing glyphs."""

import pathlib
import warnings
from typing import Any

from jaxcifar.system.output import printable_lines


def legend_label(name: str) -> str:
    """Returns the name as a label; matplotlib leaves labels that start with "_" out of legends."""
    return f" {name}" if name.startswith("_") else name


def show_literally(fig: Any, path: pathlib.Path) -> None:
    """Makes matplotlib show every text literally, in fonts that have its characters.

    `$`, `_` and `^` in names are not read as formulas. If no installed font has a character, the
    text shows its code and a warning says so.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    axes = [axis for axes in fig.axes for axis in (axes.xaxis, axes.yaxis)]
    numbers = [
        a for a in axes if isinstance(a.get_major_formatter(), LogFormatter | ScalarFormatter)
    ]
    # these make formulas themselves, such as 10⁻³
    own = {id(t) for a in numbers for t in [*a.get_ticklabels(), *a.get_ticklabels(minor=True)]}
    texts = [text for text in fig.findobj(Text) if id(text) not in own]
    codes = _find_fonts(texts, path)

    def rewrite(word: str) -> str:
        return printable_lines(word).translate(codes)

    for text in texts:
        text.set_text(rewrite(text.get_text()))
    for axis in (axis for axis in axes if axis not in numbers):  # which set their texts again
        labels = [rewrite(text.get_text()) for text in axis.get_ticklabels()]
        axis.set_ticks(axis.get_ticklocs(), labels)
    for text in texts:
        text.set_parse_math(False)


def _find_fonts(texts: list[Any], path: pathlib.Path) -> dict[int, str]:
    """Gives the texts a font for their characters; returns the codes of those without a font."""
    from matplotlib import font_manager

    usual = font_manager.findfont(font_manager.FontProperties())
    characters = {c for text in texts for c in printable_lines(text.get_text())} - {"\n"}
    if not (missing := characters - _glyphs(usual)):
        return {}
    fonts = {
        font.name: font.fname
        for font in font_manager.fontManager.ttflist
        if (font.style, font.weight) == ("normal", 400) and "Last Resort" not in font.name  # boxes
    }
    found = [name for name, file in sorted(fonts.items()) if missing & _glyphs(file)]
    best = sorted(found, key=lambda name: -len(missing & _glyphs(fonts[name])))[:1]
    for name in best:
        missing -= _glyphs(fonts[name])
    codes = {ord(c): c.encode("unicode_escape").decode() for c in missing}
    for text in texts:
        text.set_fontfamily([font_manager.get_font(usual).family_name, *best])
    if missing:
        warnings.warn(
            f"no installed font has {len(missing)} of the characters in {path.name}, which shows"
            " their codes instead; install a font with them, such as Noto Sans CJK",
            stacklevel=2,
        )
    return codes


def _glyphs(file: str) -> set[str]:
    """Returns the characters of a font; of none if the file cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return set(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):
        return set()
