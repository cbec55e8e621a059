"""Output that goes nowhere must not raise."""

import io
import os
import sys

import pytest

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
