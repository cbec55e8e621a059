"""The adaptive CNN of report 004: a gate per branch and channel, PReLU, 10,350,218 parameters.

    python -m jaxcifar.train --config=configs/adaptive_prelu.py

Hardware and time: meant for a GPU, where it has never run. On two CPU cores the 40 epochs take
about ten hours (estimated from the operations of `adaptive`, not run).
Reported: test accuracy 0.8966, train accuracy 0.9666, test loss 1.1479 and train loss 1.0249
(both with label smoothing), after the last epoch.
Measured: not trained.
Our choices, where the report is silent: the widths, four branches per block, the softmax
on the gates, residual connections where shapes agree, the crop's scale and padding, the label
smoothing (the reported losses imply it) and accumulate_steps = 2.

The cosine falls over 100 epochs, as in the report, so the rate is still high at epoch 40.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    if variant:
        raise ValueError(f"configs/adaptive_prelu.py has no variants; got {variant!r}")
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 40,
            "batch_size": 64,
            "accumulate_steps": 2,
            "data": {"source": "cifar10"},
            "augment": {
                "flip": True,
                "resized_crop_scale": (0.8, 1.0),
                "resized_crop_pad": 4,
                "rotation_degrees": 15.0,
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
            },
            "model": {
                "name": "adaptive",
                "num_classes": 10,
                "widths": (64, 128, 256, 512),
                "num_blocks": (2, 2, 2, 1),
                "segment_pool": True,
                "branches": 4,
                "kernel_size": 3,
                "padding": 1,
                "gate": "softmax",
                "gate_per_channel": True,
                "norm": True,
                "activation": "prelu",
                "residual": True,
                "head_input": "mean",
            },
            # The reported losses imply a smoothing of 0.2 over the nine wrong classes, with which
            # no loss is below 0.94. Our loss smooths over all ten classes, where 2/9 is the same.
            "loss": {"name": "cross_entropy", "label_smoothing": 2 / 9},
            "optimizer": {
                "name": "rmsprop",
                "learning_rate": 1e-3,
                "decay": 0.99,
                "eps": 1e-8,
                "momentum": 0.9,
            },
            "schedule": {"name": "cosine", "floor": 1e-6, "period_epochs": 100},
        }
    )
