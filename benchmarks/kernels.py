"""Reads the kernels of a step from the text of a program that XLA compiled for a GPU.

Every fusion, custom call and copy in the body of the program's loop is a kernel. It reads its
operands and writes its results. If it only gathers from an operand or slices it, it reads just the
needed part. The text does not show what a library kernel (cuDNN) does inside, nor its workspace.
"""

import collections
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from counting import count_positions

from jaxcifar.training.step import OPTIMIZER

KINDS = (
    "convolution",
    "matrix product",
    "reduction",
    "elementwise",
    "copy or transpose",
    "random",
    "optimizer",
)
# Opcodes that launch nothing, that take a part of an array, and that move data only.
NOT_LAUNCHED = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
TAKES = {"gather", "dynamic-slice", "slice"}
MOVES = NOT_LAUNCHED | TAKES | {"copy", "transpose", "reshape", "broadcast", "iota", "reverse"}
MOVES |= {"dynamic-update-slice", "concatenate", "pad"}
REDUCES = {"reduce", "reduce-window", "select-and-scatter"}
RANDOM = re.compile(r"threefry|_randint|_uniform|_bernoulli|random|rng")
INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*?)\)(.*)$")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
ARRAY = re.compile(r"\b(pred|token|[a-z]+\d+)\w*\[([\d,]*)\]")
ROLES = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")


