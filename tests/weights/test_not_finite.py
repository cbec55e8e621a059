"""Weights that are not finite, or too large, are refused in one line by every command."""

import json

import jax
import numpy as np
import pytest
from conftest import ROOT, overrides
from nets import CONFIGS, NAMES, RESNET, random_model, torch_or_skip

from jaxcifar import evaluate, export, import_torch, predict, release, report, train
from jaxcifar.config import schema
from jaxcifar.training import experiment, state
from jaxcifar.weights import release as release_weights
from jaxcifar.weights import torch_names

DEMO = ROOT / "docs" / "demo"
BAD = [np.nan, np.inf, -np.inf, 3e38]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Runs whose weights have one bad value each; 3e38 is finite, but no logit will be."""
    config = CONFIGS["mlp"]
    parts = experiment.build_experiment(config)
    meta = {"config": schema.to_json(config), "class_names": NAMES}
    made = {}
    for bad in BAD:
        model = jax.tree.map(np.array, random_model(parts))
        jax.tree.leaves(model["params"])[-1].flat[:] = bad
        made[bad] = tmp_path_factory.mktemp("bad") / "run"
        release_weights.write_weights(made[bad], 0, model, meta, None)
    return made


def commands(folder, out):
    at = f"--checkpoint={folder}"
    return {
        "evaluate": (evaluate.main, [at, "--other_classes"]),
        "predict": (predict.main, [at, "--json", DEMO]),
        "export": (export.main, [at, "--to=safetensors", f"--out={out}"]),
        "release": (release.main, [at, f"--out={out}"]),
        "report": (report.main, [folder, "--step=0", f"--out={out}"]),
    }


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("command", commands("", ""))
def test_a_command_reports_weights_that_are_not_finite_in_one_line(
    command, bad, folders, small_data, run, tmp_path
):
    main, words = commands(folders[bad], tmp_path / "out")[command]
    status, out, err = run(main, words)
    assert "NaN" not in out
    if bad == 3e38 and command in ("export", "release", "report"):
        assert (status, err) == (0, "")
        return
    assert (status, out) == (2, "")
    assert "are not finite" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_weights_that_are_not_finite_are_not_imported(bad, run, tmp_path):
    torch = torch_or_skip()
    net = CONFIGS["resnet_b"]
    parts = experiment.build_experiment(net)
    tensors = torch_names.to_state_dict(parts.model, state.eval_variables(**random_model(parts)))
    tensors = {name: torch.tensor(x, dtype=torch.float64) for name, x in tensors.items()}
    tensors["conv1.weight"][0, 0, 0, 0] = bad
    torch.save(tensors, tmp_path / "net.pt")
    words = [tmp_path / "net.pt", f"--config={ROOT}/configs/resnet20.py", f"--workdir={tmp_path}/x"]
    words += overrides(**RESNET, **{"model.shortcut": "B"})
    status, out, err = run(import_torch.main, words)
    assert (status, out) == (2, "")
    assert err == (f"error: {tmp_path}/net.pt holds conv1.weight, which is not finite in float32\n")
    assert not (tmp_path / "x").exists()


def test_a_run_whose_last_update_overflows_ends_with_a_message(small_data, run, tmp_path):
    words = [f"--config={ROOT}/configs/quickstart.py", f"--workdir={tmp_path / 'run'}"]
    words += overrides(**{"num_epochs": 1, "batch_size": 72, "model.widths": "(4,4,4)"})
    words += overrides(**{"optimizer.learning_rate": 1e38, "schedule.warmup_epochs": 0})
    status, out, err = run(train.main, words)
    assert status in (0, 1)
    assert "has no finite test_loss" in out
    assert err == ""
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    status, out, err = run(predict.main, [f"--checkpoint={tmp_path / 'run'}", "--json", DEMO])
    assert (status, out, err.count("\n")) == (2, "", 1)
