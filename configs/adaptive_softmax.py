"""The adaptive CNN of report 001: softmax gates, BatchNorm in the branches, cutout.

    python -m jaxcifar.train --config=configs/adaptive_softmax.py

Reported: test accuracy 0.9107 ("consistently 90 to 91 %") after 50 epochs. A GPU is meant.
The report is silent on the sizes; ours: segments of widths 64, 128, 256, two blocks each, K = 4,
a max-pool between segments. Its num_classes is 20, ours 10.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    if variant:
        raise ValueError(f"configs/adaptive_softmax.py has no variant {variant!r}; it takes none")
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 50,
            "batch_size": 64,
            "data": {"source": "cifar10"},
            "augment": {
                "flip": True,
                "crop_pad": 4,
                "cutout_size": 16,
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
            },
            "model": {
                "name": "adaptive",
                "num_classes": 10,
                "widths": (64, 128, 256),
                "num_blocks": (2, 2, 2),
                "segment_pool": True,
                "branches": 4,
                "kernel_size": 3,
                "padding": 1,
                "gate": "softmax",
                "branch_norm": True,
                "branch_activation": "relu",
                "head_input": "mean",
                "head_hidden": (512,),
                "head_dropout": 0.5,
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
            "schedule": {"name": "step", "every_epochs": 30, "factor": 0.1},
        }
    )
