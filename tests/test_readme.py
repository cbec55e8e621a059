"""The commands of the README run in order, on small nets and data."""

import pytest
from conftest import ROOT, overrides
from documents import COMMAND, SMALL, run_here

from jaxcifar import reproduce
from jaxcifar.launch import jobs
from jaxcifar.launch.job import Outcome

WRITTEN = (
    "contact_sheet.png",
    "checkpoints/quickstart.html",
    "checkpoints/quickstart.jax",
    "checkpoints/quickstart-weights/README.md",
    "checkpoints/slow/metrics.csv",
    "checkpoints/quickstart-find_rate",
    "checkpoints/quickstart-profile",
    "sweeps/rate/README.md",
)


@pytest.mark.usefixtures("small_data")
def test_the_commands_of_the_readme_run(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for name in ("checkpoints/released", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    planned = []
    monkeypatch.setattr(jobs, "run_all", lambda js, *_, **__: planned.append(js) or Outcome(0, []))
    monkeypatch.setattr(reproduce, "write_table", planned.append)
    first = "jaxcifar.train --config=configs/quickstart.py"
    assert f"/python -m {first}\n" in (ROOT / "Makefile").read_text()
    commands = COMMAND.findall((ROOT / "README.md").read_text())
    assert len(commands) == 18
    for command in [first, *commands]:
        more = [
            words for name, words in SMALL.items() if f"train --config=configs/{name}" in command
        ]
        if "cifar100" not in command:  # tests/data/test_cifar100.py runs these
            run_here(run, command, *(word for keys in more for word in overrides(**keys)))
    assert len(list((tmp_path / "explained").glob("*.png"))) == 10
    for name in WRITTEN:
        assert (tmp_path / name).exists(), name
    assert len(planned) == 7
