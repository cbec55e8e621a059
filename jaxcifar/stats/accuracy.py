"""How well an accuracy is known that was counted on N images, or which of two is the higher."""

import math

from scipy import special  # scipy.stats takes a second to import


def wilson(hits: int, n: int, level: float = 0.05) -> tuple[float, float]:
    """Returns Wilson's interval (1927) at 1 − level of the share of which `hits` of n came.

    Unlike p ± z·√(p(1−p)/n) it stays within 0 to 1 and holds for few images and shares near 1.
    Nothing is known of n = 0: 0 to 1.
    """
    if not n:
        return 0.0, 1.0
    z, share = float(special.ndtri(1 - level / 2)), hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (max(centre - half, 0.0) if hits else 0.0), (
        min(centre + half, 1.0) if hits < n else 1.0
    )


def mcnemar(first_alone: int, second_alone: int) -> float:
    """Returns the p-value of McNemar's exact test that two nets are right as often (1947).

    Of the images that one of them alone is right of, each has half a chance to be either's: the
    chance of a split as uneven as this one, or more.
    """
    differing = first_alone + second_alone
    return min(1.0, 2 * float(special.bdtr(min(first_alone, second_alone), differing, 0.5)))
