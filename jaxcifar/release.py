"""Keeps the weights of a run, and no more, in a new folder that is small enough to be shared.

python -m jaxcifar.release --checkpoint=DIR --out=DIR [--step=latest|best|N]
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.leave_on_interrupt()  # what follows takes seconds to import

import pathlib

from jaxcifar.system import backend
from jaxcifar.weights.release import release


def main() -> None:
    """Runs the command."""
    parser = command.command_parser("release", "Keeps the weights of a run, and no more.")
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="the run's workdir")
    parser.add_argument("--step", default="latest", help="N, best or latest (default: latest)")
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="DIR", help="a new one")
    arguments = parser.parse_args()
    backend.configure()
    print(release(pathlib.Path(arguments.checkpoint), arguments.step, arguments.out), end="")


if __name__ == "__main__":
    command.run_command(main)
