"What may lie in an image folder: what is read, what is passed over, and what is refused by its name."

import os
import shutil
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_walkthrough import ImageDataset, decode_png, digits, mnist
from mnist_walkthrough import data as page
from mnist_walkthrough.data import class_files, pack_of

needs_links = pytest.mark.skipif(os.name != "posix", reason="not run: needs links and pipes")


def image(file, value=0, size=(2, 2)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(file, "PNG")


@pytest.fixture
def folder(tmp_path):
    "Class 0 with two images of 1 and 2, class 3 with one of 3."
    for value, name in ((1, "0/1.png"), (2, "0/2.png"), (3, "3/1.png")):
        image(tmp_path / "set" / name, value)
    return tmp_path / "set"


def read(folder):
    "[(class, value of the first pixel)], the same with a pack and without one."
    ways = [ImageDataset(folder, (2, 2)), ImageDataset(folder, (2, 2))]
    ways += [ImageDataset(folder, (2, 2), decoder=decode_png)]
    found = [[*zip(w.y.tolist(), w.images[:, 0, 0].tolist(), strict=True)] for w in ways]
    assert found[0] == found[1] == found[2]
    return found[0]


RIGHT = [(0, 1), (0, 2), (3, 3)]


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "0/.DS_Store", "0/Thumbs.db", "0/desktop.ini", "0/notes.txt", "readme.md",
     "0/._1.png", "0/.png", ".git/1.png", "0/.thumbnails/1.png", "0/png", "0/3.png~", "7.png"],
)  # fmt: skip
def test_what_is_no_image_of_a_class_is_passed_over(folder, name):
    assert read(folder) == RIGHT
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"no image")
    assert read(folder) == RIGHT
    assert len(ImageDataset(folder, (2, 2), num_samples=1)) == 2


