"""`sweep`: the grid is checked before anything starts; records become a table and two charts."""

import json
import math
import pathlib

import pytest

from jaxcifar import sweep
from jaxcifar.claims import records
from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.figures import png
from jaxcifar.launch import jobs, sweep_results
from jaxcifar.launch.grid import Swept, make_grid, parse_swept, plan_jobs
from jaxcifar.launch.job import Outcome

CONFIG = "configs/simple_cnn.py:batchnorm"
RATES = Swept("optimizer.learning_rate", ("0.1", "0.01", "0.001"))
DEPTHS = Swept("model.widths", ("(8, 16)", "(4, 8)"))


def record(accuracy, loss=1.0):
    line = {
        "epoch": 1,
        "train_accuracy": accuracy,
        "test_accuracy": accuracy,
        "train_loss": loss,
        "test_loss": loss,
    }
    better = line | {"test_accuracy": accuracy + 0.1}
    return {"epochs": [better, line], "seconds": 60.0, "class_names": ["a"] * 10}


def test_values_are_split_at_commas_outside_brackets():
    assert parse_swept("optimizer.learning_rate=0.1,0.01,0.001") == RATES
    assert parse_swept("config.model.widths=(8, 16),(4, 8)") == DEPTHS
    nested = parse_swept("augment.curriculum=((0,24),(5,32)),((0,32),)")
    assert nested.values == ("((0,24),(5,32))", "((0,32),)")
    for text in ("a=(1,2", "a=1),(2", "a=[1"):
        with pytest.raises(UserError, match="the brackets do not match"):
            parse_swept(text)


def test_the_grid_has_every_combination_of_the_values():
    grid = make_grid(CONFIG, [RATES, DEPTHS], ["--config.num_epochs=3"])
    assert len(grid.runs) == 6
    found = {
        (config.optimizer.learning_rate, tuple(config.model.widths))
        for config in (grid.config_of(run, 2) for run in grid.runs)
    }
    assert found == {(r, w) for r in (0.1, 0.01, 0.001) for w in ((8, 16), (4, 8))}
    config = grid.config_of(next(iter(grid.runs)), 2)
    assert (config.seed, config.num_epochs) == (2, 3)
    assert len({records.path_of(pathlib.Path(), run, 0).name for run in grid.runs}) == 6


def test_choices_that_differ_in_punctuation_have_different_names(tmp_path):
    places = [tmp_path / "a" / "b", tmp_path / "a_b", tmp_path / "c"]
    grid = make_grid(CONFIG, [Swept("data.dir", tuple(map(str, places)))], [])
    assert [grid.config_of(run, 0).data.dir for run in grid.runs] == list(map(str, places))
    again = make_grid(CONFIG, [Swept("data.dir", tuple(map(str, places[::-1])))], [])
    assert set(again.runs) == set(grid.runs)
    assert list(grid.runs)[2].endswith("_c")


def test_long_choices_have_names_that_fit_into_the_name_of_a_file():
    folders = [f"/{'long' * 70}/{last}" for last in "ab"]
    runs = list(make_grid(CONFIG, [Swept("data.dir", tuple(folders))], []).runs)
    assert len(set(runs)) == 2
    assert all(len(records.path_of(pathlib.Path(), run, 9999).name) < 230 for run in runs)


MANY = ",".join(map(str, range(1, 102)))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sweep=optimizer.learning_rat=1"], "learning_rat"),
        (["--sweep=optimizer.learning_rate="], "expected KEY=V1,V2"),
        (["--sweep=optimizer.learning_rate=1,,2"], "expected KEY=V1,V2"),
        (["--sweep=optimizer.learning_rate"], "expected KEY=V1,V2"),
        (["--sweep=optimizer.learning_rate=0.1,fast"], "fast"),
        (["--sweep=num_epochs=1,2.5"], "2.5"),
        (["--sweep=num_epochs=1,1"], "twice"),
        (["--sweep=num_epochs=1", "--sweep=num_epochs=2"], "twice"),
        (["--sweep=seed=1,2"], "--seeds=N"),
        (["--sweep=num_epochs=1", "--seeds=0"], "--seeds=0"),
        (["--sweep=num_epochs=1", "--seeds=1000000000"], "expected at most 10,000"),
        ([f"--sweep={key}={MANY}" for key in ("num_epochs", "batch_size")], "10,201 combinations"),
        (["--sweep=num_epochs=1", "--surplus=1"], "surplus"),
    ],
)
def test_bad_input_is_a_one_line_error_before_anything_starts(
    words, expected, run, tmp_path, monkeypatch
):
    monkeypatch.setattr(jobs, "run_all", lambda *_: pytest.fail("it started"))
    out = tmp_path / "out"
    status, _, err = run(sweep.main, [f"--config={CONFIG}", f"--out={out}", *words])
    assert status == 2
    assert expected in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_only_missing_runs_are_planned_seed_by_seed():
    grid = make_grid(CONFIG, [RATES], [])
    runs = list(grid.runs)
    found = {run: {} for run in runs} | {runs[0]: {0: record(0.5)}}
    planned = [(job.run, job.seed) for job in plan_jobs(grid, 2, found)]
    assert planned == [(run, 0) for run in runs[1:]] + [(run, 1) for run in runs]
    shards = [plan_jobs(grid, 2, found, f"{i}/2") for i in range(2)]
    assert sorted((job.run, job.seed) for jobs in shards for job in jobs) == sorted(planned)
    assert {job.minutes for jobs in shards for job in jobs} == {1.0}  # as long as the record's run


