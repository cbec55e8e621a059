"""The benchmarks: operation counts, timed epochs, PyTorch twins, and the generated tables."""

import importlib
import json
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT, config_of

from jaxcifar.training import experiment

SYSTEMS = ("adaptive", "resnet20", "simple_cnn")

# Multiply-adds of an image's forward pass, computed by hand: H·W·k²·C_in·C_out per convolution and
# C_in·C_out per Dense layer, for (the layers that read the image, all other layers).
ADAPTIVE = (
    32**2 * 9 * 3 * 384 + 3 * 6,  # six branches of 64 channels, and the first gate
    (16**2 * 9 * 64 * 768 + 8**2 * 9 * 128 * 1536 + 4**2 * 9 * 256 * 3072)
    + (64 + 128 + 256) * 6
    + (512 * 256 + 256 * 128 + 128 * 64 + 64 * 10),
)
RESNET20 = (
    32**2 * 9 * 3 * 16,
    6 * 32**2 * 9 * 16 * 16
    + 16**2 * 9 * (16 * 32 + 5 * 32 * 32)
    + 8**2 * 9 * (32 * 64 + 5 * 64 * 64)
    + 64 * 10,
)
SIMPLE_CNN = (
    28**2 * 25 * 3 * 8,
    12**2 * 9 * 8 * 16 + 576 * 120 + 120 * 84 + 84 * 10,
)
MULTIPLY_ADDS = dict(zip(SYSTEMS, (ADAPTIVE, RESNET20, SIMPLE_CNN), strict=True))


