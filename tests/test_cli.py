import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

COMMAND = Path(sys.executable).parent / "mnist_walkthrough"


def rows(text):
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("parts"))
    return [line.rsplit(None, 5) for line in lines[start + 1 : -1]]


def test_the_walk_row_by_row(run):
    done = run(COMMAND, "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert "1000 images to train on, 1000 to test on; 2 epochs, seed 37" in done.stdout
    table = rows(done.stdout)
    names = ["all library"] + [
        f"+ own {s}" for s in ["data", "loader", "net", "optimizer", "loss", "metric", "learner"]
    ]
    assert [row[0] for row in table] == names
    assert len({row[1] for row in table}) == len({row[2] for row in table}) == 1
    assert all(row[5] == "none" or float(row[5]) < 1e-6 for row in table)
    assert [row[5] for row in table[:3]] == ["none"] * 3
    assert done.stderr == ""


def test_rows_appear_as_they_finish(offline):
    command = [COMMAND, "--epochs", "200"]
    with subprocess.Popen(command, env=offline, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(4)]
        still_running = process.poll() is None
        process.terminate()
    assert lines[-1].startswith("+ own data")
    assert still_running


def folder_of_images(path, size=(5, 4), mode="L", classes=3):
    for split in ("training", "testing"):
        for label in range(classes):
            (path / split / str(label)).mkdir(parents=True)
            for i in range(4):
                Image.new(mode, size, 60 * label + i).save(path / split / str(label) / f"{i}.png")
    return path


def test_a_folder_of_other_images(run, tmp_path):
    done = run(
        COMMAND, "--data", folder_of_images(tmp_path / "own images"), "--epochs", "3", "--seed", "1"
    )
    assert done.returncode == 0, done.stderr
    assert "12 images to train on" in done.stdout
    assert len(rows(done.stdout)) == 8


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--epochs", "0"], 2, "expected a whole number from 1 on, got '0'"),
        (["--epochs", "many"], 2, "got 'many'"),
        (["--seed", "-1"], 2, "expected a whole number from 0 on, got '-1'"),
        (["--data", "nowhere"], 1, "error: no folder nowhere/training"),
        (["--dat"], 2, "expected one argument"),
        (["--frobnicate"], 2, "unrecognized arguments"),
    ],
)
def test_bad_options(run, options, code, message):
    done = run(COMMAND, *options)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_folders(run, tmp_path):
    colour = folder_of_images(tmp_path / "colour", mode="RGB")
    mixed = folder_of_images(tmp_path / "mixed")
    Image.new("L", (9, 9)).save(mixed / "training" / "2" / "7.png")
    other = folder_of_images(tmp_path / "other")
    for f in (other / "testing").rglob("*.png"):
        Image.new("L", (9, 9)).save(f)
    for folder, message in (
        (colour, "expected 8-bit greyscale"),
        (mixed, "7.png: [9, 9] pixels, expected [4, 5]"),
        (other, "images of 20 pixels in training, of 81 in testing"),
    ):
        done = run(COMMAND, "--data", folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_help_names_every_option(run):
    done = run(COMMAND, "--help")
    assert done.returncode == 0
    for option in ("--epochs", "--seed", "--data"):
        assert option in done.stdout
