"""ResNet-18 for CIFAR, the net of kuangliu/pytorch-cifar, 11,173,962 parameters.

    python -m jaxcifar.train --config=configs/resnet18.py
    python -m jaxcifar.train --config=configs/resnet18.py --config.model.depth=34 \
        --config.model.blocks=3,4,6,3

Hardware and time: meant for a GPU; time not measured.
Test accuracy: not measured by us. The table of kuangliu/pytorch-cifar gives 0.9302, for an older
recipe of 350 epochs with three learning rates.

The net, its PyTorch names and the recipe (cosine over 200 epochs) are those of pytorch-cifar, with
two differences. We use He initialisation instead of PyTorch's default, and we skip the images
that do not fill the last batch of an epoch.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    if variant:
        raise ValueError(f"configs/resnet18.py has no variants; got {variant!r}")
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 200,
            "batch_size": 128,
            "data": {"source": "cifar10"},
            "augment": {
                "flip": True,
                "crop_pad": 4,
                "mean": (0.4914, 0.4822, 0.4465),
                "std": (0.2023, 0.1994, 0.2010),
            },
            "model": {
                "name": "resnet",
                "num_classes": 10,
                "depth": 18,
                "width": 64,
                "blocks": (2, 2, 2, 2),
                "shortcut": "B",
            },
            "loss": {"name": "cross_entropy"},
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.1,
                "weight_decay": 5e-4,
                "momentum": 0.9,
            },
            "schedule": {"name": "cosine", "period_epochs": 200},
        }
    )
