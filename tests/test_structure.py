"""The layout: folders in layers, imports that only go down, nothing done at import."""

import ast
import graphlib
import subprocess
import sys

import pytest
from conftest import ROOT

# A module imports from its own folder and from the lines above its own, never from the same line.
LAYERS = (
    ("errors",),
    ("config", "system", "stats", "ops"),
    ("data", "models", "run", "figures"),
    ("training",),
    ("weights", "claims"),
    ("launch", "pages"),
    (
        *("train", "evaluate", "predict", "sweep", "reproduce", "report"),
        *("release", "export", "import_torch", "inspect_data", "show_config", "__main__"),
    ),
)
LAYER = {part: number for number, parts in enumerate(LAYERS) for part in parts}
FILES = {
    ".".join(f.relative_to(ROOT / "jaxcifar").with_suffix("").parts).removesuffix(".__init__"): f
    for f in sorted((ROOT / "jaxcifar").rglob("*.py"))
    if f != ROOT / "jaxcifar" / "__init__.py"
}
LONGEST_FUNCTION, DEEPEST_NESTING = 50, 4
NESTING = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)


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
        for name in names:  # a module, or something in one
            parts = name.split(".")
            if parts[0] == "jaxcifar":
                module, outer = ".".join(parts[1:]), ".".join(parts[1:-1])
                yield module if module in FILES else outer


def part_of(module):
    """The folder that a module is in, or the module itself at the top of the package."""
    return module.partition(".")[0]


def test_the_top_of_the_package_holds_the_layers_and_nothing_else():
    assert {part_of(module) for module in FILES} == set(LAYER)
    assert len(LAYERS) <= 7


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_from_its_folder_and_from_lower_layers(module):
    own = part_of(module)
    for other in map(part_of, imported(FILES[module])):
        assert other == own or LAYER[other] < LAYER[own], f"{module} imports {other}"


def test_no_imports_go_in_a_circle():
    graph = {module: set(imported(file)) - {module} for module, file in FILES.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.py")), ids=lambda f: f.stem)
def test_a_config_file_imports_ml_collections_only(file):
    tree = ast.parse(file.read_text())
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules == {"ml_collections"}
    assert not any(isinstance(n, ast.Import) for n in ast.walk(tree))


def test_importing_everything_computes_nothing():
    """No backend is started, no array made, no configuration of jax changed."""
    code = f"""
import importlib, jax
before = dict(jax.config.values)
for name in {sorted(FILES)!r}:
    importlib.import_module("jaxcifar." + name)
from jax._src import xla_bridge
assert not xla_bridge._backends, xla_bridge._backends
changed = {{k: v for k, v in jax.config.values.items() if before.get(k, v) != v}}
assert not changed, changed
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def depth(node, level=0):
    """How many statements are nested in one another below a node; an elif counts as its if."""
    deepest = level
    for field, children in ast.iter_fields(node):
        for child in children if isinstance(children, list) else [children]:
            if isinstance(child, ast.AST):
                chained = field == "orelse" and isinstance(child, ast.If)
                deeper = level + (isinstance(child, NESTING) and not chained)
                deepest = max(deepest, depth(child, deeper))
    return deepest


@pytest.mark.parametrize("module", FILES)
def test_no_function_is_long_or_deep(module):
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{node.name} has {lines} lines"
            assert depth(node) <= DEEPEST_NESTING, f"{node.name} is nested too deep"


def test_text_is_read_as_utf_8_in_every_locale():
    assert [
        str(f) for f in (ROOT / "jaxcifar").rglob("*.py") if ".read_text()" in f.read_text("utf-8")
    ] == []
