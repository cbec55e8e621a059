import json

import pytest

from jaxcifar.errors import UserError
from jaxcifar.run import metrics

LINES = [{"epoch": n, "step": 4 * n, "test_accuracy": n / 10} for n in (1, 2, 3)]


def text(*lines):
    return "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)


def write(folder, *lines):
    (folder / "metrics.jsonl").write_text(text(*lines))


def test_a_torn_last_line_is_ignored(tmp_path):
    assert metrics.read(tmp_path) == []
    write(tmp_path, *LINES[:2], '{"step"')
    assert metrics.read(tmp_path) == LINES[:2]
    assert metrics.resume(tmp_path, 8) == (LINES[:2], 0)  # without a warning
    metrics.append(tmp_path, LINES[2])
    assert metrics.read(tmp_path) == LINES
    assert (tmp_path / "metrics_aside.jsonl").read_text() == '{"step"\n'


def test_a_last_line_without_a_newline_is_valid(tmp_path):
    write(tmp_path, *LINES[:1], json.dumps(LINES[1]))
    assert metrics.resume(tmp_path, 8) == (LINES[:2], 0)
    metrics.append(tmp_path, LINES[2])
    assert metrics.read(tmp_path) == LINES


@pytest.mark.parametrize("damage", ["\0\0\0\n", "[1]\n", '{"epoch": 2}\n', "null\n", "\x80{}\n"])
def test_only_the_damaged_line_is_lost_and_set_aside(tmp_path, damage):
    write(tmp_path, LINES[0], damage, LINES[2])
    assert metrics.read(tmp_path) == [LINES[0], LINES[2]]
    with pytest.warns(UserWarning, match=r"metrics.jsonl is damaged in line 2;"):
        assert metrics.resume(tmp_path, 12) == ([LINES[0], LINES[2]], 0)
    assert (tmp_path / "metrics_aside.jsonl").read_text() == damage
    assert (tmp_path / "metrics.jsonl").read_text() == text(LINES[0], LINES[2])


def test_lines_that_no_longer_apply_are_set_aside_and_accumulate(tmp_path):
    write(tmp_path, *LINES)
    before = (tmp_path / "metrics.jsonl").stat().st_mtime_ns
    assert metrics.resume(tmp_path, 12) == (LINES, 0)
    assert (tmp_path / "metrics.jsonl").stat().st_mtime_ns == before  # left alone
    assert metrics.resume(tmp_path, 8) == (LINES[:2], 1)
    assert metrics.resume(tmp_path, 0) == ([], 2)
    assert (tmp_path / "metrics_aside.jsonl").read_text() == text(LINES[2], *LINES[:2])


def test_missing_or_extra_lines_are_reported(tmp_path):
    metrics.check_complete(tmp_path, LINES, 3)
    for lines, message in (
        ([], r"has no line for 3 of 3 epochs \(1, 2, 3\)"),
        (LINES[1:], r"has no line for 1 of 3 epochs \(1\)"),
        ([*LINES, LINES[2]], "has 4 lines for 3 epochs"),
    ):
        with pytest.raises(UserError, match=message):
            metrics.check_complete(tmp_path, lines, 3)


def test_a_diverged_run_is_complete_up_to_its_last_epoch(tmp_path):
    lines = [*LINES[:2], LINES[2] | {"train_loss": None}]
    metrics.check_complete(tmp_path, lines, 9)
    with pytest.raises(UserError, match="has no line for 1 of 3 epochs"):
        metrics.check_complete(tmp_path, lines[1:], 9)
    write(tmp_path, *lines)
    assert metrics.resume(tmp_path, 8) == (lines, 0)  # no step was saved of the third


def test_a_number_that_is_not_finite_is_null():
    value = {"a": [float("nan"), 1.5], "b": {"c": (float("-inf"), "x", 2, True)}}
    assert metrics.without_nonfinite(value) == {"a": [None, 1.5], "b": {"c": [None, "x", 2, True]}}


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*metrics.jsonl: Is a directory"):
        metrics.read(tmp_path)


def test_a_spreadsheet_computes_no_name_of_a_metric(tmp_path):
    """A received metrics.jsonl may have any names."""
    metrics.write_csv(tmp_path, [{"epoch": 1, "=1+1": 0.5, "+a\tb": None}])
    first = (tmp_path / metrics.TABLE).read_text().splitlines()[0]
    assert first == r"epoch,'=1+1,'+a\tb"
