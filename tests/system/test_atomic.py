import pytest

from jaxcifar.errors import UserError
from jaxcifar.system import atomic

MARKS = ("<!-- from -->", "<!-- to -->")


def test_only_the_text_between_the_marks_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- from -->\nold\nolder\n<!-- to -->\nb — Umlaut ä\n")
    atomic.replace_between_marks(page, MARKS, "new")
    assert page.read_text() == "a\n<!-- from -->\nnew\n<!-- to -->\nb — Umlaut ä\n"
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize("text", ["", "<!-- from -->", "<!-- to -->", "<!-- to --><!-- from -->"])
def test_a_file_without_the_marks_is_left_alone(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(UserError, match=r"page\.md lacks the lines '<!-- from -->' and"):
        atomic.replace_between_marks(page, MARKS, "new")
    assert page.read_text() == text
