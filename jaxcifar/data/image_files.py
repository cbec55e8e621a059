"""Image files of any size and the usual kinds, as the 32×32 pixels that a net sees."""

import pathlib
import warnings
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from jaxcifar.data.split import SIZE
from jaxcifar.errors import UserError, first_line

# What Pillow may open as. Not all it can: for some (EPS) it starts another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
MAX_PIXELS = 2**26  # 67 million are 0.3 GB once decoded; below Pillow's own limit


class Picture(NamedTuple):
    """What is looked at of an image: its centre square, and what came of it."""

    name: str
    width: int  # of the whole image, upright
    height: int
    square: tuple[int, int, int, int]  # left, top, right, bottom, the last two not in it
    pixels: np.ndarray  # uint8 [32, 32, 3]

    def looked_at(self) -> str:
        """Says which square of the image that is."""
        left, top, right, bottom = self.square
        size = f"{self.width}×{self.height}"
        if self.width == self.height:
            return f"{size}, all of it"
        return f"{size}, the square {left} to {right} across and {top} to {bottom} down"


def inside(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the images in a folder, by their suffixes, in order; none where it cannot be read."""
    try:
        return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError:
        return []


def read(file: pathlib.Path | BinaryIO, name: str) -> Picture:
    """Returns the image in a file, called `name` in what is said of it; of several, the first.

    Turned upright as its EXIF says, transparent parts on white; the largest square about the
    centre, resized with antialiasing (bicubic). An image of 32×32 RGB comes out as it is.

    Raises:
      UserError: the file cannot be read; is not an image of `FORMATS`, or a damaged one; or says
        that it has more than `MAX_PIXELS`, which is seen before any is decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd and still read
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                upright = ImageOps.exif_transpose(image)
                width, height = upright.size
                side = min(width, height)
                left, top = (width - side) // 2, (height - side) // 2
                square = (left, top, left + side, top + side)
                rgb = _rgb(upright.crop(square))
                small = rgb.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"{name}: more than {MAX_PIXELS:,} pixels; make it smaller, or cut a part out"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{name}: not an image; expected {', '.join(FORMATS)}") from error
    except IsADirectoryError as error:
        raise UserError(f"{name}: a folder with no images ({', '.join(SUFFIXES)})") from error
    except OSError as error:
        if error.strerror:  # the system's; Pillow's have none
            raise UserError(f"{name}: cannot be read: {error.strerror}") from error
        raise UserError(f"{name}: damaged: {first_line(error)}") from error
    except Exception as error:  # Pillow's readers let pass whatever comes up in a damaged file
        raise UserError(f"{name}: damaged: {first_line(error)}") from error
    return Picture(name, width, height, square, np.asarray(small))


def _rgb(image: Image.Image) -> Image.Image:
    """Returns the image as 8-bit RGB."""
    if image.mode.startswith("I;16"):  # which Pillow would clip, not scale
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per pixel, of unknown range; expected 8 or 16")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
