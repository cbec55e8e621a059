"""Winograd's convolution for 3×3 kernels, with two to five times fewer multiplications.

The result is that of a plain convolution, up to rounding (Lavin & Gray, arXiv 1509.09308). A tile
of m×m outputs sees n×n inputs, n = m + 2. In one dimension, a correlation with m outputs and a
kernel of 3 is the transpose of a product of polynomials (Toom and Cook): inputs and kernel are
evaluated at n points and multiplied point by point. In two dimensions, over all channels and tiles,
this is one matrix product at each of n² points. The transforms are products with small constant
matrices, because elementwise loops would take longer than the multiplications that they save.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array

# The last of the n points is infinity. Small numbers and their reciprocals round best; the points
# for m = 7 rounded best among some thousands that were tried.
POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)
POINTS_OF_7 = (0, 1, -1, 0.4, -0.4, 4 / 3, -4 / 3, 3)
TILES = (2, 3, 4, 5, 6, 7)  # m; larger tiles save more multiplications and round worse
# The smallest C_in·C_out at which Winograd was measured to be faster than a plain convolution on
# XLA:CPU, for any map and for a map that the tiles cover exactly.
MIN_CHANNELS, MIN_CHANNELS_IF_COVERED = 64 * 128, 64 * 64


def best_tile(h: int, w: int) -> int:
    """Returns the m with the fewest multiplications for a map of h×w outputs."""
    return min(TILES, key=lambda m: -(-h // m) * -(-w // m) * (m + 2) ** 2)


def winograd_is_faster(h: int, w: int, channels: int) -> bool:
    """Returns whether Winograd is faster on a CPU, for `channels` = C_in·C_out and h×w outputs."""
    m = best_tile(h, w)
    return channels >= (MIN_CHANNELS if h % m or w % m else MIN_CHANNELS_IF_COVERED)


@functools.cache
def transforms(m: int) -> tuple[np.ndarray, ...]:
    """Returns the transforms of input tiles [n², n²], kernels [n², 9] and output tiles [n², m²].

    The first two map a tile or a kernel to its values at the n² points. The transpose of the third
    maps such values to a tile of outputs.
    """
    n = m + 2
    points = POINTS_OF_7 if m == 7 else POINTS[: n - 1]
    powers = np.array([*np.vander(points, n, increasing=True), np.eye(n)[-1]])
    kernel = np.array([*powers[:-1, :3], np.eye(3)[-1]])
    output = np.array([*powers[:-1, :m], np.eye(m)[-1]])
    matrices = np.linalg.inv(powers).T, kernel, output
    return tuple(np.kron(a, a) for a in matrices)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv_winograd(
    x: Array, kernel: Array, padding: int, m: int, drop: tuple[int, int] = (0, 0)
) -> Array:
    """Convolves x [B, H, W, C_in] with a kernel [3, 3, C_in, C_out] in tiles of m×m, stride 1.

    The last `drop` output rows and columns are skipped. The largest error measured in float32,
    relative to the standard deviation of a result, is 1e-4 (m = 4) to 4e-4 (m = 6); with AVX-512 it
    is 3e-5 (m = 4), 5e-5 (m = 6) and 2e-4 (m = 7).
    """
    return _forward(x, kernel, padding, m, drop)[0]


def _forward(x, kernel, padding, m, drop):
    (b, *sides, _), c_out = x.shape, kernel.shape[-1]
    h, w = (side + 2 * padding - 2 - n for side, n in zip(sides, drop, strict=True))
    rows, columns = -(-h // m), -(-w // m)
    to_inputs, to_kernel, to_outputs = transforms(m)
    points = _times(to_inputs, _tiles(x, padding, m, rows, columns))
    y = points @ _times(to_kernel, kernel.reshape(9, *kernel.shape[2:]))
    y = _times(to_outputs.T, y).reshape(m, m, b, rows, columns, c_out)
    y = y.transpose(2, 3, 0, 4, 1, 5).reshape(b, rows * m, columns * m, c_out)
    return y[:, :h, :w], (x, kernel)


def _backward(padding, m, drop, saved, gradient):
    x, kernel = saved
    (b, h, w, c_in), c_out, n = x.shape, kernel.shape[-1], m + 2
    rows, columns = (-(-side // m) for side in gradient.shape[1:3])
    to_inputs, to_kernel, to_outputs = transforms(m)
    # computed again, because saving these points would take more memory than x
    points = _times(to_inputs, _tiles(x, padding, m, rows, columns))
    kernel_points = _times(to_kernel, kernel.reshape(9, c_in, c_out))
    g = _times(to_outputs, _split(gradient, 0, m, rows, columns).reshape(m * m, -1, c_out))
    kernel_gradient = jnp.einsum("ptc,pto->pco", points, g)
    tiles = jnp.einsum("pto,pco->ptc", g, kernel_points)
    tiles = _times(to_inputs.T, tiles).reshape(n, n, b, rows, columns, c_in)
    # add the pixels that tiles share: pixel i of a tile is pixel i - m of the next tile
    positions = [
        [
            sum(
                jnp.pad(tiles[u, v], ((0, 0), (u // m, 1 - u // m), (v // m, 1 - v // m), (0, 0)))
                for u in range(i, n, m)
                for v in range(j, n, m)
            )
            for j in range(m)
        ]
        for i in range(m)
    ]
    wide = jnp.array(positions).transpose(2, 3, 0, 4, 1, 5)
    wide = wide.reshape(b, (rows + 1) * m, (columns + 1) * m, c_in)
    return (
        _pad(wide, -padding, h, w),
        _times(to_kernel.T, kernel_gradient).reshape(3, 3, c_in, c_out),
    )


conv_winograd.defvjp(_forward, _backward)


def _times(matrix: np.ndarray, x: Array) -> Array:
    """Multiplies [n, k] by [k, ...] -> [n, ...]."""
    y = jnp.asarray(matrix, x.dtype) @ x.reshape(len(x), -1)
    return y.reshape(-1, *x.shape[1:])


def _split(x: Array, before: int, m: int, rows: int, columns: int) -> Array:
    """Pads [B, H, W, C] and splits it into tiles, [m, m, B, rows, columns, C]."""
    x = _pad(x, before, rows * m, columns * m)
    return x.reshape(len(x), rows, m, columns, m, -1).transpose(2, 4, 0, 1, 3, 5)


def _pad(x: Array, before: int, h: int, w: int) -> Array:
    """Pads [B, H, W, C] to [B, h, w, C], with `before` zeros at the top and left.

    Where a number of zeros is negative, it crops instead.
    """
    sides = [(before, n - before - side, 0) for n, side in zip((h, w), x.shape[1:3], strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *sides, (0, 0, 0)])


def _tiles(x: Array, padding: int, m: int, rows: int, columns: int) -> Array:
    """Returns overlapping tiles of (m+2)×(m+2) pixels, [n², B · rows · columns, C]."""
    n = m + 2
    x = _split(x, padding, m, rows + 1, columns + 1)
    tiles = [
        x[i % m, j % m, :, i // m : i // m + rows, j // m : j // m + columns]
        for i in range(n)
        for j in range(n)
    ]
    return jnp.stack(tiles).reshape(n * n, -1, x.shape[-1])
