"""Output that goes nowhere must not raise."""

import io
import os
import sys

import pytest

from jaxcifar import errors
from jaxcifar.system import output


def stream_to(descriptor, encoding="utf-8"):
    """A text stream with a buffer, as Python opens stdout for a pipe or a file."""
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(descriptor, "w")), encoding)


@pytest.fixture
def no_reader():
    """A stream to a pipe that nobody reads any more."""
    ours, theirs = os.pipe()
    os.close(ours)
    return stream_to(theirs)


def test_a_broken_pipe_loses_the_output(no_reader, monkeypatch):
    monkeypatch.setattr(sys, "stdout", no_reader)
    for _ in range(2):
        output.say("line")
    no_reader.close()  # what is still in its buffer is discarded too


def test_a_full_disk_loses_the_output(monkeypatch):
    with stream_to(os.open("/dev/full", os.O_WRONLY)) as full:
        for _ in range(2):
            output.say("line", full)


def test_a_closed_stream_is_ignored(no_reader, monkeypatch):
    monkeypatch.setattr(sys, "stdout", no_reader)
    output.say("line")
    no_reader.close()
    output.say("line")
    monkeypatch.setattr(sys, "stdout", None)  # as after `>&-`
    output.say("line")


def test_a_character_that_cannot_be_encoded_is_replaced():
    ours, theirs = os.pipe()
    with stream_to(theirs, "ascii") as stream:
        output.say("1 × cpu", stream)
    assert os.read(ours, 100) == b"1 ? cpu\n"
    os.close(ours)


def test_a_line_printed_while_printing_is_lost(monkeypatch):
    """A signal handler may interrupt a print; Python then refuses to write."""

    class Busy(io.StringIO):
        def write(self, text):
            raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    output.say("line", Busy())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jcat\x07", r"\x1b[2Jcat\x07"),
        ("a\u202etxt.png\x9b31m", r"a\u202etxt.png\x9b31m"),
        ("one\ntwo\r", r"one\ntwo\r"),
        ("\udcff", r"\udcff"),
        ("Straße ×2 – 猫", "Straße ×2 – 猫"),
        ("a" * 900 + "b" * 100, f"{'a' * 150} … {'b' * 50}"),
    ],
)
def test_a_name_from_elsewhere_is_printable_and_short(text, shown):
    assert errors.printable(text) == shown
    assert output.cleaned({text: [text, 1, None]}) == {shown: [shown, 1, None]}
    assert "\x1b" not in str(errors.UserError(text)) + output.printable_lines(text)
    assert len(str(errors.UserError(text * 99))) < 8100


def test_a_cell_is_text_and_neither_formula_nor_markup():
    for text in ("=1+1", "+1", "-1", "@a"):
        assert output.csv_cell(text) == f"'{text}"
    assert output.csv_cell("a=1") == "a=1"
    assert output.markdown_cell("a|b<img>\nc") == r"a\|b&lt;img>\nc"
