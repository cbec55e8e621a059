"""Images embedded in a page keep their pixels."""

import base64
import io

import numpy as np
from conftest import random_images
from PIL import Image

from jaxcifar.pages import pictures


def test_an_embedded_image_keeps_its_pixels():
    image = random_images(32, 32, 3)
    made = pictures.picture(image, "a frog")
    kind, _, text = made.get("src").partition(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(Image.open(io.BytesIO(base64.b64decode(text))), image)
    assert made.get("alt") == "a frog"


def test_a_sheet_has_rows_with_transparent_gaps():
    images = random_images(5, 4, 3, 3)
    sheet = pictures.sheet(images, 3)
    assert sheet.shape == (2 * 5 - 1, 3 * 4 - 1, 4)
    np.testing.assert_array_equal(sheet[5:9, 4:7, :3], images[4])
    assert sheet[..., 3].astype(bool).sum() == 5 * 4 * 3
    assert not sheet[4].any()
    assert not sheet[5:, 8:].any()


def test_filters_are_grey_at_zero_and_each_reaches_black_or_white():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 7)) * np.logspace(-3, 3, 7)
    kernel[..., 6] = 0
    kernel[0, 0, 0, 0] = 0
    images = pictures.filter_images(kernel)
    assert images.shape == (7, 3, 3, 3)
    assert images[0, 0, 0, 0] == 128
    assert (images[6] == 128).all()
    for i in range(6):
        largest = np.unravel_index(abs(kernel[..., i]).argmax(), (3, 3, 3))
        assert images[i][largest] == (255 if kernel[(*largest, i)] > 0 else 0)
