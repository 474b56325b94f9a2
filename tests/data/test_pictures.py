"""Reading one picture in any form, and saying what is wrong with those that cannot be read."""

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from PIL import Image
from PIL.TiffImagePlugin import SAMPLEFORMAT

from zoo.data import pictures
from zoo.data.pictures import read_picture, require_mode, require_readable
from zoo.errors import DataError, UsageError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def halves(left: tuple[int, ...], right: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    """A picture 8 wide and 4 high, its left half in one colour and its right half in another."""
    picture = Image.new(mode, (8, 4), left)
    picture.paste(right, (4, 0, 8, 4))
    return picture


@pytest.mark.parametrize(
    ("orientation", "size", "first", "last"),
    [
        (1, (8, 4), RED, BLUE),
        (2, (8, 4), BLUE, RED),
        (3, (8, 4), BLUE, RED),
        (6, (4, 8), RED, BLUE),
        (8, (4, 8), BLUE, RED),
    ],
)
def test_a_picture_stands_the_right_way_up(
    tmp_path: Path, orientation: int, size: tuple[int, int], first: tuple[int, ...], last: tuple[int, ...]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    halves(RED, BLUE).save(tmp_path / "a.png", exif=exif)
    picture = read_picture(tmp_path / "a.png")
    assert picture.size == size
    assert picture.getpixel((0, 0)) == first
    assert picture.getpixel((size[0] - 1, size[1] - 1)) == last


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_what_else_the_exif_holds_does_not_matter(tmp_path: Path, suffix: str) -> None:
    """Here a width that is a text, which no EXIF can be written with."""
    width, orientation = struct.pack("<HHI4s", 0x0100, 2, 4, b"odd"), struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + width + orientation + bytes(4)
    halves(RED, BLUE).save(tmp_path / f"a.{suffix}", exif=exif)
    assert read_picture(tmp_path / f"a.{suffix}").size == (4, 8)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, suffix: str) -> None:
    values = numpy.array([[0, 257, 257 * 100, 65535]], dtype=numpy.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    read = numpy.asarray(read_picture(tmp_path / f"a.{suffix}"))
    assert read[0, :, 0].tolist() == [0, 1, 100, 255]
    assert (read == read[:, :, :1]).all()


def test_floating_point_values_fill_the_range(tmp_path: Path) -> None:
    Image.fromarray(numpy.array([[-1.0, 0.0, 1.0]], dtype=numpy.float32)).save(tmp_path / "a.tif")
    assert numpy.asarray(read_picture(tmp_path / "a.tif"))[0, :, 0].tolist() == [0, 127, 255]


@pytest.mark.parametrize("values", [[0, 100, 200], [10**6, 10**6 + 500, 10**6 + 1000], [-(2**31), 0, 2**31 - 1]])
def test_whole_numbers_of_32_bits_fill_the_range(tmp_path: Path, values: list[int]) -> None:
    Image.fromarray(numpy.array([values], dtype=numpy.int32)).save(tmp_path / "a.tif")
    assert numpy.asarray(read_picture(tmp_path / "a.tif"))[0, :, 0].tolist() == [0, 127, 255]


def test_unsigned_numbers_of_32_bits_stay_in_their_order(tmp_path: Path) -> None:
    values = numpy.array([[0, 2**31, 2**32 - 1]], dtype=numpy.uint32)
    Image.fromarray(values.view(numpy.int32)).save(tmp_path / "a.tif")
    signed, unsigned = (struct.pack("<HHIH", SAMPLEFORMAT, 3, 1, kind) for kind in (2, 1))
    content = (tmp_path / "a.tif").read_bytes()
    assert signed in content
    (tmp_path / "a.tif").write_bytes(content.replace(signed, unsigned))
    assert numpy.asarray(read_picture(tmp_path / "a.tif"))[0, :, 0].tolist() == [0, 127, 255]


def test_numbers_of_16_bits_with_a_sign_fill_the_range(tmp_path: Path) -> None:
    """As those of computed tomography, which Pillow reads but does not write."""
    values = numpy.array([[-1024, 988, 3000]], dtype=numpy.int16)
    Image.fromarray(values.view(numpy.uint16)).save(tmp_path / "a.tif", tiffinfo={SAMPLEFORMAT: 2})
    assert Image.open(tmp_path / "a.tif").getpixel((0, 0)) == -1024
    assert numpy.asarray(read_picture(tmp_path / "a.tif"))[0, :, 0].tolist() == [0, 127, 255]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_a_problem(tmp_path: Path, value: float) -> None:
    Image.fromarray(numpy.array([[-1.0, value, 1.0]], dtype=numpy.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="it has values that are no finite numbers"):
        require_readable([tmp_path / "a.tif"])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(tmp_path: Path, mode: str) -> None:
    if mode == "P":
        picture = halves(RED, BLUE).convert("P", palette=Image.Palette.ADAPTIVE)
        picture.save(tmp_path / "a.png", transparency=picture.getpixel((0, 0)))
    else:
        halves((255, 0, 0, 0), (0, 0, 255, 255), "RGBA").convert(mode).save(tmp_path / "a.png")
    read = read_picture(tmp_path / "a.png")
    assert read.getpixel((0, 0)) == WHITE
    assert read.getpixel((7, 0)) == ((29, 29, 29) if mode == "LA" else BLUE)


def test_half_transparency_is_mixed_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("1", "png"), ("CMYK", "jpg"), ("P", "gif"), ("RGB", "webp")]
)
def test_every_kind_of_picture_is_read_as_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    Image.new("RGB", (6, 5), WHITE).convert(mode).save(tmp_path / f"a.{suffix}")
    read = read_picture(tmp_path / f"a.{suffix}")
    assert (read.mode, read.size) == ("RGB", (6, 5))
    assert all(channel >= 250 for channel in read.getpixel((3, 3)))


def test_pictures_are_read_with_as_many_channels_as_a_model_takes(tmp_path: Path) -> None:
    halves((255, 0, 0, 0), (0, 0, 255, 128), "RGBA").save(tmp_path / "clear.png")
    halves(RED, BLUE).save(tmp_path / "full.png")
    Image.fromarray(numpy.array([[0, 257 * 100]], dtype=numpy.uint16)).save(tmp_path / "deep.png")
    grey = {name: numpy.asarray(read_picture(tmp_path / f"{name}.png", "L"))[0] for name in ("clear", "full", "deep")}
    assert [grey["clear"][0], grey["full"][0], grey["full"][-1]] == [255, 76, 29]
    assert grey["deep"].tolist() == [0, 100]
    assert read_picture(tmp_path / "clear.png", "RGBA").getpixel((0, 0)) == (255, 0, 0, 0)
    assert read_picture(tmp_path / "clear.png", "RGBA").getpixel((7, 0)) == (0, 0, 255, 128)
    assert read_picture(tmp_path / "full.png", "RGBA").getpixel((0, 0)) == (*RED, 255)
    assert read_picture(tmp_path / "deep.png", "RGBA").getpixel((1, 0)) == (100, 100, 100, 255)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_as_what_pictures_are_read_follows_from_the_channels(channels: int, mode: str) -> None:
    assert require_mode(channels) == mode


@pytest.mark.parametrize("channels", [0, 2, 5])
def test_files_have_no_pictures_of_other_channels(channels: int) -> None:
    with pytest.raises(UsageError, match=f"cannot be read with {channels} channels"):
        require_mode(channels)


def test_a_picture_is_told_by_its_content_not_by_its_suffix(tmp_path: Path) -> None:
    halves(RED, BLUE).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert [*require_readable([tmp_path / "a.jpg"])] == [tmp_path / "a.jpg"]
    assert read_picture(tmp_path / "a.jpg").getpixel((0, 0)) == RED


def text(path: Path) -> None:
    path.write_text("this is a note, grüße\n")


def page(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def document(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


def short(path: Path) -> None:
    Image.effect_noise((90, 90), 50).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:1000])


def header(path: Path) -> None:
    Image.new("RGB", (90, 90)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:150])


