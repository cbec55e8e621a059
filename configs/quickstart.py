"""A small adaptive net on synthetic images, which runs the whole pipeline on any machine.

    python -m jaxcifar.train --config=configs/quickstart.py

Hardware and time: two CPU cores, about a minute for 6 epochs. Needs neither a data set nor a
network connection.
Measured: test accuracy 0.8935 on the synthetic test images (seed 0).

The images are ten shapes drawn by jaxcifar/data/synthetic.py. They are not CIFAR-10, so the
accuracy cannot be compared with any report.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    if variant:
        raise ValueError(f"configs/quickstart.py has no variants; got {variant!r}")
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 6,
            "batch_size": 128,
            "data": {"source": "synthetic"},
            "augment": {
                "flip": True,
                "crop_pad": 4,
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
            },
            "model": {
                "name": "adaptive",
                "num_classes": 10,
                "widths": (16, 32, 64),
                "num_blocks": (1, 1, 1),
                "branches": 3,
                "kernel_size": 3,
                "padding": 1,
                "gate": "linear",
                "branch_activation": "relu",
                "branch_pool": 2,
                "norm": True,
                "head_input": "mean",
                "head_hidden": (64,),
            },
            "loss": {"name": "cross_entropy"},
            "optimizer": {
                "name": "adam",
                "learning_rate": 3e-3,
                "weight_decay": 1e-4,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
            },
            "schedule": {"name": "warmup_cosine", "warmup_epochs": 1.0},
        }
    )
