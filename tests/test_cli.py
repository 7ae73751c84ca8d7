import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mnist_walkthrough.cli import main

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


def bent_folders(path):
    "What the rows of docs/errors.md speak of."
    folders = "no_testing empty_class only_class_0 class_10000 testing_has_3 one_is_cut_off"
    folders += " one_is_larger testing_is_larger one_is_a_folder"
    for name in ["good", *folders.split()]:
        folder_of_images(path / name)
    (path / "a_file").touch()
    (path / "no_testing" / "testing").rename(path / "no_testing" / "test")
    (path / "empty_class" / "training" / "3").mkdir()
    for part in ("training", "testing"):
        for label in "12":
            (path / "only_class_0" / part / label).rename(path / f"{part}{label}")
        folder_of_images(path / "of_one", classes=1) if part == "training" else None
        (path / "of_one" / part / "0").rename(path / "class_10000" / part / "10000")
    (path / "empty_class" / "testing" / "2").rename(path / "testing_has_3" / "testing" / "3")
    image = path / "one_is_cut_off" / "training" / "1" / "0.png"
    image.write_bytes(image.read_bytes()[:-2])
    Image.new("L", (9, 9)).save(path / "one_is_larger" / "training" / "1" / "0.png")
    for image in (path / "testing_is_larger" / "testing").rglob("*.png"):
        Image.new("L", (9, 9)).save(image)
    image = path / "one_is_a_folder" / "training" / "1" / "0.png"
    image.unlink()
    image.mkdir()


PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
ROWS = re.findall(r"^\| (\d+) \| `(.+)` \| `(.+)` \|$", PAGE.read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize(("status", "options", "words"), ROWS, ids=[row[1] for row in ROWS])
def test_is_refused_in_these_words(status, options, words, tmp_path, monkeypatch, capsys):
    bent_folders(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(options.split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (int(status), "")
    pattern = ".*".join(map(re.escape, words.split("…")))
    assert re.fullmatch(f"mnist_walkthrough: error: {pattern}", err.splitlines()[-1]), err


def test_the_table_is_read_whole():
    lines = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] in ("| 1", "| 2")
    ]
    assert len(ROWS) == len(lines) > 15


def test_a_colour_image_is_refused(run, tmp_path):
    done = run(COMMAND, "--data", folder_of_images(tmp_path / "colour", mode="RGB"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "expected 8-bit greyscale" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_option(run):
    done = run(COMMAND, "--help")
    assert done.returncode == 0
    for option in ("--epochs", "--seed", "--data"):
        assert option in done.stdout


def test_a_reader_that_has_seen_enough(offline, tmp_path):
    command = [COMMAND, "--data", folder_of_images(tmp_path / "good"), "--epochs", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = {name: value for name, value in offline.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, env=env, **pipes) as process:
        assert process.stdout.readline().startswith("12 images")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="not run: needs /dev/full")
@pytest.mark.parametrize(
    "options", [["--cache"], ["--epochs", "1", "--data", "good"]], ids="_".join
)
def test_a_full_disk_is_said_once(options, run, offline, tmp_path):
    folder_of_images(tmp_path / "good")
    env = {name: value for name, value in offline.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [COMMAND, *options],
            cwd=tmp_path,
            env=env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    said = "mnist_walkthrough: error: [Errno 28] No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_ctrl_c_ends_it_with_a_line(offline):
    command = [COMMAND, "--epochs", "2000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=offline, **pipes) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "\nmnist_walkthrough: interrupted\n")


def test_a_closed_stderr_does_not_stop_it(offline, tmp_path):
    command = [COMMAND, "--data", folder_of_images(tmp_path / "good"), "--epochs", "1"]
    pipe = {"stdout": subprocess.PIPE, "text": True}
    done = subprocess.run(command, env=offline, preexec_fn=lambda: os.close(2), **pipe)
    assert done.returncode == 0
    assert len(rows(done.stdout)) == 8


def test_a_terminal_that_knows_ascii_only(offline, tmp_path):
    env = offline | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "1"}
    command = [COMMAND, "--data", folder_of_images(tmp_path / "gööd"), "--epochs", "1"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(rows(done.stdout)) == 8
