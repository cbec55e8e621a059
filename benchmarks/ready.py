"""Checks that this Python has what campaign.sh needs; prints "torch" if it also has PyTorch.

python benchmarks/ready.py [--gpu]

If a package is missing, or with --gpu if jax finds no GPU, it prints one line that says so and
exits with status 2.
"""

import importlib
import importlib.util
import sys

MODULES = (
    *("absl.logging", "flax", "jax", "matplotlib.figure", "ml_collections", "numpy", "optax"),
    *("orbax.checkpoint", "PIL.Image", "rich", "scipy.special", "tensorboardX"),
)


def missing() -> list[str]:
    """Returns the packages that cannot be imported, including packages that others import."""
    names = []
    for module in MODULES:
        try:
            importlib.import_module(module)
        except ImportError as error:
            names.append((error.name or module).partition(".")[0])
    return list(dict.fromkeys(names))


def main() -> None:
    """Runs the command."""
    problem = ""
    if names := missing():
        problem = (
            f"{sys.executable} lacks {', '.join(names)}; where there is no network, bring their"
            " wheels, pip install --no-index --no-deps --target=DIR *.whl, and add DIR to"
            " PYTHONPATH"
        )
    elif "--gpu" in sys.argv and importlib.import_module("jax").default_backend() == "cpu":
        problem = f"jax finds no GPU with {sys.executable}; expected one, or --rehearse"
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    if importlib.util.find_spec("torch"):
        print("torch")


if __name__ == "__main__":
    main()
