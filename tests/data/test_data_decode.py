"""Image files of every size and mode as 8-bit RGB of one size."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltqlib.data.decode import decode, decode_all
from ltqlib.errors import InputError

SIZE = 16
NOISE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
GREY = NOISE[..., 0]
RGB = Image.fromarray(NOISE)


def saved(folder: Path, image: Image.Image, name: str = "a.png", **options) -> Path:
    image.save(folder / name, **options)
    return folder / name


def stacked(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def test_rgb_of_the_right_size_is_kept_as_it_is(tmp_path):
    for suffix in ("png", "bmp", "ppm", "tif"):
        pixels, resized = decode(saved(tmp_path, RGB, f"a.{suffix}"), SIZE)
        assert np.array_equal(pixels, NOISE)
        assert not resized


@pytest.mark.parametrize("suffix", ["jpg", "webp", "gif"])
def test_formats_that_lose_a_little(tmp_path, suffix):
    smooth = Image.linear_gradient("L").resize((SIZE, SIZE)).convert("RGB")
    pixels, _ = decode(saved(tmp_path, smooth, f"a.{suffix}"), SIZE)
    assert np.abs(pixels.astype(int) - np.asarray(smooth)).max() <= 12


def test_grey_and_bilevel_become_three_equal_channels(tmp_path):
    pixels, _ = decode(saved(tmp_path, Image.fromarray(GREY)), SIZE)
    assert np.array_equal(pixels, stacked(GREY))
    pixels, _ = decode(saved(tmp_path, Image.fromarray(GREY > 127)), SIZE)
    assert np.array_equal(pixels, stacked((GREY > 127) * np.uint8(255)))


def test_sixteen_bits_become_eight(tmp_path):
    deep = np.random.default_rng(1).integers(0, 65_536, (SIZE, SIZE)).astype(np.uint16)
    expected = stacked(np.rint(deep / 65_535 * 255).astype(np.uint8))
    for suffix in ("png", "tif", "pgm"):
        pixels, _ = decode(saved(tmp_path, Image.fromarray(deep), f"a.{suffix}"), SIZE)
        assert np.array_equal(pixels, expected), suffix


def test_a_palette_is_looked_up(tmp_path):
    palette = RGB.quantize(16)
    pixels, _ = decode(saved(tmp_path, palette), SIZE)
    assert np.array_equal(pixels, np.asarray(palette.convert("RGB")))


def test_transparent_parts_are_white(tmp_path):
    alpha = Image.fromarray(np.where(GREY > 127, 255, 0).astype(np.uint8))
    expected = np.where((GREY > 127)[..., None], NOISE, 255)
    with_alpha = RGB.copy()
    with_alpha.putalpha(alpha)
    pixels, _ = decode(saved(tmp_path, with_alpha), SIZE)
    assert np.array_equal(pixels, expected)
    grey = Image.fromarray(GREY)
    grey.putalpha(alpha)
    pixels, _ = decode(saved(tmp_path, grey), SIZE)
    assert np.array_equal(pixels, np.where((GREY > 127)[..., None], stacked(GREY), 255))


def test_a_transparent_color_of_a_palette_is_white(tmp_path):
    palette = RGB.quantize(16)
    pixels, _ = decode(saved(tmp_path, palette, transparency=3), SIZE)
    expected = np.asarray(palette.convert("RGB")).copy()
    expected[np.asarray(palette) == 3] = 255
    assert np.array_equal(pixels, expected)


def test_cmyk_is_converted(tmp_path):
    pixels, _ = decode(saved(tmp_path, Image.new("CMYK", (SIZE, SIZE)), "a.jpg"), SIZE)
    assert pixels.min() >= 250


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (SIZE, SIZE), color) for color in ("red", "blue")]
    for suffix in ("gif", "png", "webp"):
        options = {"lossless": True} if suffix == "webp" else {}
        file = saved(
            tmp_path, frames[0], f"a.{suffix}", save_all=True, append_images=frames[1:], **options
        )
        pixels, _ = decode(file, SIZE)
        assert (pixels == (255, 0, 0)).all(), suffix


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (300, 5), (33, 32), (15, 16)], ids=str)
def test_images_of_any_size_are_resized(tmp_path, size):
    even = Image.new("RGB", size, (10, 200, 30))
    pixels, resized = decode(saved(tmp_path, even), SIZE)
    assert resized
    assert pixels.shape == (SIZE, SIZE, 3)
    assert (pixels == (10, 200, 30)).all()


def test_making_smaller_averages(tmp_path):
    """Antialiased: a checkerboard of single pixels becomes grey, not a pattern of its own."""
    board = (np.indices((160, 160)).sum(0) % 2 * 255).astype(np.uint8)
    pixels, _ = decode(saved(tmp_path, Image.fromarray(board)), SIZE)
    assert np.abs(pixels.astype(int) - 127).max() <= 2


def test_how_many_were_resized_is_counted(tmp_path):
    files = [
        saved(tmp_path, Image.new("RGB", (side, SIZE)), f"{side}.png") for side in (15, 16, 17)
    ]
    images, resized = decode_all(files, SIZE, "decoding")
    assert images.shape == (3, SIZE, SIZE, 3)
    assert resized == 2


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of 64 KB that claims 3.6 thousand million pixels."""
    content = bytearray(png(Image.new("L", (8, 8))))
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def large() -> bytes:
    """A real image with more pixels than are taken, 84 KB on the disk."""
    return png(Image.new("1", (8_200, 8_200)))


def floating() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((8, 8), np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def deep() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 1_000_000, np.int32)).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(lambda: b"no pixels here", "it is none of PNG, JPEG", id="text"),
        pytest.param(lambda: b"", "does not decode", id="empty"),
        pytest.param(lambda: png(RGB)[:300], "does not decode", id="truncated"),
        pytest.param(lambda: png(RGB)[:60] + b"\xff" * 90, "does not decode", id="garbled"),
        pytest.param(lambda: b"%!PS-Adobe-3.0 EPSF\n(x) print\n", "is none of", id="postscript"),
        pytest.param(bomb, "has too many pixels", id="bomb"),
        pytest.param(large, "has too many pixels", id="large"),
        pytest.param(floating, "floating-point pixels; save it with 8 bits", id="floating-point"),
        pytest.param(deep, "pixels of 32 bits; save it with 8 bits", id="32-bits"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, content, says):
    file = tmp_path / "a\nb.png"
    file.write_bytes(content())
    with pytest.raises(InputError) as caught:
        decode(file, SIZE)
    assert says in str(caught.value)
    assert "a\\nb.png" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "ppm", "tif"])
def test_a_damaged_file_decodes_or_is_refused(tmp_path, suffix):
    content = saved(tmp_path, RGB, f"a.{suffix}").read_bytes()
    generator = np.random.default_rng(2)
    for _ in range(60):
        changed = bytearray(content)
        for place in generator.integers(0, min(len(content), 120), 3):
            changed[place] = generator.integers(0, 256)
        file = tmp_path / f"b.{suffix}"
        file.write_bytes(changed[: generator.integers(1, 2 * len(content))])
        with contextlib.suppress(InputError):  # nothing else may come out
            assert decode(file, SIZE)[0].shape == (SIZE, SIZE, 3)