class Array(NamedTuple):
    """An array's type, such as "bf16", and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The size in memory."""
        bits = re.search(r"\d+", self.dtype)
        return self.size * (int(bits.group()) // 8 if bits else self.dtype == "pred")


class Instruction(NamedTuple):
    """A line of a computation; one that returns a tuple has several arrays."""

    name: str
    arrays: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    rest: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """The size of the result."""
        return sum(array.bytes for array in self.arrays)

    @property
    def op_name(self) -> str:
        """The place in the traced program, such as "jit(_steps)/while/body/…/conv0/add"."""
        return self.attribute(r'op_name="([^"]*)"')

    def attribute(self, pattern: str) -> str:
        """Returns the pattern's group if it matches after the operands, otherwise ""."""
        match = re.search(pattern, self.rest)
        return match.group(1) if match else ""


Computation = dict[str, Instruction]


class Program(NamedTuple):
    """The computations of a program by name, and the name of its entry computation."""

    computations: dict[str, Computation]
    entry: str


class Kernel(NamedTuple):
    """The work of one kernel, in bytes and operations."""

    name: str
    kind: str  # one of KINDS
    op_name: str
    read: int
    written: int
    products: int  # operations of convolutions and matrix products
    dtype: str  # of the operands of these products
    others: int  # all other operations


def parse(text: str) -> Program:
    """Returns the program in `compiled.as_text()`."""
    computations: dict[str, Computation] = {}
    entry, current = "", ""
    for line in text.splitlines():
        if header := COMPUTATION.match(line):
            current = header.group(2)
            computations[current] = {}
            entry = current if header.group(1) else entry
        elif current and (match := INSTRUCTION.match(line)):
            root, name, type_, opcode, operands, rest = match.groups()
            arrays = tuple(
                Array(dtype, tuple(map(int, filter(None, shape.split(",")))))
                for dtype, shape in ARRAY.findall(type_)
            )
            named = () if opcode == "constant" else tuple(re.findall(r"%([\w.\-]+)", operands))
            computations[current][name] = Instruction(name, arrays, opcode, named, rest, bool(root))
    return Program(computations, entry)


def step_kernels(text: str) -> list[Kernel]:
    """Returns the kernels of one iteration of the program's loop, or of a program without one."""
    program = parse(text)
    entry = program.computations[program.entry].values()
    bodies = [i.attribute(r"body=%?([\w.\-]+)") for i in entry if i.opcode == "while"]
    return list(_launched_kernels(program, bodies[0] if bodies else program.entry))


def _launched_kernels(program: Program, name: str) -> Iterable[Kernel]:
    computation = program.computations[name]
    for instruction in computation.values():
        if instruction.opcode == "while":
            times = int(instruction.attribute(r'known_trip_count":\{"n":"(\d+)') or 1)
            inner = instruction.attribute(r"body=%?([\w.\-]+)")
            yield from list(_launched_kernels(program, inner)) * times
        elif instruction.opcode == "call":
            yield from _launched_kernels(program, instruction.attribute(r"to_apply=%?([\w.\-]+)"))
        elif instruction.opcode not in NOT_LAUNCHED and not instruction.opcode.endswith("-done"):
            yield _make_kernel(program, computation, instruction)


def _make_kernel(program: Program, computation: Computation, instruction: Instruction) -> Kernel:
    operands = [computation[name] for name in dict.fromkeys(instruction.operands)]
    inside = program.computations.get(instruction.attribute(r"calls=%?([\w.\-]+)"))
    if inside is None:
        inside = {o.name: o._replace(opcode="parameter") for o in operands}
        inside[instruction.name] = instruction._replace(is_root=True)
    parameters = [i for i in inside.values() if i.opcode == "parameter"]
    products, dtype = _product_multiply_adds(inside)
    return Kernel(
        name=instruction.name,
        kind=_classify(instruction, inside),
        op_name=instruction.op_name,
        read=sum(_bytes_read(inside, parameter) for parameter in parameters),
        written=_bytes_written(inside),
        products=2 * products,
        dtype=dtype,
        others=sum(_other_operations(inside, i) for i in inside.values()),
    )


def _bytes_read(inside: Computation, instruction: Instruction) -> int:
    """Returns the number of bytes of an array that a kernel reads."""
    total = 0
    for user in inside.values():
        if instruction.name not in user.operands:
            continue
        first = user.operands[0] == instruction.name
        if user.opcode == "bitcast":
            total += _bytes_read(inside, user)
        elif user.opcode in TAKES and first:
            total += user.bytes
        elif user.opcode != "dynamic-update-slice" or not first:  # the first is written in place
            return instruction.bytes
    return min(total, instruction.bytes)


def _bytes_written(inside: Computation) -> int:
    root = next(i for i in inside.values() if i.is_root)
    outputs = [inside[n] for n in root.operands] if root.opcode == "tuple" else [root]
    total = 0
    for output in outputs:
        while output.opcode == "bitcast" and output.operands[0] in inside:
            output = inside[output.operands[0]]
        updates = output.opcode == "dynamic-update-slice"
        total += inside[output.operands[1]].bytes if updates else output.bytes
    return total


def _product_multiply_adds(inside: Computation) -> tuple[int, str]:
    """Returns the multiply-adds of convolutions and matrix products, and their operands' type."""
    total, dtype = 0, ""
    for i in inside.values():
        target = i.attribute(r'custom_call_target="([^"]*)"')
        if i.opcode == "dot" or "gemm" in target or "matmul" in target:
            lhs = inside[i.operands[0]].arrays[0]
            axes = i.attribute(r'lhs_contracting_dim(?:ension)?s"?[=:][{\[]([\d,"]*)')
            total += i.arrays[0].size * math.prod(
                lhs.shape[int(n)] for n in re.findall(r"\d+", axes)
            )
        elif i.opcode == "convolution" or "conv" in target:
            arrays = [inside[n].arrays[0] for n in i.operands[:2]] + [i.arrays[0]]
            total += _conv_multiply_adds(target, i.rest, arrays)
        else:
            continue
        dtype = inside[i.operands[0]].arrays[0].dtype
    return total, dtype


def _conv_multiply_adds(target: str, rest: str, arrays: list[Array]) -> int:
    """Returns the multiply-adds of a convolution; each of its gradients has as many."""
    x, kernel, y = arrays
    if "BackwardInput" in target:
        x, kernel, y = y, kernel, x
    elif "BackwardFilter" in target:
        x, kernel, y = x, y, kernel
    labels = ROLES.search(rest)
    assert labels, rest
    sizes = [
        dict(zip(roles, array.shape, strict=True))
        for roles, array in zip(labels.groups(), (x, kernel, y), strict=True)
    ]
    spatial = sorted(role for role in sizes[0] if role.isdigit())
    total = sizes[2]["b"] * sizes[2]["f"] * sizes[1]["i"]
    return total * count_positions([tuple(s[axis] for s in sizes) for axis in spatial])


def _other_operations(inside: Computation, instruction: Instruction) -> int:
    """Returns the operations outside products: one per element, of the input for reductions."""
    opcode = instruction.opcode
    if opcode in MOVES or opcode in ("dot", "convolution", "custom-call"):
        return 0
    if opcode in REDUCES:
        return inside[instruction.operands[0]].arrays[0].size
    return instruction.arrays[0].size if instruction.arrays else 0


def _classify(instruction: Instruction, inside: Computation) -> str:
    """Returns the kind of a kernel, one of KINDS."""
    target = instruction.attribute(r'custom_call_target="([^"]*)"')
    opcodes = collections.Counter(i.opcode for i in inside.values())
    computing = [i for i in inside.values() if i.opcode not in MOVES]
    random = sum(bool(RANDOM.search(i.op_name)) for i in computing)
    if "conv" in target or opcodes["convolution"]:
        return "convolution"
    if f"/{OPTIMIZER}/" in instruction.op_name:
        return "optimizer"
    if "gemm" in target or "matmul" in target or opcodes["dot"]:
        return "matrix product"
    if random > len(computing) / 2:
        return "random"
    if any(opcodes[opcode] for opcode in REDUCES):
        return "reduction"
    return "elementwise" if computing else "copy or transpose"


class Launches(NamedTuple):
    """The launches of a step."""

    single: int  # kernels launched on their own
    buffers: int  # command buffers
    inside: int  # kernels inside command buffers


def count_launches(thunks: str) -> Launches:
    """Returns the launches in the loop of XLA's dumped thunk list, or in a list without a loop."""
    has_loop, section = "kWhile" in thunks, ""
    above: list[tuple[int, str]] = []
    single = buffers = inside = 0
    for line in thunks.splitlines():
        if line.strip() in ("condition:", "body:"):
            section = line.strip()
        if not (match := re.match(r"( *)\d+: k(\w+)", line)):
            continue
        depth, kind = len(match.group(1)), match.group(2)
        above = [thunk for thunk in above if thunk[0] < depth]
        kinds = [thunk[1] for thunk in above]
        above.append((depth, kind))
        if has_loop and ("While" not in kinds or section != "body:"):
            continue
        buffers += kind == "CommandBuffer"
        inside += "CommandBuffer" in kinds
        single += kind not in ("CommandBuffer", "While") and "CommandBuffer" not in kinds
    return Launches(single, buffers, inside)
