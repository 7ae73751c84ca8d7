"The digits that ship with the package: their archive, its maker, and unpacking them."

import csv
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from mnist_walkthrough import digits
from mnist_walkthrough.data import cache_folder, class_files

PACKAGE = Path(__file__).resolve().parent.parent / "mnist_walkthrough"


def test_archive_is_as_its_manifest_says():
    with open(PACKAGE / "digits.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    with zipfile.ZipFile(PACKAGE / "digits.zip") as archive:
        assert archive.namelist() == [row["file"] for row in rows]
        for row in rows:
            data = archive.read(row["file"])
            assert (len(data), hashlib.sha256(data).hexdigest()) == (
                int(row["bytes"]),
                row["sha256"],
            )
    assert len(rows) == 2000
    assert (PACKAGE / "digits.zip").stat().st_size < 0.9e6


def test_a_hundred_of_each_class():
    for split in ("training", "testing"):
        assert {c: len(f) for c, f in class_files(digits() / split).items()} == dict.fromkeys(
            range(10), 100
        )


def make(root, folder, into):
    command = [sys.executable, root / "tools" / "make_digits.py", folder, "--into", into]
    return subprocess.run(command, capture_output=True, text=True)


def test_maker_makes_the_same_archive_from_the_shipped_digits_as_often_as_asked(root, tmp_path):
    "A sample of 100 of 100 is a shuffle of all: the same files, in an order of its own that repeats."
    archives = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        assert make(root, digits(), tmp_path / name).returncode == 0
        archives.append((tmp_path / name / "digits.zip").read_bytes())
    assert archives[0] == archives[1]
    made, shipped = (
        zipfile.ZipFile(f) for f in (tmp_path / "first" / "digits.zip", PACKAGE / "digits.zip")
    )
    assert {n: made.read(n) for n in made.namelist()} == {
        n: shipped.read(n) for n in shipped.namelist()
    }


def test_maker_makes_the_shipped_archive_from_the_full_set(root, tmp_path, full_set):
    assert make(root, full_set, tmp_path).returncode == 0
    for name in ("digits.zip", "digits.csv"):
        assert (tmp_path / name).read_bytes() == (PACKAGE / name).read_bytes()


def test_maker_refuses_a_folder_with_too_few(root, tmp_path):
    done = make(root, tmp_path, tmp_path)
    assert done.returncode == 1
    assert "0 PNGs; need 100" in done.stderr
    assert not list(tmp_path.iterdir())


def test_cache_folder_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_WALKTHROUGH_CACHE", str(tmp_path / "deep" / "cache"))
    assert cache_folder() == tmp_path / "deep" / "cache"
    assert digits().is_relative_to(tmp_path)


def test_unpacked_once(monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_WALKTHROUGH_CACHE", str(tmp_path))
    file = digits() / "training" / "0" / "75.png"
    before = file.stat().st_mtime_ns
    digits()
    assert file.stat().st_mtime_ns == before


def test_a_killed_unpacking_is_done_again(monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_WALKTHROUGH_CACHE", str(tmp_path))
    folder = digits().parent
    partial = folder.with_suffix(".partial")
    folder.rename(partial)
    (partial / "mnist_png" / "training" / "0" / "75.png").write_bytes(b"half")
    assert len(class_files(digits() / "training")[0]) == 100
    assert (digits() / "training" / "0" / "75.png").read_bytes() != b"half"
    assert not partial.exists()


def test_processes_that_ask_at_once_all_get_whole_digits(offline, tmp_path):
    code = (
        "from mnist_walkthrough import ImageDataset, digits\n"
        "print(len(ImageDataset(digits() / 'training')), len(ImageDataset(digits() / 'testing')))"
    )
    environment = offline | {"MNIST_WALKTHROUGH_CACHE": str(tmp_path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    assert [p.communicate(timeout=120)[0].strip() for p in started] == ["1000 1000"] * 4
    assert len([f for f in tmp_path.iterdir() if f.is_dir()]) == 1
