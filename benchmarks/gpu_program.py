"""Compiles the programs of `train` for a GPU that is not attached, and counts their kernels.

python benchmarks/gpu_program.py [--config=FILE ...] [--target=FILE] [--config.KEY=VALUE ...]
python benchmarks/gpu_program.py --table

For each config it compiles the training and evaluation programs, a whole epoch each, for the GPU
that the target file describes. The lower bound on a step's time is a model, not a measurement, and
cuDNN's algorithms and workspace are not visible. Writes results/gpu_program.json and the table in
benchmarks/README.md.
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
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import checkout
import jax
import jax.numpy as jnp
import kernels
import optax
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh
from jax.stages import Compiled
from kernels import Kernel, Launches
from speed_tables import number

from jaxcifar import data
from jaxcifar.config import files, overrides
from jaxcifar.errors import UserError, first_line
from jaxcifar.run import provenance
from jaxcifar.system import atomic, backend, output
from jaxcifar.system.command import run_command
from jaxcifar.training import experiment

OUT = checkout.RESULTS / "gpu_program.json"
MARKS = ("<!-- programs: made by `python benchmarks/gpu_program.py` -->", "<!-- /programs -->")
CONFIGS = ("resnet20.py", "adaptive.py", "simple_cnn.py:batchnorm", "speedrun.py")
TRAIN, TEST = 50_000, 10_000  # images of CIFAR-10
# The number of runs trained as one program, and the largest network for which it is compiled.
RUNS_AT_ONCE, MAX_PARAMETERS = 8, 1_000_000
LAUNCH, LAUNCH_IN_BUFFER = 3e-6, 1e-6  # seconds
HEAVIEST = 8  # kernels listed in the record
# Dense tensor-core operations per clock and core, by compute capability (NVIDIA's H100 and A100
# white papers). float32 is TF32, the type in which XLA multiplies it.
TENSOR_CORES = {
    9: {"bf16": 4096, "f16": 4096, "f32": 2048},
    8: {"bf16": 2048, "f16": 2048, "f32": 1024},
}
PLUGINS = ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")  # each contains XLA's GPU compiler
Record = dict[str, Any]


class Device(NamedTuple):
    """A GPU's peaks: bytes/s, product operations/s by type, and other operations/s."""

    bandwidth: float
    products: dict[str, float]
    others: float

    def seconds(self, kernel: Kernel) -> float:
        """Returns the least seconds of a kernel, without its launch."""
        peak = self.products.get(kernel.dtype, self.others)
        computing = kernel.products / peak + kernel.others / self.others
        return max((kernel.read + kernel.written) / self.bandwidth, computing)


def read_device(description: str) -> Device:
    """Returns the peaks of the GPU that a target file describes.

    Raises:
      UserError: the file lacks a field, or the compute capability is not in TENSOR_CORES.
    """

    def value(key: str) -> float:
        found = re.search(rf"\b{key}: ([\d.]+)", description)
        if not found:
            raise UserError(f"the target file lacks {key}; expected XLA's GpuTargetConfigProto")
        return float(found.group(1))

    capability = int(value("major"))
    if capability not in TENSOR_CORES:
        known = ", ".join(map(str, TENSOR_CORES))
        raise UserError(f"the target has compute capability {capability}; expected one of {known}")
    cores = value("core_count") * value("clock_rate_ghz") * 1e9
    products = {dtype: cores * rate for dtype, rate in TENSOR_CORES[capability].items()}
    return Device(value("memory_bandwidth"), products, cores * value("fpus_per_core"))


