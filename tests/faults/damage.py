"""Damages each file of a saved step in several ways, and counts how the next start reacts.

    python tests/faults/damage.py FLIPS [SEED]

Each file is cut in half, emptied, deleted, and has one random bit flipped, FLIPS times. Prints a
table of outcomes: "noticed" means that the step was set aside with a warning and the one before was
used, "harmless" that the step was restored bit for bit, "stopped" that the command printed one line
and moved nothing. Exits with status 1 if there was any other outcome.
"""

import collections
import logging
import pathlib
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable

sys.path[:0] = [str(pathlib.Path(__file__).parents[n]) for n in (1, 2)]
sys.path.append(str(pathlib.Path(__file__).parents[1] / "helpers"))

import chex
from saving import at, restore, save, start

from jaxcifar.errors import UserError

Damage = Callable[[bytes], bytes | None]


def damages(choose: random.Random, flips: int) -> list[tuple[str, Damage]]:
    """Returns the kinds of damage: name, and function of a file's content; None deletes it."""

    def flip(content: bytes) -> bytes:
        if not content:
            return b"\0"
        at = choose.randrange(len(content))
        return content[:at] + bytes([content[at] ^ 1 << choose.randrange(8)]) + content[at + 1 :]

    return [
        ("cut", lambda content: content[: len(content) // 2]),
        ("emptied", lambda _: b""),
        ("deleted", lambda _: None),
        *[("flipped", flip)] * flips,
    ]


def outcome(folder: pathlib.Path, like: object) -> str:
    """Restores from the folder, whose latest step, 8, is damaged; returns what happened."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            got = restore(folder, like)
        except UserError as error:
            moved = (folder / "damaged").exists()
            return "stopped" if not moved and "\n" not in str(error) else f"WRONG: {error}"
        except Exception as error:  # what this script looks for
            return f"WRONG: {type(error).__name__}: {error}"
    step = int(got.state.step)
    try:
        chex.assert_trees_all_equal(got, at(like, step))
    except AssertionError:
        return "WRONG: restored something else"
    if step == 8:
        return "harmless"
    warned = any("step 8 is damaged" in str(warning.message) for warning in caught)
    return "noticed" if warned and step == 4 else f"WRONG: step {step}"


def kind(file: pathlib.Path) -> str:
    """Returns the path of a file in a step, with names of data files replaced by …."""
    parts = [part for part in file.parts if not part.startswith("ocdbt.process_")]
    return "/".join(["d/…" if part == "d" else part for part in parts[: 2 if "d" in parts else 9]])


def main(flips: int, seed: int) -> int:
    """Runs the command; returns how many outcomes were wrong."""
    like, counts = start(), collections.Counter[tuple[str, str, str]]()
    ways = damages(random.Random(seed), flips)
    with tempfile.TemporaryDirectory() as temporary:
        kept = pathlib.Path(temporary, "kept")
        save(kept, like, {4: 0.9, 8: 0.1})
        names = sorted(f.relative_to(kept) for f in kept.glob("steps/8/**/*") if f.is_file())
        for name in names:
            for way, damage in ways:
                folder = pathlib.Path(temporary, "run")
                shutil.copytree(kept, folder)
                left = damage((kept / name).read_bytes())
                if left is None:
                    (folder / name).unlink()
                else:
                    (folder / name).write_bytes(left)
                result = outcome(folder, like)
                counts[kind(name.relative_to("steps/8")), way, result] += 1
                shutil.rmtree(folder)
    for (file, way, result), count in sorted(counts.items()):
        print(f"{file:36} {way:8} {count:5}  {result}")
    wrong = sum(count for (*_, result), count in counts.items() if result.startswith("WRONG"))
    print(f"{wrong} of {counts.total()} damages went wrong (seed {seed})")
    return wrong


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # Orbax's
    sys.exit(bool(main(int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0)))