@pytest.mark.parametrize(
    "name", ["0/3.jpg", "0/3.JPEG", "0/3.tif", "0/3.bmp", "3/more/3.png", "3/3.png/1.png"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_picture_that_would_be_lost_is_refused(folder, name, packed):
    if packed:
        assert read(folder) == RIGHT
    image(folder / name)
    named = folder.joinpath(*name.split("/")[:2])
    for options in ({}, {"num_samples": 1}, {"decoder": decode_png}):
        with pytest.raises(ValueError, match="PNG files") as error:
            ImageDataset(folder, (2, 2), **options)
        assert str(error.value).startswith(f"{named}: ")


def test_an_ending_in_capitals_is_an_ending(folder):
    image(folder / "0" / "3.PNG", 7)
    image(folder / "0" / "10.Png", 8)
    assert read(folder) == [(0, 1), (0, 2), (0, 7), (0, 8), (3, 3)]


@pytest.mark.parametrize(
    "name",
    ["seven", "-1", "+1", "1.0", "1_0", " 1", "1 ", "1\n", "²", "٣", "１", "0x1", "ten", "9" * 19, "9" * 200],
)  # fmt: skip
def test_a_class_is_a_number_in_plain_digits(folder, name):
    assert read(folder) == RIGHT
    image(folder / name / "1.png")
    with pytest.raises(ValueError, match="class folders are numbers below") as error:
        ImageDataset(folder, (2, 2))
    assert repr(name) in str(error.value)
    assert str(error.value).startswith(f"{folder}: ")


def test_large_and_padded_class_numbers(folder):
    image(folder / str(2**63 - 1) / "1.png", 9)
    image(folder / "007" / "1.png", 8)
    assert read(folder) == [*RIGHT, (7, 8), (2**63 - 1, 9)]
    image(folder / "7" / "1.png")
    with pytest.raises(ValueError, match=r"each number once; found \['0', '007', '3', '7', "):
        ImageDataset(folder, (2, 2))


@pytest.mark.parametrize("count", [1, 255])
def test_one_image_and_as_many_as_a_byte_counts(tmp_path, count):
    for i in range(count):
        image(tmp_path / "0" / f"{i}.png", i)
    assert read(tmp_path) == [(0, i) for i in range(count)]


def test_an_empty_class_and_too_few_are_refused_and_named(folder):
    with pytest.raises(ValueError, match="1 PNG files, need 2") as error:
        ImageDataset(folder, (2, 2), num_samples=2)
    assert str(error.value).startswith(f"{folder / '3'}: ")
    (folder / "1").mkdir()
    with pytest.raises(ValueError, match="0 PNG files, need 1") as error:
        ImageDataset(folder, (2, 2))
    assert str(error.value).startswith(f"{folder / '1'}: ")


@pytest.mark.parametrize("n", [0, -1, 2.5, 1.0, True, "3", float("nan")])
def test_num_samples_is_a_whole_number(folder, n):
    with pytest.raises(ValueError, match="num_samples is a whole number from 1 on, got") as error:
        ImageDataset(folder, (2, 2), num_samples=n)
    assert str(error.value).endswith(repr(n))
    assert len(ImageDataset(folder, (2, 2), num_samples=np.uint8(1))) == 2


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (28, "image_size is .height, width., got 28"),
        (None, "image_size is .height, width., got None"),
        ((28,), "got .28,.$"),
        ((1, 28, 28), "got .1, 28, 28.$"),
        ("28x28", "got '28x28'"),
        ("28", "height is a whole number from 1 on, got '2'"),
        ((0, 28), "height is a whole number from 1 on, got 0"),
        ((28, -1), "width is a whole number from 1 on, got -1"),
        ((28.0, 28), "height is a whole number from 1 on, got 28.0"),
        ((28, True), "width is a whole number from 1 on, got True"),
        ((2, 3), r"0.1.png: \[2, 2\] pixels, expected \[2, 3\]"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_bad_size_is_refused(folder, size, message, packed):
    if packed:
        read(folder)
    with pytest.raises(ValueError, match=message):
        ImageDataset(folder, size)


@pytest.mark.parametrize("size", [[2, 2], torch.Size([2, 2]), np.array([2, 2]), (np.int64(2), 2)])
def test_any_pair_of_whole_numbers_is_a_size(folder, size):
    for _ in range(2):
        assert ImageDataset(folder, size).images.shape == (3, 2, 2)


@pytest.mark.parametrize(
    "name",
    ["räksmörgås", "数字", "with space", "new\nline", "a'b\"c", "%s{x}[1]*?", "~", "/".join(["d" * 200] * 15)],
)  # fmt: skip
def test_a_path_may_be_any(folder, monkeypatch, name):
    other = folder.parent / name
    other.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(other)
    assert read(other) == read(str(other)) == RIGHT
    monkeypatch.chdir(other.parent)
    assert read(other.name) == RIGHT
    with pytest.raises(FileNotFoundError, match="no folder") as error:
        ImageDataset(other / "none")
    assert str(other / "none") in str(error.value)


@pytest.mark.skipif(
    sys.platform != "linux", reason="not run: only Linux has names that are no text"
)
def test_names_that_are_no_text(folder):
    other = folder.parent / os.fsdecode(b"\xff\xfe")
    folder.rename(other)
    image(other / "0" / os.fsdecode(b"\xe9.png"), 5)
    assert read(other) == [(0, 1), (0, 2), (0, 5), (3, 3)]
    (other / os.fsdecode(b"\xe9")).mkdir()
    with pytest.raises(ValueError, match="class folders are numbers"):
        ImageDataset(other, (2, 2))


@pytest.mark.parametrize("path", [None, b"folder", 3, ["folder"]])
def test_what_is_no_path_is_a_type_error(path):
    with pytest.raises(TypeError):
        ImageDataset(path)


@pytest.mark.parametrize(
    "make", [ImageDataset, class_files, lambda f: ImageDataset(f, num_samples=1)]
)
def test_no_folder_or_a_file_in_its_place(tmp_path, make):
    (tmp_path / "file").write_text("no folder")
    for name, kind, message in (
        ("none", FileNotFoundError, "no folder .*none; expected class folders"),
        ("no\0ne", FileNotFoundError, "no folder"),
        ("file", NotADirectoryError, "file is a file; expected a folder with class folders"),
        ("file/0", FileNotFoundError, "no folder .*file.0"),
        ("d" * 300, OSError, "d" * 300),
    ):
        with pytest.raises(kind, match=message):
            make(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="need class folders 0, 1, ..., each number once; found"):
        make(tmp_path / "empty")


def test_a_folder_above_the_right_one_says_what_is_in_it():
    with pytest.raises(ValueError, match=r"found \['testing', 'training'\]"):
        ImageDataset(digits())


@needs_links
def test_links_to_images_and_folders_are_followed(folder):
    image(folder.parent / "elsewhere" / "9.png", 9)
    (folder / "0" / "9.png").symlink_to(folder.parent / "elsewhere" / "9.png")
    (folder / "5").symlink_to("../elsewhere")
    (folder.parent / "link").symlink_to(folder)
    for way in (folder, folder.parent / "link"):
        assert read(way) == [(0, 1), (0, 2), (0, 9), (3, 3), (5, 9)]
    image(folder.parent / "elsewhere" / "9.png", 8)
    assert read(folder) == [(0, 1), (0, 2), (0, 8), (3, 3), (5, 8)], (
        "what a link leads to was changed"
    )


@needs_links
@pytest.mark.parametrize("name", ["0/9.png", "9", "0/9.txt"])
@pytest.mark.parametrize("to", ["nowhere", "9.png", "."])
def test_links_to_nothing_and_in_circles_do_no_harm(folder, name, to):
    "As images they are refused, as classes they are none or hold folders, as texts nobody asks."
    link = folder / name
    link.symlink_to(link if to == "9.png" else to)
    if to == "nowhere" and name != "0/9.png":
        assert read(folder) == RIGHT
    else:
        with pytest.raises((ValueError, OSError)) as error:
            ImageDataset(folder, (2, 2))
        assert str(link) in str(error.value)


@needs_links
def test_pipes_and_devices_are_refused_not_read(folder):
    for make in (
        os.mkfifo,
        lambda f: os.symlink("/dev/zero", f),
        lambda f: os.symlink("/dev/stdin", f),
    ):
        make(folder / "0" / "9.png")
        for options in ({}, {"num_samples": 1}, {"decoder": decode_png}):
            with pytest.raises(ValueError, match="9.png: .* PNG files, not this"):
                ImageDataset(folder, (2, 2), **options)
        (folder / "0" / "9.png").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(FileNotFoundError, match="no folder .*pipe"):
        ImageDataset(folder / "pipe")
    for source in (folder / "pipe", "/dev/zero"):
        with pytest.raises(FileNotFoundError, match="no folders training and testing"):
            mnist(source)
    for name in page.IDX_FILES:
        os.mkfifo(folder / name)
    with pytest.raises(FileNotFoundError, match="no folders training and testing"):
        mnist(folder)


def test_of_idx_files_only_whole_names_count(tmp_path):
    for name in page.IDX_FILES:
        for end in (".gz.part", ".txt", "~", ".gz.crdownload"):
            (tmp_path / f"{name}{end}").write_bytes(b"half")
    assert page.find_idx(tmp_path) == []
    right = [tmp_path / f"{name}.gz" for name in page.IDX_FILES]
    for file in right:
        file.write_bytes(b"")
    assert page.find_idx(tmp_path) == right


def test_a_home_that_nobody_has_is_no_source():
    with pytest.raises(FileNotFoundError, match="~no-such-user/mnist: no folders training"):
        mnist("~no-such-user/mnist")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "0" / "2.png").unlink(),
        lambda folder: shutil.rmtree(folder / "3"),
        lambda folder: shutil.rmtree(folder),
    ],
)
def test_what_disappears_while_it_is_read_is_named(folder, monkeypatch, change):
    real = page.class_names

    def listed_then_changed(*args):
        found = real(*args)
        change(folder)
        return found

    monkeypatch.setattr(page, "class_names", listed_then_changed)
    with pytest.raises(ValueError, match=r"set.[03].\d.png: .*No such file"):
        ImageDataset(folder, (2, 2))
    assert not pack_of(folder).exists()


