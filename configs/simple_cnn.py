"""The SimpleCNN of report 003, 82,030 parameters, and every run of its study as a variant.

    python -m jaxcifar.train --config=configs/simple_cnn.py:augment

Hardware and time: one CPU core, two to nine minutes for 30 epochs.
Test accuracy of the best epoch (selected on test), mean ± standard deviation of n seeds
(results/README.md has every variant):

    variant             reported   measured                  changes
    base                0.6606     0.6710 ± 0.0042 (n = 5)
    decay               0.6576     0.6715 ± 0.0062 (n = 5)   rate × 0.9 every 10 epochs
    augment (default)   0.7122     0.7195 ± 0.0054 (n = 6)   crop and flip
    batchnorm           0.7144     0.7292 ± 0.0079 (n = 9)   augment, BatchNorm (82,078 parameters)
    bn_lr0.1            -          0.6954 ± 0.0084 (n = 5)   batchnorm, rate 0.1
    nobn_lr0.1          -          0.5255 ± 0.0161 (n = 5)   augment, rate 0.1
    swish               0.7258     0.7134 ± 0.0083 (n = 5)   batchnorm, rate 0.1, Swish
    l1                  -          0.7209 ± 0.0049 (n = 5)   batchnorm, L1 in place of L2

    lr1 lr0.1 lr0.05 lr0.01 lr0.005 lr0.001          batchnorm with other learning rates
    l2_1e-2 l2_1e-3 l2_1e-4 l2_1e-5 l2_0             batchnorm with other strengths of L2

Our choices, where the report is silent: batches of 128, momentum 0.9, rate 0.01 (also in the L2
sweep), L2 1e-4 and L1 1e-4. The report crops after normalising, so the border is the mean colour.
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    rates = {f"lr{rate}": rate for rate in (1, 0.1, 0.05, 0.01, 0.005, 0.001)}
    l2s = {"l2_1e-2": 1e-2, "l2_1e-3": 1e-3, "l2_1e-4": 1e-4, "l2_1e-5": 1e-5, "l2_0": 0.0}
    plain = ("base", "decay", "", "augment", "nobn_lr0.1")
    normed = ("batchnorm", "bn_lr0.1", "swish", "l1", *rates, *l2s)
    if variant not in (*plain, *normed):
        known = ", ".join(filter(None, plain + normed))
        raise ValueError(f"configs/simple_cnn.py has no variant {variant!r}; choose from {known}")
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
