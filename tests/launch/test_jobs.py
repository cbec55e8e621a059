"""Jobs in this process and in parallel: same results; failures, signals and the budget."""

import math
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from small_jobs import folders_in, job, without_clock

from jaxcifar.claims import records
from jaxcifar.errors import UserError
from jaxcifar.launch import jobs, overview, parallel, sweep_results
from jaxcifar.launch.job import Outcome, train_bundle
from jaxcifar.launch.options import missing
from jaxcifar.launch.overview import progress
from jaxcifar.launch.parallel import run_parallel
from jaxcifar.run import workdir
from jaxcifar.system import slots


def two_slots():
    """Two slots, which share a core on a machine with only one."""
    return slots.divide_machine(2, 1, 2)


def test_results_are_the_same_in_parallel_and_a_failed_job_does_not_affect_the_others(
    tmp_path, capfd
):
    both, single = folders_in(tmp_path / "both"), folders_in(tmp_path / "single")
    bad = job(0, "taken")
    with workdir.claim_workdir(both.workdir(bad), job(7).config):
        pass  # the folder now belongs to another config
    outcome = run_parallel([[job(0)], [bad], [job(1)]], both, two_slots() * 2, math.inf)
    assert not outcome.stopped
    ((failed, reason),) = outcome.failed
    assert str(failed) == "taken seed 0"
    assert "holds a run of another config" in reason
    out = capfd.readouterr().out
    assert "small seed 0: started" in out
    last = records.read_record(records.path_of(both.out, "small", 1))["epochs"][-1]
    path = re.escape(str(records.path_of(both.out, "small", 1)))
    accuracy = rf"test accuracy {last['test_accuracy']:.4f}, \d+ s\n"
    assert re.search(f"small seed 1: recorded {path}, {accuracy}", out)
    with pytest.raises(SystemExit) as end:
        jobs.exit_with(outcome)
    assert end.value.code == 1
    assert capfd.readouterr().err.startswith("failed: taken seed 0: ")

    run_parallel([[job(1)]], single, two_slots()[:1], math.inf)
    one, two = (records.path_of(folders.out, "small", 1) for folders in (single, both))
    assert without_clock(one) == without_clock(two)


def test_a_run_that_diverges_is_recorded_as_diverged(tmp_path):
    folders = folders_in(tmp_path)
    one = job(0, num_epochs=3, **{"optimizer.learning_rate": 1e30})
    assert train_bundle([one], folders)
    file = records.path_of(folders.out, "small", 0)
    record = records.read_record(file)
    assert [line["train_loss"] for line in record["epochs"]] == [None]
    assert "small (no better than guessing)" in sweep_results.format_table({"small": {0: record}})
    file.unlink()
    assert train_bundle([one], folders)  # from its workdir, without training again
    assert records.read_record(file) == record


def test_a_run_of_one_epoch_that_accumulates_is_recorded(tmp_path):
    folders = folders_in(tmp_path)
    assert train_bundle([job(0, num_epochs=1, accumulate_steps=2)], folders)
    assert len(records.read_record(records.path_of(folders.out, "small", 0))["epochs"]) == 1


def test_ctrl_c_stops_all_jobs_and_each_saves(tmp_path):
    folders = folders_in(tmp_path)
    long = [job(seed, num_epochs=500) for seed in (0, 1)]

    def interrupt():
        files = [folders.workdir(one) / "metrics.jsonl" for one in long]
        while not all(file.exists() and file.stat().st_size for file in files):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    outcome = run_parallel([[one] for one in long], folders, two_slots(), math.inf)
    assert outcome == Outcome(True, [], left=2)
    assert not (folders.out / "runs").exists()
    for one in long:
        assert "stopping after this step to save" in folders.log(one).read_text()
        assert list(folders.workdir(one).rglob("*model*")), "no checkpoint"
    with pytest.raises(SystemExit) as end:
        jobs.exit_with(outcome)
    assert end.value.code == 130


def test_a_bundle_is_trained_in_a_child_process_too(tmp_path):
    folders, two = folders_in(tmp_path), [job(0), job(1)]
    assert jobs.run_all(two, folders, budget_minutes=1000.0, at_once=2) == Outcome(False, [])
    for seed in (0, 1):
        record = records.read_record(records.path_of(folders.out, "small", seed))
        assert record["runs_at_once"] == 2


