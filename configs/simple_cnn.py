"""SimpleCNN of report 003 and its runs: a study of what helps a small net.

python -m jaxcifar.train --config=configs/simple_cnn.py:augment
"""

from ml_collections import ConfigDict


def get_config(variant=""):
    config = ConfigDict()
    config.seed = 0
    config.num_epochs = 30
    config.batch_size = 128
    config.compute_dtype = "float32"
    config.accumulate_steps = 1
    config.data = ConfigDict(dict(source="cifar10", dir="", validation=0, train_examples=0))
    config.augment = ConfigDict(
        dict(
            flip=True,
            crop_pad=4,
            crop_fill="mean",
            cutout_size=0,
            resized_crop_scale=(),
            resized_crop_pad=0,
            rotation_degrees=0.0,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2023, 0.1994, 0.2010),
        )
    )
    config.model = ConfigDict(
        dict(
            name="simple_cnn",
            num_classes=10,
            widths=(8, 16),
            kernel_sizes=(5, 3),
            hidden=(120, 84),
            norm=False,
            activation="relu",
        )
    )
    config.loss = ConfigDict(dict(name="cross_entropy", label_smoothing=0.0, l1=0.0))
    config.optimizer = ConfigDict(
        dict(
            name="sgd",
            learning_rate=0.01,
            weight_decay=1e-4,
            momentum=0.9,
            nesterov=False,
            clip_norm=0.0,
            ema_decay=0.0,
        )
    )
    config.schedule = ConfigDict(dict(name="constant"))
    return config
