"""Puts this checkout on the import path, and records what a number measured in it depends on.

A benchmark imports it before `jaxcifar`, so the package need not be installed.
"""

import os
import pathlib
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS, RESULTS = ROOT / "configs", ROOT / "results"
README = ROOT / "benchmarks" / "README.md"
sys.path.insert(0, str(ROOT))

from jaxcifar.run import provenance


def measured_on() -> dict[str, Any]:
    """Returns the date, commit, versions, processor, cores and load average of a measurement."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": provenance.commit(),
        "versions": provenance.versions() | {"torch": provenance.version("torch")},
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
    }


def processor() -> str:
    """Returns the name of the processor, or "" if it is unknown."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""


def record_file(folder: pathlib.Path, benchmark: str, device: str) -> pathlib.Path:
    """Returns the file of a benchmark's results on a device, such as agree-nvidia-h200.json."""
    return folder / f"{benchmark}-{device.lower().replace(' ', '-')}.json"


def log(text: str) -> None:
    """Prints a line of progress to stderr."""
    print(text, file=sys.stderr, flush=True)
