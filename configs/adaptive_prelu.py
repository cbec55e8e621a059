"""The adaptive CNN of report 004: a gate per branch and channel, PReLU, label smoothing, RMSprop.

    python -m jaxcifar.train --config=configs/adaptive_prelu.py

Reported: train accuracy 0.9666, test accuracy 0.8966, losses 1.0249 and 1.1479 (with smoothing)
after 40 epochs. A GPU is meant. The report is silent on the widths, K, the gate's softmax, the
crop's scale and padding and accumulate_steps; its cosine has a period of 100 epochs, so that at
epoch 40 the rate is still high.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    if variant:
        raise ValueError(f"configs/adaptive_prelu.py has no variant {variant!r}; it takes none")
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
            # the report spreads 0.2 over the nine wrong classes (a floor of 0.94, as its losses
            # imply): that is 2/9 over all ten
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
