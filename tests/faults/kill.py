"""Kills runs with `kill -9` at random moments; each must resume and end as if uninterrupted.

    python tests/faults/kill.py N [SEED]

A tiny net on synthetic data is saved every four steps, so that many kills hit a save or the removal
of an old step. Each run is killed one to five times before it finishes, N times in all. Prints how
many runs ended with the same state, bit for bit, and the same metrics; exits with status 1 if any
did not.
"""

import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).parents[n]) for n in (1, 2)]
EPOCHS = 16
CLOCK = ("seconds", "examples_per_second")


def run(folder: pathlib.Path) -> None:
    """Trains in `folder` and writes the final state and metrics beside it."""
    import jax
    import numpy as np
    from conftest import tiny
    from ml_collections import ConfigDict

    from jaxcifar.run import metrics
    from jaxcifar.training import trainer

    changes = {"num_epochs": EPOCHS, "data.train_examples": 64, "optimizer.ema_decay": 0.9}
    config = tiny(**changes).to_dict() | {"evaluation": {"every_epochs": 4}}
    result = trainer.train(ConfigDict(config), folder)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(result.state):
        digest.update(np.asarray(leaf).tobytes())
    lines = [{k: v for k, v in x.items() if k not in CLOCK} for x in metrics.read(folder)]
    folder.with_suffix(".json").write_text(json.dumps([digest.hexdigest(), lines]))


def start(folder: pathlib.Path) -> tuple[subprocess.Popen, str]:
    """Starts `run` in its own process; returns the process and its output once it has compiled.

    Compiling ends before the first step. The output of a process that ends earlier says why.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, "--run", str(folder)],
        env={"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
        | os.environ
        | {"JAX_COMPILATION_CACHE_DIR": str(folder.with_name("compiled"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = []
    for line in process.stdout:
        output.append(line)
        if "compiled in" in line:
            break
    return process, "".join(output)


def finish(folder: pathlib.Path) -> tuple[str, float]:
    """Runs to the end; returns the final state and metrics, and the seconds of training."""
    process, output = start(folder)
    began = time.monotonic()
    output += process.communicate()[0]
    if process.returncode:
        return output, 0.0
    return folder.with_suffix(".json").read_text(), time.monotonic() - began


def kill(folder: pathlib.Path, seconds: float) -> bool:
    """Kills a run some seconds after it has compiled; returns whether it was still running."""
    process, _ = start(folder)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    return process.returncode < 0


def main(number: int, seed: int) -> int:
    """Runs the command; returns the number of runs that differed."""
    choose = random.Random(seed)
    kills = runs = different = 0
    with tempfile.TemporaryDirectory() as folder:
        want, whole = finish(pathlib.Path(folder, "whole"))
        if not whole:
            sys.exit(f"the run that is not killed failed:\n{want}")
        while kills < number:
            place = pathlib.Path(folder, f"run{runs}")
            for _ in range(min(choose.randint(1, 5), number - kills)):
                kills += kill(place, choose.uniform(0, whole / 2))
            got, _ = finish(place)
            runs += 1
            if got != want:
                different += 1
                print(f"run {runs} is not equal:\n{got}")
    print(f"{runs - different} of {runs} runs equal after {kills} kills (seed {seed})")
    return different


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run(pathlib.Path(sys.argv[2]))
    else:
        sys.exit(bool(main(int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0)))
