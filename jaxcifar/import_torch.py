"""Saves a PyTorch state_dict as a checkpoint."""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse
import pathlib

from jaxcifar.config import overrides
from jaxcifar.system import backend, output
from jaxcifar.system.files import expand_home
from jaxcifar.training import experiment
from jaxcifar.weights.import_torch import import_state_dict


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "import_torch",
        "Saves a PyTorch state_dict as a checkpoint.",
        (
            "resnet20.pt --config=configs/resnet20.py",
            "resnet32.pt --config=configs/resnet20.py --config.model.depth=32 \\\n"
            "      --config.augment.mean=0.485,0.456,0.406",
        ),
        ("--config.KEY=VALUE sets any value of the config.",),
    )
    parser.add_argument(
        "file",
        type=expand_home,
        metavar="FILE",
        help="file that torch.save wrote, or safetensors",
    )
    command.add_config_option(parser)
    parser.add_argument(
        "--workdir",
        type=expand_home,
        metavar="DIR",
        help="folder to create (default: checkpoints/ and the name of FILE without its suffix)",
    )
    parser.add_argument(
        "--class_names",
        type=expand_home,
        metavar="FILE",
        help="text file with the name of each class, one per line, in the order of the net's"
        " outputs (default: the names of the config's data, or numbers if the net has more or fewer"
        " classes)",
    )
    return parser


def main() -> None:
    """Runs the command."""
    known, words = make_parser().parse_known_args()
    backend.configure()
    out = known.workdir or pathlib.Path("checkpoints", known.file.stem)
    config = overrides.load_config(known.config, words)
    with output.busy(f"importing {known.file}"):
        model, note = import_state_dict(known.file, config, out, known.class_names)
    size = experiment.describe_parameters(model["params"])
    if note:
        print(f"read the weights {note}")
    output.show(f"saved {known.file.name} in {out}: {config.model.name}, {size}")
    mean, std = (", ".join(map(str, config.augment[key])) for key in ("mean", "std"))
    print(f"images are normalised with mean {mean} and std {std};")
    print("the weights must have been trained with these (--config.augment.mean and std)")
    output.show(f"next: {command.command_line('evaluate', f'--checkpoint={out}')}")


if __name__ == "__main__":
    command.run_command(main)