def short_webp(path: Path) -> None:
    Image.effect_noise((90, 90), 50).save(path, "WEBP")
    path.write_bytes(path.read_bytes()[:1000])


def link(path: Path) -> None:
    path.symlink_to("nowhere.jpg")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (text, "a text file, not a picture"),
        (page, "a text file, not a picture"),
        (document, "a text file, not a picture"),
        (binary, "not a picture that can be read"),
        (short, "cut off after 1,000 bytes"),
        (header, "cut off after 150 bytes"),
        (short_webp, "cut off after 1,000 bytes"),
        (Path.touch, "empty"),
        (os.mkfifo, "not an ordinary file"),
        (Path.mkdir, "not an ordinary file"),
        (link, "a link to nothing"),
    ],
)
def test_what_cannot_be_read_is_listed_with_its_reason(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.jpg"
    halves(RED, BLUE).save(good)
    make(bad)
    seen: list[None] = []
    with pytest.raises(DataError, match="1 of 3 pictures cannot be used") as error:
        require_readable([good, bad, good], lambda: seen.append(None))
    assert error.value.hints[:-1] == (f"{bad}   {reason}",)
    assert len(seen) == 3


@pytest.mark.parametrize("error", [struct.error("not an integer"), TypeError("not an integer"), IndexError()])
def test_whatever_a_decoder_raises_is_a_problem_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    halves(RED, BLUE).save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "read_picture", fail)
    with pytest.raises(DataError, match=r"a\.png   (not an integer|IndexError)"):
        require_readable([tmp_path / "a.png"])


def test_a_picture_with_too_many_pixels_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves(RED, BLUE).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match="too many pixels"):
        require_readable([tmp_path / "a.png"])


def test_reading_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    halves(RED, BLUE).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes(), (tmp_path / "a.png").stat().st_mtime_ns
    read_picture(tmp_path / "a.png")
    assert ((tmp_path / "a.png").read_bytes(), (tmp_path / "a.png").stat().st_mtime_ns) == before


@pytest.mark.parametrize("in_memory", [0, 2**20])
def test_what_was_in_a_file_is_told_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    """However large it is."""
    monkeypatch.setattr(pictures, "IN_MEMORY", in_memory)
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c.tif")]
    for path in paths:
        halves(RED, BLUE).save(path)
    facts = require_readable([*paths, paths[0]])
    assert list(facts) == paths
    for path, told in facts.items():
        assert told.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (told.size, told.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
