"""Data flows one way, and so do imports; nothing happens at import."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

# Each module imports only what stands before it; a wing's __init__ is where its name stands.
ORDER = """
    errors files pages signature config backend accuracy calibration
    data.split data.official data.tfds data.cifar10 data.synthetic data.npz data
    models.batch_norm models.convolution models.winograd models.layers models.adaptive
    models.resnet models.simple_cnn models.mlp models.speednet models.whitening
    models
    training training.parallel training.boxes training.mixing training.augment
    training.evaluation training.losses
    training.transforms training.optim training.state
    training.step training.loop
    schema overrides
    run run.damage run.selection run.metrics run.provenance run.interrupt run.workdir run.log
    run.plots run.checkpoint run.slots run.overview
    experiment image_files predict exchange find_rate profiling scoring train together evaluate
    release export import_torch
    claims claims.records claims.claim claims.intervals claims.judge claims.reports claims.tables
    claims.figures claims.measure
    report report.markup report.charts report.tables report.pictures report.findings
    report.of_predictions report.of_weights report.of_runs report.of_study report.__main__
    jobs reproduce sweep
""".split()  # noqa: SIM905 -- a page, not a list
FILES = {
    ".".join(f.relative_to(ROOT / "jaxcifar").with_suffix("").parts).removesuffix(".__init__"): f
    for f in sorted((ROOT / "jaxcifar").rglob("*.py"))
    if f != ROOT / "jaxcifar" / "__init__.py"
}


def imported(file):
    """The modules of jaxcifar that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:  # of a module, or of something in one
            parts = name.split(".")
            if parts[0] == "jaxcifar":
                whole, outer = ".".join(parts[1:]), ".".join(parts[1:-1])
                yield whole if whole in FILES else outer


def test_every_module_has_its_place():
    assert sorted(ORDER) == sorted(FILES)


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_stands_before_it(module):
    before = ORDER[: ORDER.index(module)]
    assert set(imported(FILES[module])) <= set(before)


WINGS = ["data", "models", "training", "run", "claims", "report"]


def test_the_order_keeps_each_wing_together():
    """So "what stands before" goes by wings: the common files, the wings in turn, the commands."""
    in_order = [m.partition(".")[0] for m in ORDER if m.partition(".")[0] in WINGS]
    changes = [w for w, before in zip(in_order, ["", *in_order], strict=False) if w != before]
    assert changes == WINGS


@pytest.mark.parametrize("page", sorted((ROOT / "configs").glob("*.py")), ids=lambda f: f.stem)
def test_a_page_imports_ml_collections_only(page):
    tree = ast.parse(page.read_text())
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules == {"ml_collections"}
    assert not any(isinstance(n, ast.Import) for n in ast.walk(tree))


def test_importing_everything_computes_nothing():
    """No backend is started, no array made, no configuration of jax changed."""
    code = f"""
import importlib, jax
before = dict(jax.config.values)
for name in {ORDER!r}:
    importlib.import_module("jaxcifar." + name)
from jax._src import xla_bridge
assert not xla_bridge._backends, xla_bridge._backends
changed = {{k: v for k, v in jax.config.values.items() if before.get(k, v) != v}}
assert not changed, changed
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
