"""Times the start: `--help`, and the first training step with and without a compile cache."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from checkout import CONFIGS, ROOT, log
from speed_tables import SYSTEMS
from workers import time_call

from jaxcifar.errors import UserError

TRAIN = (sys.executable, "-m", "jaxcifar.train")


def measure(source: str) -> dict[str, Any]:
    """Returns the seconds of `--help`, and of each system from its command to its first step."""
    help_seconds = statistics.median(time_call(_run_help) for _ in range(3))
    log(f"startup: --help {help_seconds:.2f} s")
    first_step = {}
    for system in SYSTEMS:
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (_seconds_to_first_step(system, source, folder, n) for n in range(2))
        first_step[system] = {"cold_seconds": cold, "warm_seconds": warm}
        log(f"startup: {system} first step after {cold:.1f} s, with a compile cache {warm:.1f} s")
    return {"help_seconds": help_seconds, "first_step": first_step}


def _run_help() -> None:
    subprocess.run([*TRAIN, "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _seconds_to_first_step(system: str, source: str, folder: str, number: int) -> float:
    """Returns the seconds until `train` prints "compiled in …", just before its first step."""
    command = [
        *TRAIN,
        f"--config={CONFIGS / system}.py",
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
