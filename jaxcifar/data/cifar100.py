"""Loads CIFAR-100 from the user's folders, the cache or the network, in this order."""

import numpy as np

from jaxcifar.data import locate, official, tfds
from jaxcifar.data.split import Dataset, Split, content_sha256, make_dataset
from jaxcifar.errors import UserError

PER_CLASS = (500, 100)  # training and test images of each fine class
# The official names in the order of the labels.
COARSE = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
household_furniture insects large_carnivores large_man-made_outdoor_things
large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals non-insect_invertebrates
people reptiles small_mammals trees vehicles_1 vehicles_2
"""
FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
CLASS_NAMES = {"coarse": tuple(COARSE.split()), "fine": tuple(FINE.split())}


def load(dir: str, labels: str) -> Dataset:
    """Returns CIFAR-100 with its "fine" or "coarse" labels.

    It comes from `dir`, $JAXCIFAR_DATA, the cache or the network, in this order.

    Raises:
      UserError: no copy was found, or the one that was found is damaged.
    """
    *both, origin = published().read(dir)
    if problem := _find_problem(*both):
        raise UserError(f"{origin} is not CIFAR-100: images {problem}")
    column = list(CLASS_NAMES).index(labels)
    train, test = (Split(x, np.ascontiguousarray(y[:, column])) for x, y in both)
    digest = content_sha256(train, test)
    return make_dataset("cifar100", origin, CLASS_NAMES[labels], train, test, digest)


def published() -> locate.Published:
    """Returns how CIFAR-100 is published and recognised."""
    archive = official.BINARY_100
    names = {"coarse_label": CLASS_NAMES["coarse"], "label": CLASS_NAMES["fine"]}
    spec = tfds.Spec("cifar100", archive, names)
    return locate.Published("CIFAR-100", (official.PYTHON_100, archive), spec, _find_problem)


def _find_problem(train: Split, test: Split) -> str:
    """Returns what is wrong with the numbers of images per class; "" if nothing is.

    No digest of the pixels is published, so only the labels can be checked.
    """
    for part, each in zip((train, test), PER_CLASS, strict=True):
        if (
            not len(part.labels)
            or part.labels.min() < 0
            or (np.bincount(part.labels[:, 1], minlength=100) != each).any()
        ):
            return f"whose fine labels are not {each} of each from 0 to 99"
        pairs = np.unique(part.labels, axis=0)
        if len(pairs) != 100 or (np.bincount(pairs[:, 0], minlength=20) != 5).any():
            return "whose coarse labels are not 20, of five fine labels each"
    return ""
