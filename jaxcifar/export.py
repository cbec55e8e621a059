"""Writes the weights of a run as a file that other programs read.

python -m jaxcifar.export --checkpoint=DIR --to=safetensors|jax|torch --out=FILE
    [--step=latest|best|N]
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.leave_on_interrupt()  # what follows takes seconds to import

import pathlib

from jaxcifar.system import backend
from jaxcifar.weights.export import FORMATS, export


def main() -> None:
    """Runs the command."""
    parser = command.command_parser("export", "Writes the weights of a run for other programs.")
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="the run's workdir")
    parser.add_argument("--step", default="latest", help="N, best or latest (default: latest)")
    parser.add_argument("--to", required=True, choices=FORMATS)
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="FILE", help="a new one")
    arguments = parser.parse_args()
    backend.configure()
    source, out = pathlib.Path(arguments.checkpoint), arguments.out
    size = export(source, arguments.step, arguments.to, out)
    print(f"wrote {out} ({arguments.to}, {size / 2**20:.1f} MB)")


if __name__ == "__main__":
    command.run_command(main)
