"""ResNet-20 (He et al. 2015, arXiv 1512.03385) as report 003 trains it, 269,722 parameters.

    python -m jaxcifar.train --config=configs/resnet20.py
    python -m jaxcifar.train --config=configs/resnet20.py --config.model.depth=32   # depth 6n+2

Hardware and time: meant for a GPU, where it has never run. On two CPU cores an epoch takes about
160 s, so the 200 epochs take about nine hours.
Reported: best test accuracy 0.924. He et al. report an error of 8.75 %.
Measured: test accuracy 0.9103, best epoch 0.9132 (n = 1), see results/README.md.
Our choices, where the report is silent: batches of 128, momentum 0.9, and crop (padding 4) and
flip, all as in the paper.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    if variant:
        raise ValueError(f"configs/resnet20.py has no variants; got {variant!r}")
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 200,
            "batch_size": 128,
            "data": {"source": "cifar10"},
            "augment": {
                "flip": True,
                "crop_pad": 4,
                "crop_fill": "mean",
                "mean": (0.4914, 0.4822, 0.4465),
                "std": (0.2023, 0.1994, 0.2010),
            },
            "model": {
                "name": "resnet",
                "num_classes": 10,
                "depth": 20,
                "width": 16,
                "shortcut": "A",
            },
            "loss": {"name": "cross_entropy"},
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.1,
                "weight_decay": 1e-4,
                "momentum": 0.9,
            },
            "schedule": {"name": "step", "every_epochs": 50, "factor": 0.1},
        }
    )