def is_importable(module: str) -> bool:
    """Returns whether a module can be imported."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def make_target_mesh(description: str) -> Mesh:
    """Returns a mesh of one GPU, which need not be attached.

    Raises:
      UserError: XLA's compiler for GPUs is not installed.
    """
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.CRITICAL)  # the plugin finds no GPU
    if not any(map(is_importable, PLUGINS)):
        version = jax.__version__
        raise UserError(
            "XLA's compiler for GPUs is not installed: run `pip download --no-deps"
            f" jax-cuda12-pjrt=={version} jax-cuda12-plugin=={version}` (or cuda13), unzip both"
            " wheels into one folder, and set PYTHONPATH to it"
        )
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=description, topology="1x1x1"
    )
    return jax.make_mesh((1,), ("batch",), (AxisType.Auto,), devices=topology.devices)


def programs(
    config_file: str, flags: list[str], mesh: Mesh
) -> Iterator[tuple[Record, Callable[[], Compiled]]]:
    """Yields the name fields of each program of a config, and a function that compiles it."""
    parts = experiment.build_experiment(overrides.load_config(config_file, flags), mesh=mesh)
    config = parts.config
    batch, examples = config.batch_size, TRAIN - config.data.validation
    split = data.Split(
        jax.ShapeDtypeStruct((examples, 32, 32, 3), jnp.uint8),
        jax.ShapeDtypeStruct((examples,), jnp.int32),
    )
    optimizer, _ = parts.optimizer(examples // batch)
    start = parts.abstract_start(optimizer)
    loop = parts.train_loop(split, optimizer)
    steps = loop.steps_per_epoch
    name = {"config": files.config_name(config_file), "batch": batch, "dtype": config.compute_dtype}
    for size in sorted({parts.augment.size_of(epoch) for epoch in range(config.num_epochs)}):
        training = name | {"program": "training", "size": size}
        yield training, functools.partial(loop.program, start, steps, size)
        if optax.tree.size(start.state.params) <= MAX_PARAMETERS:
            stacked = jax.tree.map(
                lambda leaf: leaf.update(shape=(RUNS_AT_ONCE, *leaf.shape), sharding=leaf.sharding),
                start,
            )
            training = training | {"program": f"training of {RUNS_AT_ONCE} runs at once"}
            yield training, functools.partial(loop.program, stacked, steps, size, RUNS_AT_ONCE)
    padded = -(-TEST // batch) * batch
    predictor = parts.predictor(jax.ShapeDtypeStruct((padded, 32, 32, 3), jnp.uint8))
    evaluation = name | {"program": "evaluation", "size": 32}
    yield evaluation, functools.partial(predictor.program, start.state.eval_variables())


def describe_step(step: list[Kernel], launches: Launches, device: Device) -> Record:
    """Returns the totals of a step's kernels, overall and by kind, and its lower bound."""
    by_kind = {kind: [k for k in step if k.kind == kind] for kind in kernels.KINDS}
    working = sum(map(device.seconds, step))
    launching = LAUNCH * (launches.single + launches.buffers) + LAUNCH_IN_BUFFER * launches.inside
    heaviest = sorted(step, key=device.seconds, reverse=True)[:HEAVIEST]
    return {
        "kernels": len(step),
        "by_kind": {
            kind: {"kernels": len(some)} | _totals(some, device) for kind, some in by_kind.items()
        },
        **_totals(step, device),
        "launches": launches._asdict(),
        "bound_ms": 1e3 * (working + launching),
        "launching_ms": 1e3 * launching,
        "heaviest": [
            {"name": k.name, "place": k.op_name.rpartition("closed_call/")[2]}
            | _totals([k], device)
            for k in heaviest
        ],
    }


def _totals(some: list[Kernel], device: Device) -> Record:
    return {
        "bytes_read": sum(k.read for k in some),
        "bytes_written": sum(k.written for k in some),
        "operations": sum(k.products + k.others for k in some),
        "working_ms": 1e3 * sum(map(device.seconds, some)),
    }


def examine_config(
    config_file: str, flags: list[str], mesh: Mesh, device: Device, dump: pathlib.Path
) -> list[Record]:
    """Returns the record of each program of a config, or the error if XLA does not compile it.

    `dump` is the folder of --xla_dump_to.
    """
    records = []
    for name, compile_program in programs(config_file, flags, mesh):
        for file in dump.iterdir():
            file.unlink()
        try:
            compiled = compile_program()
        except jax.errors.JaxRuntimeError as error:
            records.append(name | {"error": first_line(error)})
            print("{config} {program} {size} pixels: {error:.200}".format(**records[-1]))
            continue
        (thunks,) = dump.glob("*.thunk_sequence_after_thunk_passes.txt")
        launches = kernels.count_launches(thunks.read_text())
        step = describe_step(kernels.step_kernels(compiled.as_text()), launches, device)
        memory = compiled.memory_analysis().temp_size_in_bytes
        records.append(name | step | {"temporary_bytes": memory})
        print(
            "{config} {program} {size} pixels: {kernels} kernels, modelled lower bound"
            " {bound_ms:.3f} ms/step".format(**records[-1])
        )
    return records


