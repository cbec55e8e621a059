"""Writes the weights of a run to a file for other programs."""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse

from jaxcifar.system import backend, output
from jaxcifar.system.files import expand_home
from jaxcifar.weights.export import FORMATS, export_weights


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "export",
        "Writes the weights of a run to a file that other programs read.",
        (
            "--checkpoint=checkpoints/quickstart --to=safetensors --out=quickstart.safetensors",
            "--checkpoint=checkpoints/quickstart --to=jax --out=quickstart.jax",
        ),
    )
    command.add_step_options(parser)
    parser.add_argument("--to", required=True, choices=FORMATS, help="format of the file")
    parser.add_argument(
        "--out", required=True, type=expand_home, metavar="FILE", help="file to create"
    )
    return parser


def main() -> None:
    """Runs the command."""
    arguments = make_parser().parse_args()
    backend.configure()
    source, out = arguments.checkpoint, arguments.out
    with output.busy(f"exporting {source}"):
        size = export_weights(source, arguments.step, arguments.to, out)
    output.show(f"wrote {out} ({arguments.to}, {size / 1e6:.1f} MB)")


if __name__ == "__main__":
    command.run_command(main)
