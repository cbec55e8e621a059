"""The kernels of a step, read from the text of a program that XLA has compiled for a GPU.

Each fusion, custom call and copy in the body of the program's loop is one. What it reads and
writes are its operands and results; of an operand that is only gathered or sliced from, what is
taken. What a library's kernel (cuDNN) does inside, and its workspace, the text does not show.
"""

import collections
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from counting import positions

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
# Opcodes that launch nothing; those that compute nothing; those that take a part of an array.
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
    """The type, such as "bf16", and the shape of an array."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The bytes in memory."""
        bits = re.search(r"\d+", self.dtype)
        return self.size * (int(bits.group()) // 8 if bits else self.dtype == "pred")


class Instruction(NamedTuple):
    """A line of a computation; an instruction that gives a tuple has several arrays."""

    name: str
    arrays: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    rest: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """The bytes of the result."""
        return sum(array.bytes for array in self.arrays)

    @property
    def place(self) -> str:
        """Where in the traced program it comes from, "jit(_steps)/while/body/…/conv0/add"."""
        return self.attribute(r'op_name="([^"]*)"')

    def attribute(self, pattern: str) -> str:
        """Returns the group of a pattern in what stands after the operands, or ""."""
        found = re.search(pattern, self.rest)
        return found.group(1) if found else ""


Computation = dict[str, Instruction]


class Program(NamedTuple):
    """The computations of a program by name, and the name of the first to run."""

    computations: dict[str, Computation]
    entry: str


class Kernel(NamedTuple):
    """What one launch does, in bytes and operations; those of products have a type."""

    name: str
    kind: str
    place: str
    read: int
    written: int
    products: int
    dtype: str
    others: int


def parse(text: str) -> Program:
    """Returns the computations of `compiled.as_text()`."""
    computations: dict[str, Computation] = {}
    entry, current = "", ""
    for line in text.splitlines():
        if head := COMPUTATION.match(line):
            current = head.group(2)
            computations[current] = {}
            entry = current if head.group(1) else entry
        elif current and (found := INSTRUCTION.match(line)):
            root, name, type_, opcode, operands, rest = found.groups()
            arrays = tuple(
                Array(dtype, tuple(map(int, filter(None, shape.split(",")))))
                for dtype, shape in ARRAY.findall(type_)
            )
            named = () if opcode == "constant" else tuple(re.findall(r"%([\w.\-]+)", operands))
            computations[current][name] = Instruction(name, arrays, opcode, named, rest, bool(root))
    return Program(computations, entry)


def of_step(text: str) -> list[Kernel]:
    """Returns the kernels of a pass of the program's loop; without one, of the whole program."""
    program = parse(text)
    entry = program.computations[program.entry].values()
    bodies = [i.attribute(r"body=%?([\w.\-]+)") for i in entry if i.opcode == "while"]
    return list(_launched(program, bodies[0] if bodies else program.entry))


def _launched(program: Program, name: str) -> Iterable[Kernel]:
    computation = program.computations[name]
    for instruction in computation.values():
        if instruction.opcode == "while":
            times = int(instruction.attribute(r'known_trip_count":\{"n":"(\d+)') or 1)
            inner = instruction.attribute(r"body=%?([\w.\-]+)")
            yield from list(_launched(program, inner)) * times
        elif instruction.opcode == "call":
            yield from _launched(program, instruction.attribute(r"to_apply=%?([\w.\-]+)"))
        elif instruction.opcode not in NOT_LAUNCHED and not instruction.opcode.endswith("-done"):
            yield _kernel(program, computation, instruction)


def _kernel(program: Program, computation: Computation, instruction: Instruction) -> Kernel:
    operands = [computation[name] for name in dict.fromkeys(instruction.operands)]
    inside = program.computations.get(instruction.attribute(r"calls=%?([\w.\-]+)"))
    if inside is None:
        inside = {o.name: o._replace(opcode="parameter") for o in operands}
        inside[instruction.name] = instruction._replace(is_root=True)
    parameters = [i for i in inside.values() if i.opcode == "parameter"]
    products, dtype = _products(inside)
    return Kernel(
        name=instruction.name,
        kind=_kind(instruction, inside),
        place=instruction.place,
        read=sum(_taken(inside, parameter) for parameter in parameters),
        written=_written(inside),
        products=2 * products,
        dtype=dtype,
        others=sum(_others(inside, i) for i in inside.values()),
    )


def _taken(inside: Computation, instruction: Instruction) -> int:
    """Returns the bytes that a kernel reads of an array."""
    total = 0
    for user in inside.values():
        if instruction.name not in user.operands:
            continue
        first = user.operands[0] == instruction.name
        if user.opcode == "bitcast":
            total += _taken(inside, user)
        elif user.opcode in TAKES and first:
            total += user.bytes
        elif user.opcode != "dynamic-update-slice" or not first:  # which writes in place
            return instruction.bytes
    return min(total, instruction.bytes)


def _written(inside: Computation) -> int:
    root = next(i for i in inside.values() if i.is_root)
    outputs = [inside[n] for n in root.operands] if root.opcode == "tuple" else [root]
    total = 0
    for output in outputs:
        while output.opcode == "bitcast" and output.operands[0] in inside:
            output = inside[output.operands[0]]
        updates = output.opcode == "dynamic-update-slice"
        total += inside[output.operands[1]].bytes if updates else output.bytes
    return total


def _products(inside: Computation) -> tuple[int, str]:
    """Returns the multiply-adds of convolutions and matrix products, and their operands' type."""
    total, dtype = 0, ""
    for i in inside.values():
        target = i.attribute(r'custom_call_target="([^"]*)"')
        if i.opcode == "dot" or "gemm" in target or "matmul" in target:
            lhs = inside[i.operands[0]].arrays[0]
            axes = i.attribute(r'lhs_contracting_dim(?:ension)?s"?[=:][{\[]([\d,"]*)')
            total += i.arrays[0].size * math.prod(lhs.shape[int(n)] for n in _numbers(axes))
        elif i.opcode == "convolution" or "conv" in target:
            arrays = [inside[n].arrays[0] for n in i.operands[:2]] + [i.arrays[0]]
            total += _convolution(target, i.rest, arrays)
        else:
            continue
        dtype = inside[i.operands[0]].arrays[0].dtype
    return total, dtype


def _convolution(target: str, rest: str, arrays: list[Array]) -> int:
    """Returns the multiply-adds: of each gradient as many as of the convolution itself."""
    x, kernel, y = arrays
    if "BackwardInput" in target:
        x, kernel, y = y, kernel, x
    elif "BackwardFilter" in target:
        x, kernel, y = x, y, kernel
    found = ROLES.search(rest)
    assert found, rest
    sizes = [
        dict(zip(roles, array.shape, strict=True))
        for roles, array in zip(found.groups(), (x, kernel, y), strict=True)
    ]
    spatial = sorted(role for role in sizes[0] if role.isdigit())
    total = sizes[2]["b"] * sizes[2]["f"] * sizes[1]["i"]
    return total * positions([tuple(s[axis] for s in sizes) for axis in spatial])


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def _others(inside: Computation, instruction: Instruction) -> int:
    """Returns the operations of all else: one an element, of a reduction's input."""
    opcode = instruction.opcode
    if opcode in MOVES or opcode in ("dot", "convolution", "custom-call"):
        return 0
    if opcode in REDUCES:
        return inside[instruction.operands[0]].arrays[0].size
    return instruction.arrays[0].size if instruction.arrays else 0


def _kind(instruction: Instruction, inside: Computation) -> str:
    target = instruction.attribute(r'custom_call_target="([^"]*)"')
    opcodes = collections.Counter(i.opcode for i in inside.values())
    computing = [i for i in inside.values() if i.opcode not in MOVES]
    random = sum(bool(RANDOM.search(i.place)) for i in computing)
    if "conv" in target or opcodes["convolution"]:
        return "convolution"
    if f"/{OPTIMIZER}/" in instruction.place:
        return "optimizer"
    if "gemm" in target or "matmul" in target or opcodes["dot"]:
        return "matrix product"
    if random > len(computing) / 2:
        return "random"
    if any(opcodes[opcode] for opcode in REDUCES):
        return "reduction"
    return "elementwise" if computing else "copy or transpose"


class Launches(NamedTuple):
    """What a step launches: kernels one by one, command buffers, and kernels inside these."""

    single: int
    buffers: int
    inside: int


def launches(thunks: str) -> Launches:
    """Returns what the list of thunks that XLA dumps says of its loop, or of all without one."""
    has_loop, section = "kWhile" in thunks, ""
    above: list[tuple[int, str]] = []
    single = buffers = inside = 0
    for line in thunks.splitlines():
        if line.strip() in ("condition:", "body:"):
            section = line.strip()
        if not (found := re.match(r"( *)\d+: k(\w+)", line)):
            continue
        depth, kind = len(found.group(1)), found.group(2)
        above = [each for each in above if each[0] < depth]
        kinds = [each[1] for each in above]
        above.append((depth, kind))
        if has_loop and ("While" not in kinds or section != "body:"):
            continue
        buffers += kind == "CommandBuffer"
        inside += "CommandBuffer" in kinds
        single += kind not in ("CommandBuffer", "While") and "CommandBuffer" not in kinds
    return Launches(single, buffers, inside)
