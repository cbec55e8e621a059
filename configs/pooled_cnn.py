"""The one-block net of report 002: two gated convolutions on the pixels and one Dense layer.

    python -m jaxcifar.train --config=configs/pooled_cnn.py:lr0.005

Variants: the report's rates lr0.005 (the default), lr0.01, lr0.001, lr0.0001. Reported test
accuracies after 30 epochs: 0.5224, 0.5197, none, 0.3857. On two CPU cores a run takes minutes.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    rates = {"": 0.005, "lr0.005": 0.005, "lr0.01": 0.01, "lr0.001": 0.001, "lr0.0001": 0.0001}
    if variant not in rates:
        raise ValueError(f"configs/pooled_cnn.py has no variant {variant!r}; it has {list(rates)}")
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 30,
            "batch_size": 128,
            "data": {"source": "cifar10"},
            "augment": {
                "mean": (0.0, 0.0, 0.0),
                "std": (1.0, 1.0, 1.0),
            },
            "model": {
                "name": "adaptive",
                "num_classes": 10,
                "widths": (6,),
                "num_blocks": (1,),
                "branches": 2,
                "kernel_size": 5,
                "padding": 0,
                "gate": "linear",
                "branch_activation": "relu",
                "head_input": "flatten",
            },
            "loss": {"name": "cross_entropy"},
            "optimizer": {
                "name": "sgd",
                "learning_rate": rates[variant],
                "weight_decay": 5e-4,
                "momentum": 0.9,
            },
            "schedule": {"name": "constant"},
        }
    )
