"""Copies the weights of a run into a new folder to share."""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse

from jaxcifar.system import backend, output
from jaxcifar.system.files import expand_home
from jaxcifar.weights.release import LICENCE, release_weights


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "release",
        "Copies the weights of a run into a new folder that is small enough to share.",
        (
            "--checkpoint=checkpoints/quickstart --out=checkpoints/quickstart-weights",
            "--checkpoint=checkpoints/quickstart --step=best --out=quickstart-best",
        ),
    )
    command.add_step_options(parser)
    parser.add_argument(
        "--out", required=True, type=expand_home, metavar="DIR", help="folder to create"
    )
    text = f"licence of the weights, as the card states it (default: {LICENCE})"
    parser.add_argument("--license", "--licence", default=LICENCE, metavar="NAME", help=text)
    return parser


def main() -> None:
    """Runs the command."""
    arguments = make_parser().parse_args()
    backend.configure()
    with output.busy(f"releasing {arguments.checkpoint}"):
        card = release_weights(
            arguments.checkpoint, arguments.step, arguments.out, arguments.license
        )
    output.show(card.removesuffix("\n"))


if __name__ == "__main__":
    command.run_command(main)