def test_nothing_starts_once_the_budget_is_spent(tmp_path):
    folders = folders_in(tmp_path)
    one, all_cores = job(0), job(1)._replace(cores=0)
    assert jobs.run_all([one, all_cores], folders, 1, 0.0) == Outcome(False, [], left=2)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def children(monkeypatch, tmp_path):
    """children(code): makes every child process run this Python code; returns their list."""
    started = []

    def children(code):
        def start_child(bundle, folders, slot):
            folders.workdirs.mkdir(parents=True, exist_ok=True)
            with folders.log(bundle[0]).open("ab") as log:
                started.append(subprocess.Popen([sys.executable, "-uc", code], stdout=log))
            return started[-1]

        monkeypatch.setattr(parallel, "start_child", start_child)
        return started

    return children


def test_a_second_signal_kills_the_children(children, tmp_path):
    folders = folders_in(tmp_path)
    code = "import signal, time; signal.signal(15, lambda *_: print('no')); print('on')"
    started = children(f"{code}\nwhile True: time.sleep(0.1)")
    four = [[job(seed)] for seed in range(4)]

    def interrupt():
        for word in ("on", "no"):
            logs = [folders.log(bundle[0]) for bundle in four[:2]]
            while not all(log.exists() and word in log.read_text() for log in logs):
                time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_parallel(four, folders, two_slots(), math.inf)
    assert [child.returncode for child in started] == [-signal.SIGKILL] * 2


def test_a_job_whose_process_cannot_start_does_not_affect_the_others(children, tmp_path):
    started = children("print('done')")
    folders = folders_in(tmp_path)
    folders.log(job(0)).mkdir(parents=True)  # the log cannot be opened
    outcome = run_parallel([[job(0)], [job(1)]], folders, two_slots(), math.inf)
    ((failed, reason),) = outcome.failed
    assert failed.seed == 0
    assert "Is a directory" in reason
    assert [child.returncode for child in started] == [0]


def test_a_run_does_not_end_because_it_cannot_be_shown(children, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise KeyError("test_accuracy")

    children("import time; time.sleep(1.5); print('done')")
    monkeypatch.setattr(overview, "progress", fail)
    with pytest.warns(UserWarning, match="cannot show the progress: 'test_accuracy'"):
        outcome = run_parallel([[job(0)]], folders_in(tmp_path), two_slots(), math.inf)
    assert outcome == Outcome(False, [])
    assert "small seed 0: done" in capsys.readouterr().out


def test_children_stop_and_save_if_nobody_reads_the_output(children, tmp_path, monkeypatch):
    def fail(*_):
        raise BrokenPipeError

    code = "import signal, time; signal.signal(15, lambda *_: print('saved') or exit(130))"
    started = children(f"{code}\nwhile True: time.sleep(0.1)")
    monkeypatch.setattr(overview.Overview, "say", fail)
    with pytest.raises(BrokenPipeError):
        run_parallel([[job(0)]], folders_in(tmp_path), two_slots(), math.inf)
    (child,) = started
    assert child.returncode in (130, -signal.SIGTERM)  # the second one before Python has started


def test_shards_contain_every_job_once():
    every = [("a", seed) for seed in range(10)]
    shards = [missing(every, {"a": {}}, f"{i}/3") for i in range(3)]
    assert shards == [[("a", s) for s in seeds] for seeds in ((0, 3, 6, 9), (1, 4, 7), (2, 5, 8))]
    for wrong in ("3/3", "-1/3", "1", "a/b", "0/0"):
        with pytest.raises(UserError, match="expected I/N"):
            missing(every, {"a": {}}, wrong)


@pytest.fixture
def machine(monkeypatch):
    """machine(cores, gpus): pretends to be a machine with these."""

    def machine(cores, gpus=()):
        monkeypatch.setattr(slots, "_cores", lambda: list(range(cores)))
        monkeypatch.setattr(slots, "_gpus", lambda: list(gpus))

    return machine


def test_each_job_gets_its_own_cores(machine):
    machine(8)
    assert [slot.cores for slot in slots.divide_machine(0, 3, 9)] == [(0, 1, 2), (3, 4, 5)]
    assert [slot.cores for slot in slots.divide_machine(1, 3, 9)] == [(0, 1, 2)]
    assert [slot.cores for slot in slots.divide_machine(0, 0, 9)] == [tuple(range(8))]
    assert len(slots.divide_machine(0, 1, 2)) == 2  # no more than there are jobs
    shared = [slot.cores for slot in slots.divide_machine(3, 4, 9)]
    assert shared == [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 2, 3)]
    for parallel_jobs, cores in ((-1, 1), (1, 9), (1, -1)):
        with pytest.raises(UserError, match="the cores of this machine"):
            slots.divide_machine(parallel_jobs, cores, 2)


