"""Decode image files, by one stated rule (docs/inputs.md), and fit them to what a network sees."""

from __future__ import annotations

import warnings
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from eventsim.errors import InputError

# Pillow knows many more, some of which start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
# Decoded and converted, so many pixels take at most half a gigabyte. Larger JPEGs are decoded at a half, a quarter or an eighth of
# their size.
MAX_PIXELS = 2**24
# How files of several bands become grey or coloured; everything else is refused.
_CONVERTED = {
    "1": "L",
    "L": "L",
    "La": "LA",
    "RGBa": "RGBA",
    **dict.fromkeys(("P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"), "RGB"),
}
# What Pillow's names of them stand for; others say it themselves.
_MODES = {
    "1": "black and white",
    "L": "grey",
    "La": "grey with transparency",
    "LA": "grey with transparency",
    "P": "a palette",
    "PA": "a palette with transparency",
    "RGB": "RGB",
}
# TIFF's tag that says whether 0 is white or black.
_PHOTOMETRIC = 262
_WHITE = (255, 255, 255, 255)
Pixels = npt.NDArray[np.uint8]


def decode_image(stream: IO[bytes], name: str) -> tuple[Pixels, list[str]]:
    """Decode an image file.

    Greys and colours of 8 bits are taken as they are. Transparent parts are shown on white. Greys of 16 or 32 bits that all lie within
    0..255 are taken as they are, those up to 65535 divided by 257; floating-point greys within 0..1 are multiplied by 255, those
    within 0..255 rounded.

    Parameters
    ----------
    stream : binary file
    name : str
        For messages.

    Returns
    -------
    pixels : uint8 (height, width, 1 or 3)
    remarks : list of str
        What was done to them, if anything.

    Raises
    ------
    InputError
        Damaged, huge, of a format that is not read, with values that the rule does not cover, or with nothing left of the picture.
    """
    remarks: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(stream, formats=FORMATS)
            full = image.size
            if full[0] * full[1] > MAX_PIXELS:
                image.draft(None, _reduced(full))
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                remarks.append(f"decoded at {image.width}x{image.height} instead of {full[0]}x{full[1]}")
            _check_depth(image, remarks)
            if getattr(image, "n_frames", 1) > 1:
                remarks.append(f"took the first of {image.n_frames} frames")  # type: ignore[attr-defined]
            image.load()
            if image.mode[0] in "IF" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
                # Pillow turns greys of 8 bits only.
                raise InputError("has greys of more than 8 bits in which 0 is white; convert it first")
            image = ImageOps.exif_transpose(image)
            pixels = _as_bytes(image, remarks)
            _check_kept(image if image.mode != "P" else image.convert("RGBA"), pixels)
    except Image.DecompressionBombError:
        raise InputError(f"{name}: more than {MAX_PIXELS / 1e6:.1f} million pixels; resize it first") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: not an image that can be read; expected {', '.join(FORMATS)} or .npy") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise InputError(f"{name}: a damaged image ({' '.join(str(error).split()) or type(error).__name__})") from None
    return pixels, remarks


def _check_depth(image: Any, remarks: list[str]) -> None:
    """Of an image that is not decoded yet: refuse colours of which the decoder would keep the upper 8 of 16 bits."""
    for codec, _, _, arguments in image.tile:
        parts = arguments if isinstance(arguments, tuple) else (arguments,)
        if codec.startswith("ppm") and len(parts) > 1 and parts[1] != 255 and image.mode in ("L", "RGB"):
            remarks.append(f"values 0..{parts[1]} scaled to 0..255")
        elif image.mode[0] not in "IF" and any(isinstance(part, str) and ";16" in part for part in parts):
            raise InputError(f"has {_MODES.get(image.mode, image.mode)} of 16 bits, which are read at 8 bits only; convert it first")