def programs_table(record: Record) -> str:
    """Returns the Markdown table of all programs in the record, with a note below it."""
    columns = (
        *("program, per step", "kernels", *kernels.KINDS, "read, MB", "written, MB"),
        *("G operations", "temporary, MB", "single launches", "command buffers"),
        *("kernels in buffers", "launch part of bound, ms", "bound, ms"),
    )
    configs = record["configs"].values()
    every = [program for config in configs for program in config["programs"]]
    rows = [_row(program) for program in every if "error" not in program]
    refused = ["{config} {program}, {size} pixels".format(**p) for p in every if "error" in p]
    note = f" XLA does not compile: {'; '.join(refused)}." if refused else ""
    commits = collections.Counter(config["commit"][:7] for config in configs)
    versions = next(iter(configs))["versions"]
    return (
        f"{output.markdown_table([columns, *rows])}\n\nTarget: {record['target']};"
        f" jax {versions['jax']}; commits {', '.join(commits)}.{note}"
    )


def _row(program: Record) -> list[str]:
    return [
        "{config} {program}, {size} pixels, batch {batch}, {dtype}".format(**program),
        str(program["kernels"]),
        *(str(program["by_kind"][kind]["kernels"]) for kind in kernels.KINDS),
        number(program["bytes_read"] / 1e6),
        number(program["bytes_written"] / 1e6),
        number(program["operations"] / 1e9),
        number(program["temporary_bytes"] / 1e6),
        *(str(program["launches"][key]) for key in ("single", "buffers", "inside")),
        number(program["launching_ms"]),
        number(program["bound_ms"]),
    ]


def examine(config_files: list[str], target: pathlib.Path, flags: list[str]) -> None:
    """Compiles the programs of the configs and writes their records to OUT, config by config."""
    commit = provenance.commit()
    description = target.read_text()
    device = read_device(description)
    record = {"target": target.stem, "peaks": device._asdict(), "configs": {}}
    if OUT.exists() and (old := json.loads(OUT.read_text()))["target"] == record["target"]:
        record["configs"] = old["configs"]
    with tempfile.TemporaryDirectory() as dump:
        # XLA reads its flags when it is first used
        os.environ["XLA_FLAGS"] = f"{backend.flags()} --xla_dump_to={dump}"
        mesh = make_target_mesh(description)
        for file in config_files:
            record["configs"][files.config_name(file)] = {
                "programs": examine_config(file, flags, mesh, device, pathlib.Path(dump)),
                "commit": commit,
                "date": datetime.date.today().isoformat(),
                "versions": provenance.versions(),
            }
            OUT.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--config",
        action="append",
        metavar="FILE.py[:VARIANT]",
        help=f"config to compile; repeat for several (default: {', '.join(CONFIGS)})",
    )
    parser.add_argument(
        "--target",
        type=pathlib.Path,
        default=checkout.ROOT / "benchmarks" / "h200.txtpb",
        help="XLA's GpuTargetConfigProto as text; default: benchmarks/h200.txtpb",
    )
    parser.add_argument(
        "--table", action="store_true", help="only rewrite the README's table from the results"
    )
    options, flags = parser.parse_known_args()
    if not options.table:
        jax.config.update("jax_platforms", "cpu")
        config_files = options.config or [str(checkout.CONFIGS / name) for name in CONFIGS]
        examine(config_files, options.target, ["--config.compute_dtype=bfloat16", *flags])
    record = json.loads(OUT.read_text())
    atomic.replace_between_marks(checkout.README, MARKS, programs_table(record))
    print(f"wrote the table of {OUT.name} into {checkout.README}")


if __name__ == "__main__":
    run_command(main)
