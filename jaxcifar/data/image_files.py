"""Reads image files of any size and the usual formats as the 32×32 pixels that a net sees."""

import io
import pathlib
import warnings
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from jaxcifar.data.split import SIZE
from jaxcifar.errors import UserError, first_line, printable
from jaxcifar.system import files

# The formats that Pillow may open. For some others, such as EPS, it starts another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
MAX_BYTES = 2**28
MAX_PIXELS = 2**26  # 67 million pixels take 0.3 GB; below Pillow's own limit


class CroppedImage(NamedTuple):
    """The central square of an image, resized to the pixels that a net sees."""

    name: str
    width: int  # of the whole image, upright
    height: int
    square: tuple[int, int, int, int]  # left, top, right, bottom; the last two are exclusive
    pixels: np.ndarray  # uint8 [32, 32, 3]

    def describe_crop(self) -> str:
        """Returns the image's size and which square of it was cropped."""
        left, top, right, bottom = self.square
        size = f"{self.width}×{self.height}"
        if self.width == self.height:
            return f"{size}, all of it"
        return f"{size}, the square {left} to {right} across and {top} to {bottom} down"


def list_images(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the images in a folder, by suffix, sorted; none if the folder cannot be read."""
    try:
        return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError:
        return []


def read_image(file: pathlib.Path | BinaryIO, name: str) -> CroppedImage:
    """Returns the image in a file, or the first of several; messages call it `name`.

    The image is turned upright according to its EXIF orientation and transparent parts become
    white. Its largest central square is resized with antialiasing (bicubic). An RGB image of 32×32
    pixels stays as it is.

    Raises:
      UserError: the file cannot be read, is damaged or is not an image of `FORMATS`, or its header
        gives more than `MAX_PIXELS`, which is checked before decoding.
    """
    shown = printable(name, MAX_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd files that can still be read
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(file, pathlib.Path):
                file = io.BytesIO(files.read_bytes(file, MAX_BYTES, follow=True))
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                upright = ImageOps.exif_transpose(image)
                width, height = upright.size
                side = min(width, height)
                left, top = (width - side) // 2, (height - side) // 2
                square = (left, top, left + side, top + side)
                rgb = _to_rgb(upright.crop(square))
                small = rgb.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{shown}: more than {MAX_PIXELS:,} pixels; shrink or crop it") from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{shown}: not an image; expected {', '.join(FORMATS)}") from error
    except IsADirectoryError as error:
        raise UserError(f"{shown}: a folder with no images ({', '.join(SUFFIXES)})") from error
    except Exception as error:  # a damaged file can raise any error in Pillow's readers
        if isinstance(error, OSError) and error.strerror:  # of the system; Pillow's have none
            raise UserError(f"{shown}: cannot be read: {error.strerror}") from error
        raise UserError(f"{shown}: damaged: {first_line(error)}") from error
    return CroppedImage(name, width, height, square, np.asarray(small))


def _to_rgb(image: Image.Image) -> Image.Image:
    """Returns the image as 8-bit RGB."""
    if image.mode.startswith("I;16"):  # Pillow would clip it instead of scaling
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per pixel, of unknown range; expected 8 or 16")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
