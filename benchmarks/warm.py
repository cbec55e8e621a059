"""Compiles the deep systems in float32 and times their first epochs.

python benchmarks/warm.py [--epochs=2] [--examples=50000] [CONFIG …]

It trains on synthetic images of CIFAR-10's shape, so it needs no data. It compiles the programs of
whole runs: a later run of a system on this machine finds them in the compile cache.
"""

import argparse
import tempfile

import checkout
from jax_side import JaxSide
from workers import Job

from jaxcifar.errors import UserError
from jaxcifar.system.command import run_command

CONFIGS = ("adaptive", "adaptive_prelu", "adaptive_softmax", "resnet20")
TRAIN, TEST = 50_000, 10_000


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    text = "configs to compile, without .py (default: %(default)s)"
    parser.add_argument("configs", nargs="*", default=CONFIGS, metavar="CONFIG", help=text)
    parser.add_argument(
        "--epochs", type=int, default=2, metavar="N", help="epochs to time (default: 2)"
    )
    text = (
        "training images (default: %(default)s, as in CIFAR-10; another number compiles other"
        " programs)"
    )
    parser.add_argument("--examples", type=int, default=TRAIN, metavar="N", help=text)
    options = parser.parse_args()
    if options.epochs < 0 or options.examples < 1:
        raise UserError(
            f"--epochs={options.epochs} --examples={options.examples}; expected --epochs of at"
            " least 0 and --examples of at least 1"
        )
    tests = max(1, options.examples * TEST // TRAIN)
    for name in options.configs:
        config_file = str(checkout.CONFIGS / f"{name}.py")
        with tempfile.TemporaryDirectory(prefix="warm-") as folder:
            job = Job(
                "jaxcifar", config_file, "float32", "synthetic", options.examples, tests, "", folder
            )
            side = JaxSide(job)
            print(f"{name}: compiled in {side.facts()['compile_seconds']:.1f} s", flush=True)
            for _ in range(options.epochs):
                parts = (f"{part} {seconds:.3f}" for part, seconds in side.epoch().items())
                print(f"{name}: an epoch's seconds: {', '.join(parts)}", flush=True)
            del side  # its memory is the next system's


if __name__ == "__main__":
    run_command(main)
