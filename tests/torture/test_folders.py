"""Image folders as users have them, and worse: decoded to what they hold, or refused."""

import io
import os
import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torture_tools as tools
from PIL import Image, PngImagePlugin
from torture_tools import many

import ltqlib as ltq
from ltqlib.errors import InputError

SPLITS = ("train", "test")
LONGEST = 10.0  # seconds of the processor
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
SIDES = (1, 2, 7, 31, 32, 33, 300)
NAMES = (
    *(b"cat", b"dog", b"a b", b"'", b'"', b"`id`", b"$(touch x)", b";", b"&", b"|", b"*", b"?"),
    *(b"<script>alert(1)", b"<img src=x onerror=alert(1)>", b"&lt;", b"{{ 7*7 }}", b"%s"),
    *(b"a\nb", b"a\rb", b"\t", b"\x1b[31m", b"\xff\xfe", b"\xe9", b"-rf", b"--help", b"~", b"..."),
    *("\u202eexe".encode(), "e\u0301".encode(), "\xe9".encode(), "\N{DUCK}".encode(), b"CON", b"0"),
    *(b"x" * 255, "\u200b".encode(), b"$x^2$", b"\\frac", b"[a](javascript:x)", b"NaN", b" "),
)


def put(file: bytes, image: Image.Image | bytes, kind: str = "PNG", **options: object) -> None:
    os.makedirs(os.path.dirname(file), exist_ok=True)
    content = image
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        content = buffer.getvalue()
    with open(file, "wb") as stream:
        stream.write(content)


def noise(mode: str, width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode in ("I;16", "I", "F"):
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).convert(mode)
    return image.convert("RGBA").convert(mode) if mode in ("LA", "PA") else image.convert(mode)


def read(row: tools.Tally, what: str, classes: int | None = None) -> None:
    """Load the folder; what is accepted must be shown on one line and be what was there."""
    started = time.process_time()
    try:
        data = ltq.load_data("folder:photos", "natural")
        images, tested = data.images, data.test.images
    except InputError as error:
        row.check(tools.one_line(str(error)), "refused in one line", f"{what}: {error!r}")
    except Exception as error:
        row.failed(f"{what}: {type(error).__name__}: {error}")
    else:
        right = classes in (None, len(data.classes)) and len(set(data.classes)) == len(data.classes)
        right &= all(name.isprintable() for name in (*data.classes, data.name, data.note))
        right &= images.shape == (len(data.labels), 32, 32, 3) and len(tested) > 0
        right &= images.dtype == np.uint8 and repr(data).isprintable()
        row.check(right, "accepted", f"{what}: {data!r}")
    if (seconds := time.process_time() - started) > LONGEST:
        row.failed(f"{what}: {seconds:.0f} s")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    return tmp_path


def class_folder(home: Path, split: str, name: bytes) -> bytes:
    return os.path.join(os.fsencode(home), b"photos", split.encode(), name)


def clear(home: Path) -> None:
    """No folder any more; names of any bytes."""
    for place, folders, files in os.walk(os.path.join(os.fsencode(home), b"photos"), topdown=False):
        for name in files:
            os.unlink(os.path.join(place, name))
        for name in folders:
            path = os.path.join(place, name)
            os.unlink(path) if os.path.islink(path) else os.rmdir(path)


def test_generated_folders(tally, home):
    """Classes of any name, files of any mode, format and size, some of them none."""
    draw = random.Random(7)
    with tally("inputs", "generated image folders: names, modes, formats, sizes") as row:
        for number in range(many(40, 400)):
            clear(home)
            names = draw.sample(NAMES, draw.randint(2, 4))
            if draw.random() < 0.3:
                odd = bytes(draw.choice([b for b in range(1, 256) if b != 47]) for _ in range(6))
                names.append(odd)
            told = [f"folder {number}", repr(names)]
            for name in names:
                for split, count in (("train", draw.randint(1, 3)), ("test", 1)):
                    for index in range(count):
                        file = class_folder(home, split, name) + b"/%d." % index
                        told.append(random_file(draw, file))
            read(row, ", ".join(told))


def random_file(draw: random.Random, file: bytes) -> str:
    """An image in a mode, format and size of chance, as far as the format has it; or garbage."""
    mode, kind = draw.choice(MODES), draw.choice(FORMATS)
    if draw.random() < 0.02:
        put(file + b"png", draw.randbytes(draw.choice([0, 1, 50, 1000])))
        return "garbage"
    image = noise(mode, draw.choice(SIDES), draw.choice(SIDES), draw.randrange(99))
    try:
        put(file + kind.lower().encode(), image, kind)
    except (OSError, KeyError, ValueError):  # the format does not have the mode
        put(file + b"png", noise("RGB", 9, 9, 0))
        mode, kind = "RGB", "PNG"
    return f"{mode} {kind} {image.size}"


# --- made by hand ---


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def animated(kind: str) -> bytes:
    frames = [noise("RGB", 20, 20, seed) for seed in range(4)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=10)
    return buffer.getvalue()


def with_text(size: int) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("x", "a" * size, zip=True)
    buffer = io.BytesIO()
    noise("RGB", 9, 9, 0).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 99