def test_the_table_is_sorted_by_accuracy_and_marks_runs_no_better_than_guessing():
    found = {
        "a": {0: record(0.5), 1: record(0.6)},
        "b": {0: record(0.7)},
        "c": {0: record(0.1, loss=None)},
        "d": {},
    }
    assert first_cells(found) == [
        ["b", "1", "test", "0.7000"],
        ["a", "2", "test", "0.5500 ± 0.0707"],
        ["c (no better than guessing)", "1", "test", "0.1000"],
    ]
    assert "0.6500 ± 0.0707" in sweep_results.format_table(found)  # best epochs of a
    assert sweep_results.format_table(found).endswith("Not yet run: d.")


def test_the_table_does_not_rank_test_accuracies_among_validation_accuracies():
    held_out = record(0.5)
    held_out["epochs"][-1]["validation_accuracy"] = 0.4
    found = {"test only": {0: record(0.9)}, "held out": {0: held_out}}
    assert first_cells(found) == [
        ["held out", "1", "validation", "0.4000"],
        ["test only", "1", "test", "0.9000"],
    ]


def first_cells(found):
    """Returns the first four cells of each row of a sweep's table."""
    rows = sweep_results.format_table(found).partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.split("|")[1:5]] for row in rows]


def test_the_chart_shows_the_mean_accuracy_and_its_interval_at_each_value(monkeypatch, tmp_path):
    drawn = {}
    monkeypatch.setattr(png, "save", lambda fig, path: drawn.update({path.name: fig}))
    grid = make_grid(CONFIG, [RATES, DEPTHS], [])
    found = {run: {0: record(0.5), 1: record(0.6)} for run in grid.runs}
    found["optimizer.learning_rate=0.1,model.widths=_8__16_"] = {0: record(0.1, loss=None)}
    sweep_results.draw_accuracy(tmp_path / "a.png", grid, found)
    axis = drawn["a.png"].axes[0]
    assert axis.get_xscale() == "log"
    first = axis.containers[0].lines[0]
    assert list(first.get_xdata()) == [0.001, 0.01, 0.1]
    assert first.get_ydata() == pytest.approx([0.55, 0.55, 0.1])
    crosses = [line for line in axis.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [(list(c.get_xdata()), list(c.get_ydata())) for c in crosses] == [([0.1], [0.1])]
    (bars,) = axis.containers[0].lines[2]
    low, high = bars.get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(12.706 * math.sqrt(0.005) / math.sqrt(2), rel=1e-3)


@pytest.mark.parametrize(
    ("values", "scale"),
    [(("0.1", "0.05", "0.01"), "log"), (("1", "2", "3"), "linear"), (("0", "0.1"), "linear")],
)
def test_values_that_differ_by_a_factor_have_a_logarithmic_axis(
    values, scale, monkeypatch, tmp_path
):
    drawn = []
    monkeypatch.setattr(png, "save", lambda fig, path: drawn.append(fig))
    grid = make_grid(CONFIG, [RATES._replace(values=values)], [])
    sweep_results.draw_accuracy(tmp_path, grid, {run: {0: record(0.5)} for run in grid.runs})
    axis = drawn[0].axes[0]
    assert axis.get_xscale() == scale
    assert [tick.get_text() for tick in axis.get_xticklabels()] == list(values)
    assert list(axis.get_xticks()) == list(map(float, values))


def test_a_stopped_sweep_writes_its_results_so_far_and_continues(run, tmp_path, monkeypatch):
    """Each command finishes one of two runs; a signal stops the first command."""

    def run_all(missing, folders, parallel_jobs, at_once):
        job = missing[0]
        content = {"device": "", "finished": "", "examples_per_second": 1.0, "initial_loss": 2.3}
        content |= {"data": {}, "gates": {}, "versions": {"jax": "0"}} | record(0.5)
        content["weights"] = {
            "range": [0, 1],
            "counts": [1],
            "total": 1,
            "share_below": {"0.001": 1},
        }
        config = json.loads(schema.to_json(job.config))
        of_job = {"run": job.run, "seed": job.seed, "config": config, "commit": ""}
        records.write(folders.out, content | of_job)
        return Outcome(len(missing) > 1, [])

    monkeypatch.setattr(jobs, "run_all", run_all)
    words = [f"--config={CONFIG}", "--sweep=batch_size=64,128", f"--out={tmp_path / 'out'}"]
    status, out, _ = run(sweep.main, words)
    assert status == 130
    assert "Not yet run: batch_size=128." in out
    status, out, _ = run(sweep.main, words)
    assert status == 0
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "| batch_size=64 | 1 | test | 0.5000 |" in readme
    assert "| batch_size=128 | 1 | test | 0.5000 |" in readme
    for name in ("accuracy.png", "curves.png"):
        assert name in readme
        assert (tmp_path / "out" / name).stat().st_size > 5_000


def test_an_unknown_key_is_a_user_error():
    with pytest.raises(UserError):
        make_grid(CONFIG, [Swept("nothing", ("1",))], [])
