"""Image files: format, orientation and shape do not change what a net sees."""

import io
import struct
import zlib

import numpy as np
import pytest
from conftest import random_images
from PIL import ExifTags, Image

from jaxcifar.data import image_files
from jaxcifar.errors import UserError

# How an upright image is stored, by its EXIF orientation (CIPA DC-008, 4.6.4).
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[::-1],
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[:, ::-1],
}


def file_of(image, kind="PNG", **options):
    """The bytes of an image file, made from a Pillow image or an array."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(content):
    return image_files.read_image(io.BytesIO(content), "it")


def pixels(*image, **options):
    return read(file_of(*image, **options)).pixels


def smooth(height, width):
    """An image with slow changes and no symmetry, uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width]
    return np.stack([2 * x + y, 3 * y, 255 - x - y], -1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_rotated_image_is_turned_upright(kind, orientation):
    upright = smooth(41, 66)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    got = read(file_of(stored, kind, exif=turned, **options))
    want = read(file_of(upright))
    assert (got.width, got.height, got.square) == (66, 41, (12, 0, 53, 41))
    np.testing.assert_array_equal(got.pixels, want.pixels)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_an_image_of_the_nets_size_is_unchanged(kind):
    (image,) = random_images(1, 32, 32, 3)
    np.testing.assert_array_equal(pixels(image, kind), image)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (96, 201), (333, 64), (20, 50)])
def test_only_the_central_square_is_seen(height, width):
    image = np.full((height, width, 3), 255, np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image[top : top + side, left : left + side] = [10, 20, 30]
    got = read(file_of(image))
    assert got.square == (left, top, left + side, top + side)
    np.testing.assert_array_equal(got.pixels, np.broadcast_to([10, 20, 30], (32, 32, 3)))
    assert ("all of it" in got.describe_crop()) == (height == width)


def test_resizing_averages_details_smaller_than_a_pixel():
    """A checkerboard of single pixels, whose mean is 127.5, becomes uniformly grey."""
    y, x = np.mgrid[:512, :512]
    checks = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, 2)
    assert np.abs(pixels(checks).astype(int) - 127.5).max() < 2
    blocks = (
        smooth(256, 256).reshape(32, 8, 32, 8, 3).mean((1, 3))
    )  # changes are so slow that means suffice
    inside = np.s_[1:-1, 1:-1]
    difference = np.abs(pixels(smooth(256, 256)).astype(float) - blocks)
    assert np.median(difference[inside]) < 1.5


def test_grey_of_8_and_16_bits_palette_and_alpha_are_the_same_image():
    grey = smooth(32, 32)[..., 0] // 32 * 32  # few enough levels for a palette
    want = np.repeat(grey[..., None], 3, 2)
    clear = np.dstack([want, np.full_like(grey, 255)])
    for image in (
        grey,
        grey.astype(np.uint16) * 257,
        Image.fromarray(want).convert("P", palette=Image.Palette.ADAPTIVE),
        clear,
        Image.fromarray(clear).convert("LA"),
    ):
        np.testing.assert_array_equal(pixels(image), want)
    for bits in (True, False):
        ink = pixels(Image.new("1", (50, 40), bits))
        np.testing.assert_array_equal(ink, np.full((32, 32, 3), 255 * bits))


def test_transparent_parts_become_white():
    image = np.dstack([np.broadcast_to(np.uint8([200, 100, 0]), (32, 32, 3)), np.eye(32) * 0])
    image = image.astype(np.uint8)
    image[:10, :, 3], image[10:20, :, 3] = 255, 102  # opaque, 40 % opaque; the rest is transparent
    got = pixels(image).astype(int)
    for rows, want in ((got[:10], [200, 100, 0]), (got[10:20], [233, 193, 153])):
        assert np.abs(rows - want).max() <= 1  # 0.4 × colour + 0.6 × 255
    assert (got[20:] == 255).all()
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([9, 9, 9, 50, 60, 70])
    for kind in ("PNG", "GIF"):
        assert (pixels(palette, kind, transparency=1) == 255).all()
        assert (pixels(palette, kind, transparency=0) == [50, 60, 70]).all()


def test_a_jpeg_and_the_first_of_several_images_are_read():
    want = pixels(smooth(60, 80))
    assert np.abs(pixels(smooth(60, 80), "JPEG", quality=95).astype(int) - want).max() < 16
    cmyk = Image.fromarray(smooth(60, 80)).convert("CMYK")
    assert np.abs(pixels(cmyk, "JPEG", quality=95).astype(int) - want).max() < 16
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        two = file_of(red, kind, save_all=True, append_images=[blue])
        assert (read(two).pixels[..., 0] > 240).all()


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


@pytest.mark.parametrize("side", [8193, 9_500, 20_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side):
    """Our limit, Pillow's warning and Pillow's error refuse it; it has no pixels to decode."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"")
    with pytest.raises(UserError, match=r"^it: more than 67,108,864 pixels"):
        read(bomb)


def test_an_image_with_the_largest_number_of_pixels_is_read(monkeypatch):
    monkeypatch.setattr(image_files, "MAX_PIXELS", 40 * 50)
    read(file_of(smooth(40, 50)))
    with pytest.raises(UserError, match="more than 2,000 pixels"):
        read(file_of(smooth(40, 51)))


@pytest.mark.parametrize("kind", image_files.FORMATS)
def test_a_truncated_file_is_refused_unless_its_image_is_complete(kind):
    whole = file_of(smooth(40, 50), kind)
    want, messages = read(whole).pixels, []
    for length in range(0, len(whole), max(1, len(whole) // 100)):
        try:
            np.testing.assert_array_equal(read(whole[:length]).pixels, want)
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > 90
    starts = ("it: damaged: ", "it: not an image; expected PNG, ")
    assert all(message.startswith(starts) for message in messages)


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.int32), np.zeros((9, 9), np.float32)])
def test_pixels_with_an_unknown_range_are_refused(image):
    with pytest.raises(UserError, match="32 bits per pixel"):
        read(file_of(image, "TIFF"))


def test_only_images_are_opened(tmp_path):
    for content in (b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        with pytest.raises(UserError, match="it: not an image; expected PNG, JPEG"):
            read(content)
    for place, message in (
        (tmp_path, "a folder with no images"),
        (tmp_path / "no", "No such file"),
    ):
        with pytest.raises(UserError, match=f"^it: .*{message}"):
            image_files.read_image(place, "it")