def test_each_job_gets_its_own_gpu(machine, monkeypatch):
    machine(8, ["GPU-a", "GPU-b"])
    assert [slot.gpu for slot in slots.divide_machine(0, 1, 9)] == ["GPU-a", "GPU-b"]
    assert [slot.gpu for slot in slots.divide_machine(3, 1, 9)] == ["GPU-a", "GPU-b", "GPU-a"]
    monkeypatch.undo()
    monkeypatch.setattr(slots.importlib.util, "find_spec", lambda name: True)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert slots._gpus() == ["2", "5"]
    for none in ("-1", "", "-1,0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert slots._gpus() == []
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert slots._gpus() == []


def test_progress_is_the_epoch_the_accuracy_and_the_time_left():
    lines = [{"test_accuracy": 0.1 * epoch, "seconds": 30.0} for epoch in range(1, 5)]
    assert progress(lines, 10) == ("4/10", "0.4000", "about 3.0 min left")
    assert progress([], 10) == ("0/10", "–", "–")
    assert progress([{"test_accuracy": None, "seconds": 30.0}], 2)[1] == "nan"


def test_progress_copes_with_a_line_that_lacks_a_metric():
    """A config need not be scored every epoch: then the latest score is shown."""
    scored = {"test_accuracy": 0.4, "validation_accuracy": 0.3, "seconds": 30.0}
    assert progress([scored, {"seconds": 30.0}], 4) == ("2/4", "0.3000", "about 1.0 min left")
    assert progress([{"seconds": 30.0}], 2) == ("1/2", "–", "about 0.5 min left")
    assert progress([{"test_accuracy": 0.4}], 2) == ("1/2", "0.4000", "–")
    assert progress([{}], 2) == ("1/2", "–", "–")


def test_each_job_has_its_own_workdir_and_log(tmp_path):
    folders = folders_in(tmp_path)
    four = [job(seed, run) for run in ("p:lr0.01", "p:lr0.001") for seed in (0, 1)]
    assert len({folders.log(one) for one in four} | {folders.workdir(one) for one in four}) == 8


def test_the_last_line_of_a_log_skips_blank_lines(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("one\ntwo\n\n")
    done = subprocess.Popen(["true"])
    done.wait(60)
    assert parallel.last_words(done, log) == ("two", False)
    log.write_text("")
    assert str(log) in parallel.last_words(done, log)[0]
    assert records.path_of(tmp_path, "a:b", 3).name == "a_b-seed3.json"


def test_a_child_that_is_killed_fails_with_its_signal(tmp_path, monkeypatch):
    """The last line of the child's log is an epoch, which is not the reason."""

    def start(bundle, folders, slot):
        folders.workdirs.mkdir(parents=True)
        folders.log(bundle[0]).write_text("epoch 1/3\n")
        return subprocess.Popen(["sh", "-c", "kill -9 $$"])

    monkeypatch.setattr(parallel, "start_child", start)
    outcome = run_parallel([[job(0)]], folders_in(tmp_path), two_slots()[:1], math.inf)
    ((_, reason),) = outcome.failed
    assert reason.startswith("killed by SIGKILL, perhaps for lack of memory")


def test_any_signal_that_kills_a_child_is_named(tmp_path):
    for number, words in ((15, "killed by SIGTERM (more"), (40, "killed by signal 40 (more")):
        done = subprocess.Popen(["sh", "-c", f"kill -{number} $$"])
        done.wait(60)
        line, failed = parallel.last_words(done, tmp_path / "a.log")
        assert failed
        assert line.startswith(words)


def test_a_child_that_cannot_save_has_failed_even_if_the_budget_is_spent(children, tmp_path):
    code = "print('error: cannot save: No space left on device') or exit(2)"
    children(f"import signal, time; signal.signal(15, lambda *_: {code})\ntime.sleep(60)")
    late = time.monotonic() + 2
    outcome = run_parallel([[job(0)]], folders_in(tmp_path), two_slots(), late)
    if outcome.left:  # the signal came before Python had started
        pytest.skip("the child did not start within two seconds")
    ((_, reason),) = outcome.failed
    assert reason.startswith("error: cannot save")


def test_a_child_starts_without_a_folder_for_temporary_files(tmp_path, monkeypatch):
    """As with a read-only file system, or a TMPDIR that is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr(sys, "executable", "true")
    child = parallel.start_child([job(0)], folders_in(tmp_path), two_slots()[0])
    assert child.wait(60) == 0
