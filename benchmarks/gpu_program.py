"""What a GPU would be given to do in a step, seen without one: a model, never a measurement.

python benchmarks/gpu_program.py [--config=PAGE ...] [--target=FILE] [--config.KEY=VALUE ...]

Compiles the training and evaluation programs of each page, the loop's own whole epoch, for the
GPU that FILE describes, and counts the kernels of a step. Writes results/gpu_program.json and the
table in benchmarks/README.md. Time, cuDNN's choices and its workspace can't be seen this way.
"""

import argparse
import collections
import datetime
import functools
import importlib
import json
import logging
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh
from jax.stages import Compiled

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package need not be installed

import kernels
from kernels import Kernel, Launches
from speed_tables import number, table

from jaxcifar import data
from jaxcifar.config import (
    files,
    overrides,
)
from jaxcifar.errors import (
    UserError,
    first_line,
)
from jaxcifar.run import provenance
from jaxcifar.system import (
    atomic,
    backend,
)
from jaxcifar.system.command import run_command
from jaxcifar.training import experiment

README = ROOT / "benchmarks" / "README.md"
OUT = ROOT / "results" / "gpu_program.json"
MARKS = ("<!-- programs: made by `python benchmarks/gpu_program.py` -->", "<!-- /programs -->")
PAGES = ("resnet20.py", "adaptive.py", "simple_cnn.py:batchnorm", "speedrun.py")
TRAIN, TEST = 50_000, 10_000  # images of CIFAR-10
TOGETHER, SMALL = 8, 1_000_000  # runs as one program, of nets of so many parameters at most
LAUNCH, LAUNCH_IN_BUFFER = 3e-6, 1e-6  # seconds
HEAVIEST = 8  # kernels that the record names
# Operations a clock and core of the tensor cores, dense; float32 is TF32, as XLA multiplies it.
# NVIDIA's H100 and A100 white papers, by compute capability.
TENSOR_CORES = {
    9: {"bf16": 4096, "f16": 4096, "f32": 2048},
    8: {"bf16": 2048, "f16": 2048, "f32": 1024},
}
PLUGINS = ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")  # each holds XLA's GPU compiler
Record = dict[str, Any]


class Device(NamedTuple):
    """A GPU's peaks: bytes/s, operations/s of products by type, and of all else."""

    bandwidth: float
    products: dict[str, float]
    others: float

    def seconds(self, kernel: Kernel) -> float:
        """Returns the least time of a kernel, without its launch."""
        peak = self.products.get(kernel.dtype, self.others)
        computing = kernel.products / peak + kernel.others / self.others
        return max((kernel.read + kernel.written) / self.bandwidth, computing)


def device(description: str) -> Device:
    """Returns the peaks of the GPU that a target file describes."""

    def value(key: str) -> float:
        found = re.search(rf"\b{key}: ([\d.]+)", description)
        if not found:
            raise UserError(f"the target file lacks {key}: expected XLA's GpuTargetConfigProto")
        return float(found.group(1))

    capability = int(value("major"))
    if capability not in TENSOR_CORES:
        known = ", ".join(map(str, TENSOR_CORES))
        raise UserError(f"the target has compute capability {capability}; peaks known for {known}")
    cores = value("core_count") * value("clock_rate_ghz") * 1e9
    products = {dtype: cores * each for dtype, each in TENSOR_CORES[capability].items()}
    return Device(value("memory_bandwidth"), products, cores * value("fpus_per_core"))


def is_importable(module: str) -> bool:
    """Returns whether a module can be imported."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def described_mesh(description: str) -> Mesh:
    """Returns a mesh of one GPU that need not be there.

    Raises:
      UserError: the compiler for GPUs is not there.
    """
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.CRITICAL)  # of a plugin without a GPU
    if not any(map(is_importable, PLUGINS)):
        version = jax.__version__
        raise UserError(
            "no compiler for GPUs is installed: run `pip download --no-deps"
            f" jax-cuda12-pjrt=={version} jax-cuda12-plugin=={version}` (or cuda13), unzip both"
            " wheels into one folder, and set PYTHONPATH to it"
        )
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=description, topology="1x1x1"
    )
    return Mesh(np.array(topology.devices).reshape(1), ("batch",), axis_types=(AxisType.Auto,))


def programs(
    page: str, words: list[str], mesh: Mesh
) -> Iterator[tuple[Record, Callable[[], Compiled]]]:
    """Yields what each program of a page is called, and what compiles it."""
    config = overrides.load_config(page, words)
    parts = experiment.build_experiment(config, mesh=mesh)
    batch, examples = config.batch_size, TRAIN - config.data.validation
    split = data.Split(
        jax.ShapeDtypeStruct((examples, 32, 32, 3), jnp.uint8),
        jax.ShapeDtypeStruct((examples,), jnp.int32),
    )
    optimizer, _ = parts.optimizer(examples // batch)
    start = parts.abstract_start(optimizer)
    loop = parts.train_loop(split, optimizer)
    about = {"config": files.config_name(page), "batch": batch, "dtype": config.compute_dtype}
    for size in sorted({parts.augment.size_of(epoch) for epoch in range(config.num_epochs)}):
        named = about | {"program": "training", "size": size}
        yield named, functools.partial(loop.program, start, loop.steps_per_epoch, size)
        if optax.tree.size(start.state.params) <= SMALL:
            several = jax.tree.map(
                lambda leaf: leaf.update(shape=(TOGETHER, *leaf.shape), sharding=leaf.sharding),
                start,
            )
            named = about | {"program": f"training of {TOGETHER} runs at once", "size": size}
            steps = loop.steps_per_epoch
            yield named, functools.partial(loop.program, several, steps, size, TOGETHER)
    padded = -(-TEST // batch) * batch
    predictor = parts.predictor(jax.ShapeDtypeStruct((padded, 32, 32, 3), jnp.uint8))
    named = about | {"program": "evaluation", "size": 32}
    yield named, functools.partial(predictor.program, start.state.eval_variables())


def describe(found: list[Kernel], launches: Launches, peaks: Device) -> Record:
    """Returns what a step's kernels do together, and the bound."""
    by_kind = {kind: [k for k in found if k.kind == kind] for kind in kernels.KINDS}
    working = sum(map(peaks.seconds, found))
    single = launches.single + launches.buffers
    launching = LAUNCH * single + LAUNCH_IN_BUFFER * launches.inside
    heaviest = sorted(found, key=peaks.seconds, reverse=True)[:HEAVIEST]
    return {
        "kernels": len(found),
        "by_kind": {
            kind: {"kernels": len(some)} | _totals(some, peaks) for kind, some in by_kind.items()
        },
        **_totals(found, peaks),
        "launches": launches._asdict(),
        "bound_ms": 1e3 * (working + launching),
        "launching_ms": 1e3 * launching,
        "heaviest": [
            {"name": k.name, "place": k.place.rpartition("closed_call/")[2]} | _totals([k], peaks)
            for k in heaviest
        ],
    }


