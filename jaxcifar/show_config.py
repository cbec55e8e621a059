"""Prints all keys of a config, their values and what they mean.

python -m jaxcifar.show_config FILE[:VARIANT] [--config.KEY=VALUE ...]
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse

from jaxcifar.config import overrides, reference


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "show_config",
        "Prints all keys of a config, their values, types, defaults and what they mean.",
        ("configs/adaptive.py", "configs/simple_cnn.py:swish --config.num_epochs=3"),
        ("--config.KEY=VALUE sets any value of the config.",),
    )
    command.add_config_option(parser, "config")
    return parser


def main() -> None:
    """Runs the command."""
    known, words = make_parser().parse_known_args()
    print(reference.describe_config(overrides.load_config(known.config, words)))


if __name__ == "__main__":
    command.run_command(main)