IMAGES: dict[str, Callable[[], bytes]] = {  # one file of a class, in place of an image of noise
    "an animated GIF": lambda: animated("GIF"),
    "an animated WebP": lambda: animated("WEBP"),
    "an animated PNG": lambda: animated("PNG"),
    "a TIFF of several pages": lambda: animated("TIFF"),
    "81 million pixels in a kilobyte": lambda: saved(Image.new("1", (9_000, 9_000)), "PNG"),
    "a header of 4 billion pixels": lambda: png(65_535, 65_535, chunk(b"IDAT", b"")),
    "a header of no pixels": lambda: png(0, 0, chunk(b"IDAT", b"")),
    "one row of 60,000 pixels": lambda: saved(noise("RGB", 60_000, 1, 0), "PNG"),
    "data that unpack to 100 MB": lambda: png(
        9, 9, chunk(b"IDAT", zlib.compress(bytes(100_000_000), 9))
    ),
    "a text of 50 MB": lambda: with_text(50_000_000),
    "an unknown orientation": lambda: saved(noise("RGB", 9, 9, 0), "JPEG", exif=EXIF),
    "half a JPEG": lambda: saved(noise("RGB", 99, 99, 0), "JPEG")[:3_000],
    "a PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(id) run\n",
    "an SVG with a script": lambda: b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "a zip": lambda: b"PK\x03\x04" + bytes(100),
    "a pickle": lambda: b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85R.",
    "a GIF whose frame is larger than it": lambda: (
        b"GIF89a\x02\0\x02\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;"
    ),
    "a PPM that promises more": lambda: b"P6 60000 1000 255\n" + bytes(10),
    "a PPM of 65,535 levels": lambda: b"P6 2 2 65535\n" + bytes(range(24)),
    "a BMP upside down": lambda: saved(noise("RGB", 5, 9, 0), "BMP").replace(
        struct.pack("<i", 9), struct.pack("<i", -9), 1
    ),
    "nothing": lambda: b"",
}


def test_odd_images(tally, home):
    with tally("inputs", "image files made by hand: animated, bombs, half, none at all") as row:
        for what, make in IMAGES.items():
            clear(home)
            for split in ("train", "test"):
                for name in (b"cat", b"dog"):
                    put(class_folder(home, split, name) + b"/0.png", noise("RGB", 9, 9, 0))
            put(class_folder(home, "train", b"dog") + b"/1.png", make())
            read(row, what, 2)


def tree(home: Path, classes: int) -> None:
    for number in range(classes):
        for split in ("train", "test"):
            put(class_folder(home, split, b"c%d" % number) + b"/0.png", noise("L", 4, 4, number))


def alike(names: tuple[bytes, ...]) -> Callable[[Path], object]:
    def make(photos: Path) -> None:
        for split in ("train", "test"):
            for name in names:
                put(class_folder(photos.parent, split, name) + b"/0.PNG", noise("L", 4, 4, 0))

    return make


def linked(place: str, target: str) -> Callable[[Path], object]:
    return lambda photos: (photos / place).symlink_to(target)


def circle(photos: Path) -> None:
    linked("train/a", "b")(photos)
    linked("train/b", "a")(photos)


FOLDERS: dict[str, Callable[[Path], object]] = {  # what is done to a folder of two classes
    "300 classes": lambda photos: tree(photos.parent, 300),
    "one class": lambda photos: [(photos / s / "c1").rename(photos / f"{s}-1") for s in SPLITS],
    "a class that is its own parent": linked("train/c2", ".."),
    "a class that is the root": linked("train/c2", "/"),
    "a link to itself": linked("train/c1/1.png", "1.png"),
    "two links in a circle": circle,
    "an image that is /dev/zero": linked("train/c1/1.png", "/dev/zero"),
    "an image that is /dev/stdin": linked("train/c1/1.png", "/dev/stdin"),
    "an image from elsewhere": linked("train/c1/1.png", "../c0/0.png"),
    "a pipe": lambda photos: os.mkfifo(photos / "train/c1/1.png"),
    "a file among the classes": lambda photos: (photos / "train/notes.txt").touch(),
    "hidden files": lambda photos: (photos / "train/c1/.1.png").touch(),
    "a class without images": lambda photos: (photos / "train/x").mkdir(),
    "deep below": lambda photos: (photos / "train/c1" / "/".join("x" * 200)).mkdir(parents=True),
    "names alike but for their case": alike((b"cat", b"CAT", b"Cat")),
    "names alike once shown": alike((b"\xff", b"\\xff", b"\\xff (2)")),
}


def test_odd_folders(tally, home):
    with tally("inputs", "image folders made by hand: links, pipes, 300 classes") as row:
        for what, alter in FOLDERS.items():
            clear(home)
            tree(home, 2)
            alter(home / "photos")
            read(row, what)


def test_a_folder_lives(tally, home):
    """More classes than a byte has, names of any kind, fewest images: all of `ltq run`."""
    names = [*NAMES, *(b"c%d" % number for number in range(many(3, 300)))]
    for number, name in enumerate(names):
        for split in ("train", "test"):
            put(class_folder(home, split, name) + b"/0.png", noise("RGB", 32, 32, number))
    recipe = ("--epochs=1", "--stage2-images=64", "--threads=1", "--device=cpu")
    told = ("--profile=smoke", "--data=folder:photos", "--imbalance-factor=natural", *recipe)
    until = "--until=decouple" if tools.MODE == "quick" else "--until=evaluate"
    steps = [("run", *told, until), ("show",), ("publish",)]
    with tally("inputs", "such a folder trained, evaluated, shown and published") as row:
        for step in steps:
            code = tools.run(home, [step])
            text = tools.told_by(home).read_text(errors="replace")
            shown = "Traceback" not in text and "\x1b" not in text
            row.check(code == 0 and shown, "done", f"{step[0]}: exit code {code}: {text[-800:]}")
