"""The order of the examples in an epoch."""

import jax
import numpy as np

from jaxcifar.training.epoch import epoch_order


def test_epoch_order_is_a_permutation_of_seed_and_epoch():
    order = jax.jit(epoch_order, static_argnames="num_examples")
    first = np.array(order(0, 0, num_examples=1000))
    assert first.dtype == np.int32
    np.testing.assert_array_equal(np.sort(first), np.arange(1000))
    np.testing.assert_array_equal(first, epoch_order(0, 0, 1000))
    # Two random permutations agree at one place on average.
    for other in (order(0, 1, num_examples=1000), order(1, 0, num_examples=1000)):
        assert (np.array(other) == first).sum() < 10


def test_epoch_order_shares_no_key_with_the_plain_fold_in():
    plain = jax.random.permutation(jax.random.fold_in(jax.random.key(0), 3), 1000)
    assert (np.array(plain) == np.array(epoch_order(0, 3, 1000))).sum() < 10
