"""How long a user waits: for `--help`, and for the first step, cold and with a compile cache."""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from jaxcifar.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent
TRAIN = (sys.executable, "-m", "jaxcifar.train")
SYSTEMS = ("adaptive", "resnet20", "simple_cnn")


def measure(source: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Returns the seconds of `--help`, and from starting each system to its first step."""
    times = [_seconds_of_help() for _ in range(3)]
    found: dict[str, Any] = {"help_seconds": statistics.median(times), "first_step": {}}
    say(f"startup: --help {found['help_seconds']:.2f} s")
    for system in SYSTEMS:
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (_seconds_to_first_step(system, source, folder, n) for n in range(2))
        found["first_step"][system] = {"cold_seconds": cold, "warm_seconds": warm}
        say(f"startup: {system} first step after {cold:.1f} s, from a compile cache {warm:.1f} s")
    return found


def _seconds_of_help() -> float:
    began = time.perf_counter()
    subprocess.run([*TRAIN, "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _seconds_to_first_step(system: str, source: str, folder: str, number: int) -> float:
    """Returns the time to the line "compiled in …", which stands before the first step."""
    command = [
        *TRAIN,
        f"--config={ROOT / 'configs' / system}.py",
        f"--config.data.source={source}",
        f"--workdir={folder}/run{number}",
    ]
    cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache"}
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | cache, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            for line in process.stdout:
                if line.startswith("compiled in"):
                    return time.perf_counter() - began
        finally:
            process.kill()
    raise UserError(f"{' '.join(command)} ended before its first step")
