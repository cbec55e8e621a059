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
            "compute_dtype": "float32",
            "accumulate_steps": 1,
            "data": {"source": "cifar10", "dir": "", "validation": 0, "train_examples": 0},
            "augment": {
                "flip": False,
                "crop_pad": 0,
                "crop_fill": "black",
                "cutout_size": 0,
                "resized_crop_scale": (),
                "resized_crop_pad": 0,
                "rotation_degrees": 0.0,
                "mean": (0.0, 0.0, 0.0),
                "std": (1.0, 1.0, 1.0),
            },
            "model": {
                "name": "adaptive",
                "num_classes": 10,
                "widths": (6,),
                "num_blocks": (1,),
                "segment_pool": False,
                "branches": 2,
                "kernel_size": 5,
                "padding": 0,
                "gate": "linear",
                "gate_per_channel": False,
                "branch_norm": False,
                "branch_activation": "relu",
                "branch_dropout": 0.0,
                "branch_pool": 1,
                "norm": False,
                "activation": "none",
                "residual": False,
                "head_input": "flatten",
                "head_hidden": (),
                "head_dropout": 0.0,
            },
            "loss": {"name": "cross_entropy", "label_smoothing": 0.0, "l1": 0.0},
            "optimizer": {
                "name": "sgd",
                "learning_rate": rates[variant],
                "weight_decay": 5e-4,
                "momentum": 0.9,
                "nesterov": False,
                "clip_norm": 0.0,
                "ema_decay": 0.0,
            },
            "schedule": {"name": "constant"},
        }
    )
