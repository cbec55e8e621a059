"""A small adaptive net on the embedded synthetic data: the whole pipeline in about a minute on CPU.

    python -m jaxcifar.train --config=configs/quickstart.py

Needs no data set and no network. The images are drawn by jaxcifar/data/synthetic.py: ten shapes,
not CIFAR-10, so its accuracy says nothing of the reports.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    if variant:
        raise ValueError(f"configs/quickstart.py has no variant {variant!r}; it takes none")
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 6,
            "batch_size": 128,
            "compute_dtype": "float32",
            "accumulate_steps": 1,
            "data": {"source": "synthetic", "dir": "", "validation": 0, "train_examples": 0},
            "augment": {
                "flip": True,
                "crop_pad": 4,
                "crop_fill": "black",
                "cutout_size": 0,
                "resized_crop_scale": (),
                "resized_crop_pad": 0,
                "rotation_degrees": 0.0,
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
            },
            "model": {
                "name": "adaptive",
                "num_classes": 10,
                "widths": (16, 32, 64),
                "num_blocks": (1, 1, 1),
                "segment_pool": False,
                "branches": 3,
                "kernel_size": 3,
                "padding": 1,
                "gate": "linear",
                "gate_per_channel": False,
                "branch_norm": False,
                "branch_activation": "relu",
                "branch_dropout": 0.0,
                "branch_pool": 2,
                "norm": True,
                "activation": "none",
                "residual": False,
                "head_input": "mean",
                "head_hidden": (64,),
                "head_dropout": 0.0,
            },
            "loss": {"name": "cross_entropy", "label_smoothing": 0.0, "l1": 0.0},
            "optimizer": {
                "name": "adam",
                "learning_rate": 3e-3,
                "weight_decay": 1e-4,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "clip_norm": 0.0,
                "ema_decay": 0.0,
            },
            "schedule": {"name": "warmup_cosine", "warmup_epochs": 1.0},
        }
    )
