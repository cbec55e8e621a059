"""Embeds images in a page as PNG data URIs, at their own size; the browser enlarges them."""

import base64
import io
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from jaxcifar.pages.markup import tag


def picture(pixels: np.ndarray, alt: str, **attributes: Any) -> Element:
    """Returns an image element that shows pixels, uint8 [H, W, 3 or 4]; `alt` describes it."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    height, width = pixels.shape[:2]
    return tag("img", src=source, alt=alt, width=width, height=height, **attributes)


def sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Arranges images, uint8 [N, H, W, 3], in rows of one RGBA image, with transparent gaps."""
    n, height, width, _ = images.shape
    rows = -(-n // columns)
    out = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 4), np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * (height + 1), i % columns * (width + 1)
        out[y : y + height, x : x + width, :3] = image
        out[y : y + height, x : x + width, 3] = 255
    return out


def filter_images(kernel: np.ndarray) -> np.ndarray:
    """Returns kernels [h, w, 3, N] as images, uint8 [N, h, w, 3], where grey is 0."""
    by_filter = np.moveaxis(np.asarray(kernel, np.float32), -1, 0)
    largest = abs(by_filter).max((1, 2, 3), keepdims=True)
    return np.rint(127.5 + 127.5 * by_filter / np.where(largest > 0, largest, 1)).astype(np.uint8)