def _totals(some: list[Kernel], peaks: Device) -> Record:
    return {
        "bytes_read": sum(k.read for k in some),
        "bytes_written": sum(k.written for k in some),
        "operations": sum(k.products + k.others for k in some),
        "working_ms": 1e3 * sum(map(peaks.seconds, some)),
    }


def examine(page: str, words: list[str], mesh: Mesh, peaks: Device, dump: str) -> list[Record]:
    """Returns the records of a page's programs; of one that XLA refuses, its reason."""
    found = []
    lists = pathlib.Path(dump)
    for named, compile in programs(page, words, mesh):
        for file in lists.iterdir():
            file.unlink()
        try:
            compiled = compile()
        except jax.errors.JaxRuntimeError as error:
            found.append(named | {"error": first_line(error)})
            print("{config} {program} {size} pixels: {error:.200}".format(**found[-1]))
            continue
        (thunks,) = lists.glob("*.thunk_sequence_after_thunk_passes.txt")
        launches = kernels.launches(thunks.read_text())
        of_step = describe(kernels.of_step(compiled.as_text()), launches, peaks)
        memory = compiled.memory_analysis().temp_size_in_bytes
        found.append(named | of_step | {"temporary_bytes": memory})
        print(
            "{config} {program} {size} pixels: {kernels} kernels, at least {bound_ms:.3f} ms a"
            " step by the model".format(**found[-1])
        )
    return found


def page_of(record: Record) -> str:
    """Returns the Markdown of all programs in the record."""
    columns = (
        *("program, a step", "kernels", *kernels.KINDS, "read, MB", "written, MB", "G operations"),
        *("temporary, MB", "launched alone", "command buffers", "kernels in these"),
        *("of bound: launches, ms", "bound, ms"),
    )
    every = [each for page in record["pages"].values() for each in page["programs"]]
    rows = [_row(each) for each in every if "error" not in each]
    refused = ["{config} {program}, {size} pixels".format(**e) for e in every if "error" in e]
    without = f" XLA does not compile this way: {'; '.join(refused)}." if refused else ""
    commits = collections.Counter(page["commit"][:7] for page in record["pages"].values())
    versions = next(iter(record["pages"].values()))["versions"]
    return (
        f"{table(columns, rows)}\n\nTarget: {record['target']}; jax {versions['jax']};"
        f" commit {', '.join(commits)}.{without}"
    )


def _row(each: Record) -> list[str]:
    launches = each["launches"]
    return [
        "{config} {program}, {size} pixels, batch {batch}, {dtype}".format(**each),
        str(each["kernels"]),
        *(str(each["by_kind"][kind]["kernels"]) for kind in kernels.KINDS),
        number(each["bytes_read"] / 1e6),
        number(each["bytes_written"] / 1e6),
        number(each["operations"] / 1e9),
        number(each["temporary_bytes"] / 1e6),
        *(str(launches[key]) for key in ("single", "buffers", "inside")),
        number(each["launching_ms"]),
        number(each["bound_ms"]),
    ]


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", action="append", metavar="PAGE", help="default: the systems")
    parser.add_argument("--target", type=pathlib.Path, default=ROOT / "benchmarks" / "h200.txtpb")
    options, words = parser.parse_known_args()
    jax.config.update("jax_platforms", "cpu")
    words = ["--config.compute_dtype=bfloat16", *words]
    commit = provenance.commit()
    description = options.target.read_text()
    peaks = device(description)
    record = {"target": options.target.stem, "peaks": peaks._asdict(), "pages": {}}
    if OUT.exists() and (old := json.loads(OUT.read_text()))["target"] == record["target"]:
        record["pages"] = old["pages"]
    with tempfile.TemporaryDirectory() as dump:
        os.environ["XLA_FLAGS"] = f"{backend.flags()} --xla_dump_to={dump}"  # read at the first use
        mesh = described_mesh(description)
        for page in options.config or [str(ROOT / "configs" / name) for name in PAGES]:
            record["pages"][files.config_name(page)] = {
                "programs": examine(page, words, mesh, peaks, dump),
                "commit": commit,
                "date": datetime.date.today().isoformat(),
                "versions": provenance.versions(),
            }
            OUT.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    atomic.replace_between_marks(README, MARKS, page_of(record))
    print(f"wrote {OUT.relative_to(ROOT)} and the table in {README.relative_to(ROOT)}")


if __name__ == "__main__":
    run_command(main)
