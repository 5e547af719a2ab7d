"""Any image folder: what it is called, what it contains, what is kept of it."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltqlib import paths
from ltqlib.data import fingerprint, load_data
from ltqlib.data.names import class_names, shown
from ltqlib.errors import InputError


def load(folder: Path | str, **changes):
    return load_data(f"folder:{folder}", **changes)


def test_a_folder_is_read_in_the_order_of_its_classes(tiny_folder):
    data = load(tiny_folder)
    assert data.classes == ("blue", "green", "red")
    assert data.counts == (12, 12, 12)
    assert data.test.sizes == (6, 6, 6)
    strongest = data.images.mean((1, 2)).argmax(1)  # blue is channel 2
    assert np.array_equal(strongest, 2 - data.labels)
    with Image.open(tiny_folder / "test" / "green" / "00.png") as image:
        assert np.array_equal(data.test.images[6], np.asarray(image))


def test_a_relative_folder_lies_in_the_home_folder(tiny_folder):
    relative = load("tiny")
    assert relative.identity == load(tiny_folder).identity
    assert relative.name == load(f"{tiny_folder}/../tiny/").name == "tiny"


def test_identity_is_what_a_folder_contains_not_its_name(make_folder, home, write_image):
    one, other = make_folder(name="one"), make_folder(name="other")
    assert load(one).identity == load(other).identity
    assert load(one).configuration["data"].startswith("folder:")
    before = load(one)
    write_image(one / "test" / "dog" / "000.png", number=99)
    after = load(one)
    assert before.name == after.name
    assert before.identity != after.identity
    full = before.full
    assert before.fingerprint == fingerprint(*full.train, *full.test)


def test_names_of_every_kind(home, write_image):
    names = [
        b"caf\xe9",
        "café".encode(),
        b"quote\"s '",
        b"two\nlines",
        b"<img src=x onerror=alert(1)>",
        b"\xff\xfe",
        b"a b",
        "猫".encode(),
        b"$HOME `id`",
        b"-rf",
        "right\u202eleft".encode(),
    ]
    for number, name in enumerate(names):
        for split in (b"train", b"test"):
            folder = os.path.join(os.fsencode(home), b"odd", split, name)
            os.makedirs(folder)
            write_image(Path(os.fsdecode(folder)) / os.fsdecode(b"x\xe9\n.png"), number)
    data = load("odd")
    assert len(set(data.classes)) == len(names)
    assert list(data.classes) == [shown(os.fsdecode(name)) for name in sorted(names)]
    assert {"caf\\xe9", "café", "two\\nlines", "猫", "right\\u202eleft"} <= set(data.classes)
    assert json.loads(json.dumps(data.classes)) == list(data.classes)
    for name in data.classes:
        name.encode()  # no stray bytes are left
        assert name.isprintable()
    for text in (repr(data), data.note, data.name, *data.configuration):
        assert "\n" not in text


def test_a_folder_may_have_an_odd_name_itself(home, write_image):
    place = os.path.join(os.fsencode(home), b"odd\n\xff")
    for split in (b"train", b"test"):
        for name in (b"a", b"b"):
            os.makedirs(os.path.join(place, split, name))
            write_image(Path(os.fsdecode(os.path.join(place, split, name, b"1.png"))))
    data = load(os.fsdecode(place))
    assert data.name == "odd\\n\\xff"
    assert data.name in data.note
    data.note.encode()


def test_names_that_look_alike_are_told_apart():
    assert class_names(["a\nb", "a\\nb", "a\\nb (2)"]) == ("a\\nb", "a\\nb (2)", "a\\nb (2) (2)")


def test_three_hundred_classes(home, write_image):
    image = home / "one.png"
    write_image(image)
    for split in ("train", "test"):
        for number in range(300):
            (home / "many" / split / f"{number:03}").mkdir(parents=True)
            shutil.copy(image, home / "many" / split / f"{number:03}" / "1.png")
    data = load("many", imbalance_factor="natural")
    assert np.array_equal(data.labels, np.arange(300))
    assert np.array_equal(data.test.labels, np.arange(300))
    assert data.counts == (1,) * 300
    assert len(data.groups["head"]) == 150
    assert len(load("many").groups["head"]) == 120


def test_unequal_and_tiny_test_sets(make_folder):
    folder = make_folder({"a": 5, "b": 2, "c": 1}, {"a": 1, "b": 4, "c": 1})
    data = load(folder, imbalance_factor="natural")
    assert data.test.sizes == (1, 4, 1)
    choose, judge = data.test.halves()
    assert (choose.sizes, judge.sizes) == ((0, 2, 0), (1, 2, 1))
    assert len(choose.images) == 2


def test_images_of_other_sizes_are_resized_and_the_note_says_so(make_folder, write_image):
    folder = make_folder(name="mixed")
    assert "resized" not in load(folder).note
    write_image(folder / "train" / "cat" / "000.png", size=(64, 48))
    write_image(folder / "test" / "dog" / "000.png", size=(7, 900))
    data = load(folder)
    assert data.images.shape[1:] == data.test.images.shape[1:] == (32, 32, 3)
    assert "2 of 7 images resized to 32x32 pixels" in data.note
    assert load(folder).note == data.note  # also where it comes from the cache
    small = load(folder, size=16)
    assert small.images.shape[1:] == (16, 16, 3)
    assert "7 of 7 images resized to 16x16" in small.note
    assert small.identity != data.identity


def test_what_is_no_image_is_left_out(make_folder):
    folder = make_folder()
    before = load(folder)
    (folder / "train" / "labels.csv").touch()
    (folder / "train" / ".hidden").mkdir()
    (folder / "train" / "cat" / ".DS_Store").touch()
    (folder / "train" / "cat" / "._000.png").write_text("not pixels")
    (folder / "train" / "cat" / "notes.txt").touch()
    assert load(folder).identity == before.identity


def test_links_to_folders_and_files_are_followed(make_folder, home):
    folder = make_folder()
    before = load(folder)
    (folder / "train" / "cat").rename(home / "cat")
    (folder / "train" / "cat").symlink_to(home / "cat")
    (folder / "test" / "dog" / "000.png").rename(home / "dog.png")
    (folder / "test" / "dog" / "000.png").symlink_to(home / "dog.png")
    assert load(folder).identity == before.identity


def kept() -> list[Path]:
    return [path for path in paths.cache().glob("*") if path.is_file()]


def test_decoded_images_are_kept(tiny_folder, monkeypatch):
    first = load(tiny_folder)
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("decoded again"))
    second = load(tiny_folder)
    assert second.identity == first.identity
    for one, other in zip(
        (*first.full.train, *first.full.test), (*second.full.train, *second.full.test), strict=True
    ):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="cut"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"\xff" * 100, id="garbage"),
        pytest.param(lambda content: content[:-5] + b"\0\1\2\3\4", id="last-bytes"),
        pytest.param(lambda content: content.replace(b' 0"', b' 9"'), id="note"),
    ],
)
def test_damaged_kept_images_are_made_again(tiny_folder, damage):
    before = load(tiny_folder)
    [cache] = kept()
    content = cache.read_bytes()
    assert damage(content) != content
    cache.write_bytes(damage(content))
    after = load(tiny_folder)
    assert (after.identity, after.note) == (before.identity, before.note)
    assert cache.read_bytes() == content


def test_any_flipped_bit_of_kept_images_is_noticed(make_folder):
    folder = make_folder()
    before = load(folder)
    [cache] = kept()
    content = cache.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), 30):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        cache.write_bytes(changed)
        after = load(folder)
        assert (after.identity, after.note) == (before.identity, before.note)
        assert np.array_equal(after.full.train[0], before.full.train[0])


def test_a_changed_file_of_the_same_length_and_time_is_decoded_again(tiny_folder):
    file, found = tiny_folder / "test" / "red" / "05.png", []
    for color in ("black", "white"):
        Image.new("RGB", (32, 32), color).save(file, compress_level=0)
        os.utime(file, (1, 1))
        found.append((file.stat().st_size, load(tiny_folder)))
    (one_size, before), (other_size, after) = found
    assert one_size == other_size
    assert (after.test.images[17] == 255).all()
    assert after.fingerprint != before.fingerprint


def test_one_file_is_kept_of_a_folder_however_often_it_changes(tiny_folder):
    for color in ("black", "white", "red"):
        Image.new("RGB", (32, 32), color).save(tiny_folder / "test" / "red" / "05.png")
        load(tiny_folder)
        assert len(kept()) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_takes_nothing_keeps_nothing(tiny_folder, home, monkeypatch, code):
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    assert load(tiny_folder).counts == (12, 12, 12)
    assert not [path for path in (home / "runs").rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_read_is_named(make_folder, monkeypatch):
    folder = make_folder()

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"photos/train \(Permission denied\)"):
        load(folder)
