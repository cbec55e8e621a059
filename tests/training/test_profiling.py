"""Profiles: the times of a program's operations, and the command."""

import gzip
import json
import re
from types import SimpleNamespace as Some

import pytest
from conftest import ROOT, overrides

from jaxcifar import train
from jaxcifar.training import profiling

PROGRAM = """HloModule jit_step, is_scheduled=true

%body (p: f32[]) -> f32[] {
  ROOT %add.1 = f32[2]{0} add(%p, %p), metadata={op_name="jit(step)/while/body/add"}
}

ENTRY %main {
  %dot.7 = f32[4,8]{1,0} dot(%a, %b), metadata={op_name="jit(step)/net/dot_general"}
  %while.2 = f32[2]{0} while(%t), condition=%c, body=%body
  ROOT copy.3 = f32[2]{0} copy(%while.2)
}
"""


def event(name, start, milliseconds, **stats):
    ns = 1e6
    return Some(name=name, start_ns=start * ns, duration_ns=milliseconds * ns, stats=stats.items())


def profile(*planes):
    made = [Some(name=name, lines=[Some(events=events)]) for name, events in planes]
    return Some(planes=made)


def test_times_sum_over_the_programs_own_operations():
    host = [
        event("dot.7", 10, 6, hlo_module="jit_step"),
        event("while.2", 16, 9),  # runs add.1, which is recorded itself
        event("add.1", 17, 4),
        event("add.1", 21, 2),
        event("copy.3", 1, 50, hlo_module="jit_another"),
        event("PjitFunction", 0, 100),
        event("dot.7", 26, 4),
    ]
    found = profiling.operation_times(
        profile(("/host:CPU", host), ("/host:metadata", [])), PROGRAM, 2
    )
    assert found == profiling.Times({"dot.7": 5.0, "add.1": 3.0}, 10.0)  # from 10 to 30 ms
    assert list(found.operations) == ["dot.7", "add.1"]  # slowest first
    kernels = [event("sm90_gemm", 0, 3, hlo_op="dot.7", hlo_module="jit_step")]
    on_gpu = profile(("/host:CPU", host), ("/device:GPU:0", kernels))
    assert profiling.operation_times(on_gpu, PROGRAM, 1) == profiling.Times({"dot.7": 3.0}, 3.0)
    both = profile(*((f"/device:GPU:{i}", kernels) for i in range(2)))
    assert profiling.operation_times(both, PROGRAM, 1) == profiling.Times({"dot.7": 3.0}, 3.0)


def test_the_table_has_shapes_and_sources_and_adds_up():
    lines = profiling.format_table(profiling.Times({"dot.7": 5.0, "add.1": 3.0}, 10.0), PROGRAM)
    assert [line.split() for line in lines.splitlines()[1:]] == [
        ["50.0%", "5.000", "dot.7", "f32[4,8]", "net/dot_general"],
        ["30.0%", "3.000", "add.1", "f32[2]", "while/body/add"],
        ["0.0%", "0.000", "0", "others"],
        ["20.0%", "2.000", "between", "operations"],
        ["100.0%", "10.000", "a", "step"],
    ]


@pytest.fixture
def words(monkeypatch, tmp_path):
    monkeypatch.setattr(profiling, "on_one_core", lambda: None)  # lasts as long as the process
    small = {"data.source": "synthetic", "batch_size": 16}
    config = f"--config={ROOT / 'configs' / 'simple_cnn.py'}:batchnorm"
    return [config, f"--workdir={tmp_path / 'cnn'}", *overrides(**small)]


def test_the_command_prints_the_slowest_operations_and_writes_a_trace(
    small_data, words, run, tmp_path
):
    status, out, err = run(train.main, [*words, "--profile=3"])
    assert (status, err) == (0, "")
    rows = re.findall(r"^ *([\d.]+)%  +([\d.]+)  (.*)$", out, re.MULTILINE)
    costs = [float(row[1]) for row in rows[:10]]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] > 0
    assert re.fullmatch(r"\d+ others", rows[10][2])
    assert rows[-1][::2] == ("100.0", "a step")
    assert [f.name for f in tmp_path.iterdir()] == ["cnn-profile"]
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1
    (perfetto,) = tmp_path.rglob("perfetto_trace.json.gz")
    assert str(perfetto) in out
    names = {
        e.get("name") for e in json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
    }
    assert {row[2].split()[0] for row in rows[:10]} <= names


@pytest.mark.parametrize("steps", [0, 5])
def test_more_steps_than_an_epoch_has_are_refused(small_data, words, run, tmp_path, steps):
    status, _, err = run(train.main, [*words, f"--profile={steps}"])
    assert status == 2
    assert f"--profile is {steps}; expected at least 1 and at most the 4 steps" in err
    assert not list(tmp_path.iterdir())
