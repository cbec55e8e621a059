"""A wheel contains every module, the data files and the config files."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from conftest import ROOT

from jaxcifar.config import files
from jaxcifar.errors import UserError

PARTS = ("jaxcifar", "configs")


def test_pyproject_lists_every_folder_of_the_package():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {f.parent.relative_to(ROOT) for f in (ROOT / "jaxcifar").rglob("*.py")}
    assert set(setuptools["packages"]) == {
        "jaxcifar.configs",
        *(".".join(f.parts) for f in folders),
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the checkout, without any old build/ folder."""
    source = tmp_path_factory.mktemp("source")
    for name in PARTS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", source, source]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "for setuptools" in done.stderr:  # "No matching distribution found …"
        pytest.skip("building the wheel needs setuptools from a package index")
    assert done.returncode == 0, done.stderr
    (wheel,) = source.glob("jaxcifar-*.whl")
    return wheel


def test_a_wheel_has_every_module_data_file_and_config(wheel):
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    kinds = ("*.py", "*.css", "*.js", "*.json")
    files = [f.relative_to(ROOT) for part in PARTS for k in kinds for f in (ROOT / part).rglob(k)]
    assert found == {f"jaxcifar/{f}" if f.parts[0] == "configs" else str(f) for f in files}


def test_an_installed_package_finds_its_configs_from_an_empty_folder(wheel, tmp_path):
    installed, empty = tmp_path / "site-packages", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(installed)
    empty.mkdir()
    code = """
from jaxcifar.claims import records
from jaxcifar.config import files, overrides
print(files.config_folder())
assert overrides.load_config("configs/simple_cnn.py:swish", []).model.activation == "swish"
assert records.config_of("simple_cnn:swish", 3).seed == 3
"""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(installed / "jaxcifar" / "configs")


def test_a_users_config_takes_precedence_over_the_packaged_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.find_config("configs/adaptive.py") == ROOT / "configs" / "adaptive.py"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "adaptive.py").touch()
    assert (
        files.find_config("configs/adaptive.py").resolve() == tmp_path / "configs" / "adaptive.py"
    )
    for name in ("adaptive.py", "elsewhere/configs/adaptive.py", "configs/adaptiv.py"):
        with pytest.raises(UserError, match=r"no file .*; configs .*: configs/adaptive\.py, "):
            files.find_config(name)
    with pytest.raises(UserError, match=r"no file resnet2O \(did you mean resnet20\?\); "):
        files.find_config("resnet2O")
