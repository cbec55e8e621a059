"""Builds HTML from elements, so that names given by users are always text and never markup."""

import os
import pathlib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from jaxcifar.errors import UserError
from jaxcifar.run import damage
from jaxcifar.system import atomic, files

GENERATOR = "jaxcifar.report"
START = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    f'<meta name="generator" content="{GENERATOR}">'
).encode()  # of every page
# The page may fetch nothing: no script, style, font or image.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
Child = Element | str | None


class Section(NamedTuple):
    """A section of a page; links to it show its title."""

    title: str
    content: Iterable[Child]

    @property
    def id(self) -> str:
        return self.title.lower().replace(" ", "-").replace(",", "")


def tag(name: str, /, *children: Child | Iterable[Child], **attributes: object) -> Element:
    """Returns an element: `tag("th", "cat", scope="row")`, with `class_` and `aria_label`.

    Text is escaped when the page is written; children and attributes that are None are left out.
    """
    given = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items() if v is not None}
    made = Element(name, {key: str(value) for key, value in given.items()})
    for child in children:
        for part in [child] if isinstance(child, str | Element) else child or ():
            if isinstance(part, Element):
                made.append(part)
            elif part and len(made):
                made[-1].tail = (made[-1].tail or "") + part
            elif part:
                made.text = (made.text or "") + part
    return made


def page(
    title: str, lead: Iterable[Child], sections: Iterable[Section], notes: Sequence[str] = ()
) -> str:
    """Returns a complete page with its style and script inside, and `notes` at its foot."""
    parts = list(sections)
    resource = resources.files(__package__)
    links = [tag("li", tag("a", part.title, href=f"#{part.id}")) for part in parts]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="generator", content=GENERATOR),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", title),
        tag("style", resource.joinpath("page.css").read_text("utf-8")),
    )
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag("header", tag("h1", title), lead),
        tag("nav", tag("ul", links), aria_label="sections of this page"),
        tag(
            "main",
            (tag("section", tag("h2", part.title), part.content, id=part.id) for part in parts),
            id="content",
        ),
        tag(
            "footer",
            (tag("p", note) for note in notes),
            tag("p", "Made by ", tag("code", "python -m jaxcifar.report"), "."),
            id="notes" if notes else None,
        ),
        tag("script", resource.joinpath("page.js").read_text("utf-8")),
    )
    html = tag("html", head, body, lang="en")
    return "<!doctype html>\n" + ElementTree.tostring(html, encoding="unicode", method="html")


def check_own_page(path: pathlib.Path) -> None:
    """Raises a UserError if the file exists and is not a page made by this command."""
    if not os.path.lexists(path):
        return
    with (
        damage.reporting(f"cannot write to --out={path}"),
        files.open_plain(path, follow=True) as file,
    ):
        if file.read(len(START)) != START:
            raise UserError(
                f"--out={path} exists and was not made by this command; choose another file"
            )


def write_page(path: pathlib.Path, text: str) -> None:
    """Writes a page; replaces only a page made by this command.

    Raises:
      UserError: the file was not made by this command, or cannot be written.
    """
    check_own_page(path)
    with damage.reporting(f"cannot write to --out={path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as file:
            file.write(text.encode(errors="backslashreplace"))
