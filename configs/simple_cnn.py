"""SimpleCNN of report 003, 82,030 parameters, and every run of its study as a variant.

    python -m jaxcifar.train --config=configs/simple_cnn.py:augment

30 epochs, a few minutes on two CPU cores. Variants and the reported best test accuracies: base
0.6606, decay 0.6576, augment (the default) 0.7122, batchnorm 0.7144, bn_lr0.1, nobn_lr0.1, swish
0.7258, l1, and the sweeps over batchnorm: lr1 lr0.1 lr0.05 lr0.01 lr0.005 lr0.001, l2_1e-2 l2_1e-3
l2_1e-4 l2_1e-5 l2_0. The report is silent on the rate and the L2 of the base run (ours 0.01 and
1e-4), on L1's strength (ours 1e-4, with the L2 left out) and on the rate of the L2 sweep (0.01).
It crops after normalising, so the border is the mean colour.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    rates = {f"lr{rate}": rate for rate in (1, 0.1, 0.05, 0.01, 0.005, 0.001)}
    l2s = {"l2_1e-2": 1e-2, "l2_1e-3": 1e-3, "l2_1e-4": 1e-4, "l2_1e-5": 1e-5, "l2_0": 0.0}
    plain = ("base", "decay", "", "augment", "nobn_lr0.1")
    normed = ("batchnorm", "bn_lr0.1", "swish", "l1", *rates, *l2s)
    if variant not in (*plain, *normed):
        raise ValueError(
            f"no variant {variant!r}; variants: {', '.join(filter(None, plain + normed))}"
        )
    augmented = variant not in ("base", "decay")
    rate = 0.1 if variant in ("bn_lr0.1", "nobn_lr0.1", "swish") else rates.get(variant, 0.01)
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 30,
            "batch_size": 128,
            "data": {"source": "cifar10"},
            "augment": {
                "flip": augmented,
                "crop_pad": 4 if augmented else 0,
                "crop_fill": "mean",
                "mean": (0.4914, 0.4822, 0.4465),
                "std": (0.2023, 0.1994, 0.2010),
            },
            "model": {
                "name": "simple_cnn",
                "num_classes": 10,
                "widths": (8, 16),
                "kernel_sizes": (5, 3),
                "hidden": (120, 84),
                "norm": variant in normed,
                "activation": "swish" if variant == "swish" else "relu",
            },
            "loss": {
                "name": "cross_entropy",
                "l1": 1e-4 if variant == "l1" else 0.0,
            },
            "optimizer": {
                "name": "sgd",
                "learning_rate": float(rate),
                "weight_decay": 0.0 if variant == "l1" else l2s.get(variant, 1e-4),
                "momentum": 0.9,
            },
            "schedule": {"name": "step", "every_epochs": 10, "factor": 0.9}
            if variant == "decay"
            else {"name": "constant"},
        }
    )
