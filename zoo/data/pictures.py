"""Reading one picture from a file, and finding those that cannot be read."""

import hashlib
import io
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from zoo.data.listing import Facts
from zoo.errors import DataError, UsageError
from zoo.units import some

# Formats of pictures only; Pillow also knows documents (EPS, PDF) whose readers run programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
Mode = Literal["L", "RGB", "RGBA"]
WORKERS = min(16, 2 * (os.cpu_count() or 1))
IN_MEMORY = 8 * 2**20
"""Up to this size a file is read once, hashed and decoded from memory; each worker holds one."""


MODES: Mapping[int, Mode] = {1: "L", 3: "RGB", 4: "RGBA"}
"""As what a picture is read for a model that takes so many channels."""
TURNS: Mapping[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture upright, by the orientation that its EXIF tells."""


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used, and why."""

    path: Path
    reason: str


def require_mode(channels: int) -> Mode:
    """As what pictures are read for so many channels; raises UsageError where files have no such pictures.

    >>> require_mode(1)
    'L'
    """
    if channels not in MODES:
        raise UsageError(
            f"files of pictures cannot be read with {channels} channels.",
            "they give 1 (grey), 3 (colour) or 4 (colour with transparency); for others write a loop of your own",
        )
    return MODES[channels]


def require_varied(channels: int, augment: str) -> None:
    """Raise UsageError for pictures that the operations of `augment` cannot vary: Pillow has them without alpha."""
    if channels == 4 and augment in ("randaugment", "trivial"):
        raise UsageError(
            f"augment {augment} cannot vary pictures with transparency.",
            "with 4 channels take --augment none, light or standard",
        )


def read_picture(path: Path | IO[bytes], mode: Mode = "RGB") -> Image.Image:
    """A picture in one mode, the right way up, transparency on white unless it is kept, 16 bits scaled to 8.

    Values of 32 bits, whole or not, and those with a sign are spread from black to white, since nothing says how large
    they may be. A file that is open is read from its start.

    Raises OSError, SyntaxError, ValueError or Pillow's DecompressionBombError for a file that is none, and whatever
    else a broken one makes its decoder raise.
    """
    with Image.open(path, formats=FORMATS) as opened:
        opened.load()
        # Not by ImageOps, which writes the EXIF anew and fails where that holds something odd.
        turn = TURNS.get(opened.getexif().get(ExifTags.Base.Orientation))
        picture = opened.copy() if turn is None else opened.transpose(turn)
        tags = getattr(opened, "tag_v2", {})
    signed = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,)) != (1,)
    wide = tags.get(TiffImagePlugin.BITSPERSAMPLE) == (32,)
    if picture.mode == "F" or (picture.mode == "I" and (wide or signed)):
        return _spread(picture, unsigned=picture.mode == "I" and not signed).convert(mode)
    if picture.mode in ("I", "I;16", "I;16B", "I;16L"):
        # Pillow would clip at 255; 16 bits are scaled to 8 instead.
        return picture.convert("I").point(lambda value: value / 257).convert("L").convert(mode)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        if mode == "RGBA":
            return layer
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB").convert(mode)
    if mode == "RGBA" and picture.mode not in ("L", "RGB"):
        picture = picture.convert("RGB")
    return picture.convert(mode)


def _spread(picture: Image.Image, *, unsigned: bool) -> Image.Image:
    """Grey values of 32 bits or with a sign, the least as black and the greatest as white.

    Raises ValueError where one is not finite.
    """
    import numpy

    values = numpy.asarray(picture)
    if unsigned:
        # Pillow reads the upper half of the unsigned numbers as negative ones.
        values = values.view(numpy.uint32)
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(high - low):
        raise ValueError("it has values that are no finite numbers")
    scale = 255 / ((high - low) or 1.0)
    spread = (numpy.multiply(values, scale, dtype=numpy.float64) - low * scale).astype(numpy.float32)
    return Image.fromarray(spread.clip(0, 255).astype(numpy.uint8))


def require_readable(
    paths: Sequence[Path], seen: Callable[[], None] | None = None, most: int = 20
) -> dict[Path, Facts]:
    """Decode every file in full and tell what was in it, from a single read of each.

    Raises DataError that lists the files that cannot be decoded, `most` of them by name.
    """
    looked = list(_looked_at(paths, seen))
    problems = [each for each in looked if isinstance(each, Problem)]
    if not problems:
        return {path: each for path, each in zip(paths, looked, strict=True) if isinstance(each, Facts)}
    lines = [f"{problem.path}   {problem.reason}" for problem in problems[:most]]
    if len(problems) > most:
        lines.append(f"… and {len(problems) - most:,} more")
    raise DataError(
        f"{len(problems):,} of {some(len(paths), 'picture')} cannot be used:",
        *lines,
        "mend them or move them away.",
    )


def problems_of(paths: Sequence[Path]) -> dict[Path, str]:
    """Why files cannot be decoded, for those that cannot."""
    return {each.path: each.reason for each in _looked_at(paths, None) if isinstance(each, Problem)}


def _looked_at(paths: Iterable[Path], seen: Callable[[], None] | None) -> Iterator[Facts | Problem]:
    # Filters are the process's, not a thread's: they are set once around all of the work.
    with ThreadPoolExecutor(WORKERS) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in pool.map(_look_at, paths):
            if seen:
                seen()
            yield each


def _absent(path: Path) -> str:
    """Why there is no file to read."""
    if path.exists():
        return "not an ordinary file"
    return "a link to nothing" if path.is_symlink() else "there is no such file"


def _look_at(path: Path) -> Facts | Problem:
    if not path.is_file():
        return Problem(path, _absent(path))
    try:
        with path.open("rb") as file:
            # The time comes before the content: an edit in between then counts as one, instead of going unseen.
            status = os.fstat(file.fileno())
            content = io.BytesIO(file.read()) if status.st_size <= IN_MEMORY else file
            digest = hashlib.file_digest(content, "sha256")
            read_picture(content)
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise whatever a broken file leads them to, struct.error and TypeError too.
        return Problem(path, _reason(path, error))
    return Facts(status.st_size, status.st_mtime_ns, digest.hexdigest())


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "may not be read"
    size = path.stat().st_size
    if size == 0:
        return "empty"
    if isinstance(error, UnidentifiedImageError):
        start = path.read_bytes()[:512]
        if all(byte in b"\t\n\r\f" or byte >= 32 for byte in start) and _is_text(start):
            return "a text file, not a picture"
        return "not a picture that can be read"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels"
    if any(word in str(error).lower() for word in ("truncated", "reached eof")) or _is_short(path, size):
        return f"cut off after {size:,} bytes"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _is_short(path: Path, size: int) -> bool:
    """Whether a WebP says of itself that it is longer than its file; Pillow says nothing of why it fails."""
    with path.open("rb") as file:
        start = file.read(12)
    return start[:4] == b"RIFF" and start[8:] == b"WEBP" and int.from_bytes(start[4:8], "little") + 8 > size


def _is_text(start: bytes) -> bool:
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character may be cut at the end of what was read.
        return error.start > len(start) - 4
    return True
