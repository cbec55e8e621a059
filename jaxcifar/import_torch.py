"""Makes a checkpoint of a PyTorch state_dict, such as those of the common CIFAR ResNets.

python -m jaxcifar.import_torch FILE --config=PAGE [--workdir=DIR] [--config.KEY=VALUE ...]
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.leave_on_interrupt()  # what follows takes seconds to import

import pathlib

from jaxcifar.config import overrides
from jaxcifar.system import backend
from jaxcifar.training import experiment
from jaxcifar.weights.torch_file import import_torch


def main() -> None:
    """Runs the command."""
    parser = command.command_parser(
        "import_torch",
        "Makes a checkpoint of a PyTorch state_dict.",
        epilog="Any value of the config is set by --config.KEY=VALUE, such as"
        " --config.model.depth=32 or --config.augment.mean=0.485,0.456,0.406.",
    )
    parser.add_argument("file", type=pathlib.Path, metavar="FILE", help="what torch.save wrote")
    parser.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]", help="the page")
    parser.add_argument("--workdir", type=pathlib.Path, help="a new one; default: checkpoints/FILE")
    known, words = parser.parse_known_args()
    backend.configure()
    out = known.workdir or pathlib.Path("checkpoints", known.file.stem)
    config = overrides.load_config(known.config, words)
    model = import_torch(known.file, config, out)
    size = experiment.describe_parameters(model["params"])
    print(f"{known.file.name} is in {out}: {config.model.name}, {size}")
    mean, std = (", ".join(map(str, config.augment[key])) for key in ("mean", "std"))
    print(f"images will have mean {mean} and std {std}: must be those of the weights' training")
    print(f"next: {command.command_line('evaluate', f'--checkpoint={out}')}")


if __name__ == "__main__":
    command.run_command(main)