def _reduced(size: tuple[int, int]) -> tuple[int, int]:
    """The smallest reduction by a power of two (which only JPEG decoders can do) that is small enough."""
    factor = 2
    while (size[0] // factor) * (size[1] // factor) > MAX_PIXELS - size[0] - size[1]:
        factor *= 2
    return size[0] // factor, size[1] // factor


def _as_bytes(image: Any, remarks: list[str]) -> Pixels:
    """The pixels of a Pillow image by the rule of :func:`decode_image`."""
    mode = image.mode
    if mode == "F" or mode.startswith("I"):
        values = np.asarray(image)
        clear = image.info.get("transparency")
        pixels = _scaled(values, remarks)
        if isinstance(clear, int):
            remarks.append("transparent parts shown on white")
            pixels = np.where(values == clear, np.uint8(255), pixels)
        return pixels[..., None]
    if mode in _CONVERTED and _CONVERTED[mode] in ("LA", "RGBA"):
        image = image.convert(_CONVERTED[mode])
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        grey = image.mode in ("L", "LA", "1")
        if np.asarray(rgba.getchannel("A")).min() < 255:
            remarks.append("transparent parts shown on white")
            rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba)
        image = rgba.convert("L" if grey else "RGB")
    elif mode not in _CONVERTED:
        raise InputError(f"pixels of the kind {mode} are not read; convert it to grey or RGB first")
    image = image.convert(_CONVERTED[image.mode])
    if image.mode != mode:
        remarks.append(f"converted from {_MODES.get(mode, mode)} to {_MODES[image.mode]}")
    pixels = np.asarray(image, np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _scaled(values: npt.NDArray[Any], remarks: list[str]) -> Pixels:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError("has values that are not finite; expected greys")
    low, high = values.min(), values.max()
    if low >= 0 and values.dtype.kind == "f":
        if high <= 1:
            remarks.append("greys 0..1 multiplied by 255")
            return np.rint(values * 255).astype(np.uint8)
        if high <= 255:
            remarks.append("greys 0..255 rounded")
            return np.rint(values).astype(np.uint8)
    elif low >= 0 and high <= 255:
        remarks.append(f"greys of {8 * values.dtype.itemsize} bits, none above 255, taken as they are")
        return values.astype(np.uint8)
    elif low >= 0 and high <= 65535:
        remarks.append("greys 0..65535 divided by 257")
        return (values.astype(np.uint32) // 257).astype(np.uint8)
    raise InputError(f"has greys {low:g}..{high:g}, expected 0..255, 0..65535 or floating-point numbers 0..1; convert it first")


def _check_kept(before: Any, after: npt.NDArray[Any]) -> None:
    """A picture must not become a plain area without a word."""
    if after.size and np.all(after == after[0, 0]):
        source = np.asarray(before)
        if source.size and np.any(source != source[0, 0]):
            raise InputError(
                f"the picture would become one grey or colour all over ({before.mode} to 8 bits, transparency on white); flatten it first"
            )


def fit_image(pixels: Pixels, shape: tuple[int, ...], invert: bool = False, crop: bool = False) -> tuple[Pixels, list[str]]:
    """An image in a network's input shape, and what had to be changed.

    Parameters
    ----------
    pixels : uint8 (height, width, channels), 1 or 3 channels
    shape : (height, width, channels)
    invert : bool
        Take 255 - pixel: dark on light becomes light on dark, as MNIST has it.
    crop : bool
        Take the largest part in the middle that has the shape's proportions, so that nothing is squeezed.

    Raises
    ------
    InputError
        The network's input has a number of channels that no image has, or nothing is left of the picture.
    """
    changes = []
    given = pixels
    if invert:
        changes.append("inverted")
        pixels = 255 - pixels
    if pixels.shape == shape:
        return pixels, changes
    height, width, channels = shape
    if channels not in (1, 3):
        raise InputError(f"the network's input has {channels} channels, which no image file has; give a .npy array")
    if crop:
        tall, wide = pixels.shape[0], min(pixels.shape[1], max(1, round(pixels.shape[0] * width / height)))
        if wide == pixels.shape[1]:
            tall = min(tall, max(1, round(wide * height / width)))
        if (tall, wide) != pixels.shape[:2]:
            changes.append(f"cropped from {pixels.shape[1]}x{pixels.shape[0]} to {wide}x{tall}")
            top, left = (pixels.shape[0] - tall) // 2, (pixels.shape[1] - wide) // 2
            pixels = pixels[top : top + tall, left : left + wide]
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    if pixels.shape[2] != channels:
        changes.append("converted to grey" if channels == 1 else "converted to RGB")
        image = image.convert("L" if channels == 1 else "RGB")
        _check_kept(Image.fromarray(pixels) if pixels.shape[2] == 3 else image, np.asarray(image))
    if image.size != (width, height):
        squeezed = "" if image.width * height == image.height * width else ", which changes its proportions"
        changes.append(f"resized from {image.width}x{image.height} to {width}x{height}{squeezed}")
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    fitted = np.asarray(image, np.uint8).reshape(shape)
    if np.all(fitted == fitted[0, 0]) and np.any(given != given[0, 0]):
        raise InputError(f"nothing of the picture is left, only one grey or colour ({', '.join(changes)})")
    return fitted, changes
