"""Markup: names given by users stay text, and no file of theirs is overwritten."""

from html.parser import HTMLParser

import pytest

from jaxcifar.errors import UserError
from jaxcifar.pages import markup
from jaxcifar.pages.markup import Section, tag

HOSTILE = '"><script>boom()</script>&<img src=x onerror=boom()>'


class Parsed(HTMLParser):
    """Parses a page into elements with attributes, and texts outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self._raw = [], [], False
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self._raw = name in ("script", "style")

    def handle_endtag(self, name):
        self._raw = False

    def handle_data(self, text):
        if not self._raw:
            self.texts.append(text)


def test_a_hostile_name_stays_text_or_an_attribute():
    body = tag("p", "before ", tag("b", HOSTILE), HOSTILE, title=HOSTILE)
    page = Parsed(markup.page(HOSTILE, [], [Section("One part", [body])]))
    names = [name for name, _ in page.elements]
    assert names.count("script") == 1
    assert "img" not in names
    assert ("p", {"title": HOSTILE}) in page.elements
    assert page.texts.count(HOSTILE) == 4  # title, heading, within b and after it


def test_a_page_fetches_nothing():
    page = Parsed(markup.page("a", [], [Section("Part", [tag("p", "b")])]))
    for name, attributes in page.elements:
        assert name != "link"
        assert not {"src", "srcset", "action"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
    assert any("default-src 'none'" in a.get("content", "") for _, a in page.elements)


def test_every_link_leads_to_a_section():
    page = Parsed(markup.page("a", [], [Section("Seconds and versions", [])]))
    ids = {a["id"] for _, a in page.elements if "id" in a}
    assert (
        {a["href"][1:] for _, a in page.elements if "href" in a}
        == ids
        == {
            "content",
            "seconds-and-versions",
        }
    )


def test_only_a_page_made_by_this_command_is_replaced(tmp_path):
    file = tmp_path / "new" / "a.html"
    markup.write_page(file, markup.page("first", [], []))
    markup.write_page(file, markup.page("second", [], []))
    assert "second" in file.read_text()
    file.write_text("<p>mine</p>")
    with pytest.raises(UserError, match=r"a\.html exists and was not made by this command"):
        markup.check_own_page(file)
    with pytest.raises(UserError, match="choose another file"):
        markup.write_page(file, "")
    assert file.read_text() == "<p>mine</p>"
    with pytest.raises(UserError, match="cannot write to --out="):
        markup.write_page(tmp_path, "")


def test_a_page_that_only_mentions_this_command_is_not_replaced(tmp_path):
    assert markup.page("a", [], []).encode().startswith(markup.START)
    file = tmp_path / "notes.html"
    file.write_text("<!doctype html>\n<p>made with jaxcifar.report</p>")
    with pytest.raises(UserError, match="was not made by this command"):
        markup.check_own_page(file)