@pytest.fixture
def module(monkeypatch):
    """Imports a module of benchmarks/, which is on the path only while one of its scripts runs."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.fixture
def counting(module):
    return module("counting")


def shape(*axes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(axes, dtype)


@pytest.mark.parametrize("system", SYSTEMS)
def test_operations_equal_the_count_by_hand(counting, system):
    parts = experiment.build_experiment(config_of(f"{system}.py"))
    first, rest = MULTIPLY_ADDS[system]
    assert counting.count_forward(parts, 4).operations == 2 * 4 * (first + rest)
    # The kernel's and the input's gradient cost as much again; the image needs no gradient.
    assert counting.count_gradient(parts, 4).operations == 2 * 4 * (2 * first + 3 * rest)


def test_bytes_count_operands_and_results_in_their_type(counting):
    found = counting.count(jnp.matmul, shape(8, 3), shape(3, 5))
    assert found == counting.Count(2 * 8 * 3 * 5, 4 * (8 * 3 + 3 * 5 + 8 * 5))
    half = counting.count(jnp.matmul, *(shape(*s, dtype=jnp.bfloat16) for s in ((8, 3), (3, 5))))
    assert half == counting.Count(found.operations, found.bytes // 2)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 4])
def test_each_gradient_of_a_convolution_costs_as_much_as_the_convolution(
    counting, padding, stride, groups
):
    x, kernel = shape(2, 16, 16, 4), shape(3, 3, 4 // groups, 8)

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    def both(x, kernel):
        return jax.grad(lambda x, kernel: convolve(x, kernel).sum(), argnums=(0, 1))(x, kernel)

    once = counting.count(convolve, x, kernel).operations
    out = (16 if padding == "SAME" else 14) // stride
    assert once == 2 * 2 * out**2 * 9 * (4 // groups) * 8
    # The gradient of a sum needs no forward pass, but jax traces it.
    assert counting.count(both, x, kernel).operations == 3 * once


def test_nested_computations_count_and_a_scan_counts_every_iteration(counting):
    a = shape(4, 4)
    product = 2 * 4**3

    custom = jax.custom_jvp(lambda a: a @ a)
    custom.defjvp(lambda primals, tangents: (custom(*primals), tangents[0] @ primals[0]))
    other = jax.custom_vjp(lambda a: a @ a)
    other.defvjp(lambda a: (other(a), a), lambda a, g: (g @ a,))

    for function in (jax.jit(jnp.matmul), jax.checkpoint(jnp.matmul)):
        assert counting.count(function, a, a).operations == product
    for function in (custom, other):
        assert counting.count(function, a).operations == product
        gradient = jax.grad(lambda a, f=function: f(a).sum())
        assert counting.count(gradient, a).operations == 2 * product

    def scanned(a):
        return jax.lax.scan(lambda c, _: (c @ a, None), a, length=7)[0]

    assert counting.count(scanned, a).operations == 7 * product

    def unknown(a):
        return jax.lax.while_loop(lambda c: c.sum() > 0, lambda c: c @ a, a)

    with pytest.raises(ValueError, match="cannot count a while"):
        counting.count(unknown, a)


def test_the_tables_say_what_was_not_measured(module, tmp_path):
    tables = module("speed_tables")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{tables.MARKS[0]}\nold\n{tables.MARKS[1]}\nafter\n")
    tables.write_tables(tmp_path, readme)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{tables.MARKS[1]}\nafter\n")
    assert "\nold\n" not in text
    assert "### CPU\n\nNot measured.\n" in text
    assert "### GPU\n\nNot measured. Our goals, in bfloat16: adaptive, s/epoch ≤ 0.40; " in text
    assert "|" not in text


def time_two_epochs(module, side, tmp_path):
    """Returns the seconds of two epochs of a side, and the files that exist after each."""
    workers = module("workers")
    job = workers.Job(
        side,
        str(ROOT / "configs" / "simple_cnn.py"),
        source="synthetic",
        train_examples=256,
        test_examples=32,
        folder=str(tmp_path),
    )
    name, kind = workers.CLASSES[side]
    instance = getattr(module(name), kind)(job)
    epochs, saved = [], []
    for _ in range(2):
        epochs.append(instance.epoch())
        saved.append({f for f in tmp_path.rglob("*") if f.is_file()})
    return epochs, saved


@pytest.mark.parametrize("side", ["jaxcifar", "torch"])
def test_an_epoch_times_training_evaluation_and_checkpoint(module, side, small_data, tmp_path):
    """The checkpoint must be on disk when the epoch's time ends."""
    if side == "torch":
        pytest.importorskip("torch")
    epochs, saved = time_two_epochs(module, side, tmp_path)
    for epoch in epochs:
        assert set(epoch) == {"train", "evaluation", "checkpoint"}
        assert min(epoch.values()) > 0
    assert saved[0]
    if side == "jaxcifar":  # each epoch saves a new step, because a saved step would be skipped
        assert {f.name for f in (tmp_path / "steps").iterdir()} >= {"4"}
    whole = module("train_speed").summarise_epochs(epochs)
    assert whole["epoch_seconds"]["max"] == max(sum(epoch.values()) for epoch in epochs)
    assert whole["checkpoint_seconds"]["n"] == 2


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_twin_has_as_many_parameters_as_our_model(module, system):
    pytest.importorskip("torch")
    twins = module("torch_twins")
    ours = experiment.build_experiment(config_of(f"{system}.py")).abstract_model()["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(ours))
    assert twins.count_parameters(twins.make_twin(system)[0]) == twins.PARAMETERS[system] == count


SUSPENDED = """
import sys, time
sys.path.insert(0, "benchmarks")
import speedrun
clock = speedrun.Clock(tick=0.05, gap=0.5)
time.sleep(0.2)
began = clock()
print("began", flush=True)
sys.stdin.readline()
time.sleep(0.2)
print(clock() - began, clock.held)
"""


def test_the_speed_runs_clock_does_not_count_a_suspension():
    command = [sys.executable, "-c", SUSPENDED]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "began\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        process.send_signal(signal.SIGCONT)
        passed, held = map(float, process.communicate("\n")[0].split())
    assert passed < 1.5
    assert 1.5 < held < 2.5


def test_the_speed_runs_table_shows_both_clocks_and_the_number_of_seeds(module):
    runs = [
        {
            "side": "94",
            "words": ["--config.num_epochs=9"] if seed == 3 else [],
            "accuracy": 0.94 + seed / 1000,
            "train_seconds": 100.0 + seed,
            "views_seconds": 5.0,
            "whole_seconds": 130.0 + seed,
            "operations": 2.0e14,
            "peaks": {"float32": 7.92e12 if seed == 3 else 3.96e12},
            "date": "2026-11-24" if seed == 3 else "2026-11-25",  # on another machine
        }
        for seed in range(4)
    ]
    _, _, row, other = module("speedrun").runs_table(runs).splitlines()
    assert other.startswith("| 94 --config.num_epochs=9 | 1 | 0.9430 |")
    assert other.endswith("| 25% |")
    assert row == "| 94 | 3 | 0.9410 ± 0.0010 | 106.0 ± 1.0 | 131.0 ± 1.0 | 0.200 P | 1,980 | 50% |"


def test_runs_on_another_device_do_not_count_as_measured(module, tmp_path):
    completed_runs = module("speedrun").completed_runs
    run = {"side": "94", "seed": 0, "words": []}
    (tmp_path / "speedrun-cpu.json").write_text(json.dumps([run]))
    assert completed_runs(tmp_path / "speedrun-cpu.json") == [("94", 0, [])]
    assert completed_runs(tmp_path / "speedrun-nvidia-h100.json") == []


def test_the_readmes_contain_the_measured_speed_runs(module):
    speedrun = module("speedrun")
    runs = json.loads((ROOT / "results" / "speedrun-cpu.json").read_text())
    assert speedrun.headline(runs) in (ROOT / "README.md").read_text()
    assert speedrun.runs_table(runs) in (ROOT / "benchmarks" / "README.md").read_text()


def test_the_headline_uses_only_unchanged_runs_of_94_and_torch(module):
    def run(side, seconds, accuracy=0.9, words=()):
        clocks = {"train_seconds": seconds - 60, "views_seconds": 60}
        return {"side": side, "words": list(words), "accuracy": accuracy, "cores": 2} | clocks

    runs = [run("94", 600, 0.94), run("94", 840, 0.942), run("94", 9, 0.1, ["--config.x=1"])]
    line = module("speedrun").headline([*runs, run("torch", 1440), run("93", 1)])
    assert line.startswith("**94.1 % on 2 CPU cores in 12 minutes**")
    assert "0.9410 ± 0.0014 on the test images (n = 2), in 50 % of the time" in line
    assert "recipe in PyTorch on the same machine (n = 1), both in float32" in line
    assert "PyTorch" not in module("speedrun").headline(runs)
    assert module("speedrun").headline([run("torch", 1440)]) == ""


def test_precisions_are_compared_seed_by_seed(module):
    """By hand: one net's differences are 0.01 and 0.03, another's −0.02 and −0.02. The pooled
    standard deviation is √(0.0002 / 2) = 0.01 with two degrees of freedom; t = 4.3027."""

    def run(config, dtype, seed, accuracy):
        about = {"epoch": 30, "device": "1 × cpu", "commit": "abcdefgh", "seconds": 90}
        about |= {"data": {"source": "cifar10"}}
        return about | {"config": config, "dtype": dtype, "seed": seed, "test_accuracy": accuracy}

    runs = [run("a", "float32", seed, 0.5) for seed in (0, 1, 2)]  # seed 2 has no partner
    runs += [run("a", "bfloat16", seed, 0.51 + 0.02 * seed) for seed in (0, 1)]
    runs += [run("b", "bfloat16", seed, 0.68 + seed / 10) for seed in (1, 0)]
    runs += [run("b", "float32", seed, 0.7 + seed / 10) for seed in (0, 1)]
    table = module("precision").precision_table(runs)
    assert "| a | 2 | 0.5000 ± 0.0000 | 0.5200 ± 0.0141 | +0.0200 ± 0.0304 | 1.5 | 1.5 |" in table
    assert "| b | 2 | 0.7500 ± 0.0707 | 0.7300 ± 0.0707 | -0.0200 ± 0.0304 | 1.5 | 1.5 |" in table
    assert "| all | 4 |  |  | +0.0000 ± 0.0215 |  |  |" in table
    assert "0.0100 with 2 degrees of freedom" in table


def test_the_profile_counts_convolutions_as_convolutions(module):
    profile_step = module("profile_step")
    words = ["--config.model.depth=8", "--config.batch_size=8"]
    program, _ = profile_step.compile_step(f"{ROOT}/configs/resnet20.py", words)
    found = profile_step.profiling.operation_texts(program.as_text())
    purposes = {
        profile_step.purpose(name, line) for name, line in found.items() if " convolution(" in line
    }
    assert purposes == {"convolution, forward", "convolution, both gradients"}
