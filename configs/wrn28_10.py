"""WRN-28-10, the wide ResNet of Zagoruyko and Komodakis (arXiv 1605.07146), 36,479,194 parameters.

    python -m jaxcifar.train --config=configs/wrn28_10.py
    python -m jaxcifar.train --config=configs/wrn28_10.py --config.model.depth=16 \
        --config.model.widen=4    # WRN-16-4: depth 6n+4

Hardware and time: meant for a GPU; time not measured.
Test accuracy: not measured by us. The paper reports 0.9600 without dropout (an error of 4.00 %, the
median of five runs).

The net and the recipe are the paper's, without dropout. Only the initial weights differ: they have
a variance of 2/fan_in here, and of 2/fan_out in the paper.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    if variant:
        raise ValueError(f"configs/wrn28_10.py has no variants; got {variant!r}")
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 200,
            "batch_size": 128,
            "data": {"source": "cifar10"},
            "augment": {
                "flip": True,
                "crop_pad": 4,
                "crop_fill": "reflect",
                "mean": (0.4914, 0.4822, 0.4465),
                "std": (0.2470, 0.2435, 0.2616),
            },
            "model": {
                "name": "resnet",
                "num_classes": 10,
                "depth": 28,
                "width": 16,
                "widen": 10,
                "preactivation": True,
                "shortcut": "B",
            },
            "loss": {"name": "cross_entropy"},
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.1,
                "weight_decay": 5e-4,
                "momentum": 0.9,
                "nesterov": True,
            },
            "schedule": {"name": "multistep", "at_epochs": (60, 120, 160), "factor": 0.2},
        }
    )