@pytest.mark.parametrize("options", [{}, {"num_samples": 2}, {"decoder": decode_png}])
@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "0" / "2.png").unlink(),
        lambda folder: shutil.rmtree(folder / "3"),
        lambda folder: image(folder / "0" / "1a.png"),
        lambda folder: [image(folder / "7" / f"{i}.png") for i in (1, 2)],
    ],
)
def test_images_that_come_or_go_while_others_are_read_are_noticed(
    folder, monkeypatch, change, options
):
    real = page.read_files
    image(folder / "3" / "2.png")

    def read_then_changed(*args):
        found = real(*args)
        change(folder)
        return found

    monkeypatch.setattr(page, "read_files", read_then_changed)
    time.sleep(0.02)  # the folders were just made, and a clock may be coarse
    with pytest.raises(ValueError, match="came or went while it was read|1 PNG files, need 2"):
        ImageDataset(folder, (2, 2), **options)
    assert not pack_of(folder).exists()


def test_what_is_changed_while_it_is_read_is_read_again(folder, monkeypatch):
    "The pack is of the state before: its files say that they are others now."
    real = page.read_files

    def changed_then_read(*args):
        found = real(*args)
        image(folder / "0" / "1.png", 77)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(page, "read_files", changed_then_read)
        assert ImageDataset(folder, (2, 2)).images[0, 0, 0] == 1
    assert read(folder)[0] == (0, 77)


