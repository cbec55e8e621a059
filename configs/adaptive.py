"""The adaptive CNN of report 000: four blocks of six gated convolutions, 9,483,636 parameters.

    python -m jaxcifar.train --config=configs/adaptive.py

Hardware and time: meant for a GPU, where it has never run. On two CPU cores a step of 128 images
takes about one second, so the 50 epochs take about six hours.
Reported: test accuracy 0.896, train accuracy 0.988, train loss 0.035, 225.4 examples/s.
Measured: test accuracy 0.9017, train accuracy 0.9905, train loss 0.0279 (n = 1).
Our choices, where the report is silent: PyTorch's default initialisation, and 3×3 kernels with
padding 1.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    if variant:
        raise ValueError(f"configs/adaptive.py has no variants; got {variant!r}")
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 50,
            "batch_size": 128,
            "data": {"source": "cifar10"},
            "augment": {
                "flip": True,
                "crop_pad": 4,
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
            },
            "model": {
                "name": "adaptive",
                "num_classes": 10,
                "widths": (64, 128, 256, 512),
                "num_blocks": (1, 1, 1, 1),
                "branches": 6,
                "kernel_size": 3,
                "padding": 1,
                "gate": "linear",
                "branch_activation": "relu",
                "branch_dropout": 0.1,
                "branch_pool": 2,
                "norm": True,
                "head_input": "mean",
                "head_hidden": (256, 128, 64),
            },
            "loss": {"name": "cross_entropy"},
            "optimizer": {
                "name": "adam",
                "learning_rate": 1e-3,
                "weight_decay": 1e-4,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
            },
            "schedule": {"name": "warmup_cosine", "warmup_epochs": 5.0},
        }
    )