def test_a_change_within_one_tick_of_a_slow_clock_is_seen(folder, monkeypatch):
    "Times of change as a system gives them that counts in steps of 10 ms."
    real = page.fingerprint

    class Slow:
        def __init__(self, entry):
            self.name, self.entry = entry.name, entry

        def stat(self):
            fields = self.entry.stat()
            tick = fields.st_ctime_ns // 10**7
            return type(
                "Stat", (), {"st_size": fields.st_size, "st_mtime_ns": tick, "st_ctime_ns": tick}
            )

    monkeypatch.setattr(page, "fingerprint", lambda files: real(map(Slow, files)))
    for value in range(30):
        image(folder / "0" / "1.png", value)
        assert ImageDataset(folder, (2, 2)).images[0, 0, 0] == value


def test_an_unreadable_folder_is_named(python, folder):
    "As a user who may not: root drops its rights first."
    readable = folder.rename(folder.parent / "readable")
    for name in ("all", "class", "file"):
        shutil.copytree(readable, folder.parent / name)
    code = (
        "import os\nfrom mnist_walkthrough import ImageDataset\n"
        "ImageDataset('readable', (2, 2))\n"
        "for name in ('all', 'class/0', 'file/0/1.png'): os.chmod(name, 0)\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for name in ('readable', 'all', 'class', 'file'):\n"
        "    for n in (None, 1):\n"
        "        try: print(name, len(ImageDataset(name, (2, 2), num_samples=n)))\n"
        "        except (ValueError, OSError) as error: print(name, type(error).__name__, error)\n"
    )
    folder.parent.chmod(0o755)
    done = python(code, cwd=folder.parent)
    assert done.stdout.splitlines() == [
        "readable 3",
        "readable 2",
        "all PermissionError [Errno 13] Permission denied: 'all'",
        "all PermissionError [Errno 13] Permission denied: 'all'",
        "class PermissionError [Errno 13] Permission denied: 'class/0'",
        "class PermissionError [Errno 13] Permission denied: 'class/0'",
        "file ValueError file/0/1.png: [Errno 13] Permission denied: 'file/0/1.png'",
        "file ValueError file/0/1.png: [Errno 13] Permission denied: 'file/0/1.png'",
    ], done.stderr
