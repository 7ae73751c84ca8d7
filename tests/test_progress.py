"Which exercises are solved: noted across processes, forgotten when asked, and no reason to fail."

import subprocess
import sys

import pytest
from nbdev.config import get_config

from mnist_walkthrough import check
from mnist_walkthrough.check import solved


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    "An empty place for the progress, not made yet."
    monkeypatch.setenv("MNIST_WALKTHROUGH_PROGRESS", str(tmp_path / "a" / "solved"))
    return tmp_path / "a" / "solved"


@pytest.fixture
def exercise(monkeypatch):
    "A check that everything passes."
    monkeypatch.setattr(check.core, "EXERCISES", {})  # it is not to be one of them

    @check.core.exercise(stage=1)
    def easy(answer): ...

    return easy


def test_nothing_is_solved_at_first_and_looking_makes_no_folder(folder):
    assert repr(check.progress()).startswith(f"0 of {len(check.EXERCISES)} exercises solved\n")
    assert not folder.exists()


def test_what_is_solved_is_ticked_in_its_stage():
    name, stage = next(iter(check.EXERCISES.items()))
    solved.note(name)
    assert check.progress().solved == {name}
    (line,) = (line for line in repr(check.progress()).splitlines() if "✓" in line)
    assert line.startswith(f"{stage:2}  ")
    assert f"{name}\N{NO-BREAK SPACE}✓" in line


@pytest.mark.parametrize("all_solved", [False, True])
def test_lines_are_short_and_name_every_exercise(monkeypatch, all_solved):
    many = {f"exercise_{'long_' * (i % 3)}{i}": 1 + i // 5 for i in range(50)}
    monkeypatch.setattr(check, "EXERCISES", many)
    if all_solved:
        for name in many:
            solved.note(name)
    text = repr(check.progress())
    assert max(map(len, text.splitlines())) <= 88
    ticked = text.replace("\N{NO-BREAK SPACE}", "").replace(",", "").split()
    assert {name + "✓" * all_solved for name in many} <= set(ticked)


def test_kernels_at_once_note_and_know_what_the_others_did(folder):
    code = """if True:
        import sys
        from mnist_walkthrough import check
        from mnist_walkthrough.check import solved
        print("ready", flush=True)
        input()
        for _ in range(50):
            for name in list(check.EXERCISES)[int(sys.argv[1])::2]:
                solved.note(name)
            check.progress()
        """
    kernels = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(i)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in (0, 1)
    ]
    for kernel in kernels:
        assert kernel.stdout.readline() == "ready\n"
    for kernel in kernels:
        kernel.stdin.write("\n")
        kernel.stdin.flush()
    for kernel in kernels:
        assert kernel.communicate(timeout=60) == ("", "")
    assert check.progress().solved == set(check.EXERCISES)
    assert {path.name for path in folder.iterdir()} == set(check.EXERCISES)


def test_reset_removes_its_own_files_alone_and_says_so(folder):
    first, second, *_ = check.EXERCISES
    for name in (first, second, "notes.txt"):
        solved.note(name)
    assert check.progress().solved == {first, second}
    said = check.progress(reset=True)
    assert not said.solved
    assert f"Forgot 2 that were noted in {folder}" in repr(said).splitlines()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert "Forgot" not in repr(check.progress())


def test_where_it_cannot_be_noted_the_verdict_still_comes(exercise, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "solved"
    monkeypatch.setenv("MNIST_WALKTHROUGH_PROGRESS", str(place))
    verdict = exercise(None)
    assert verdict
    assert repr(verdict) == (
        f"easy: solved.\nIt cannot be noted in {place} (Not a directory):\n"
        "set MNIST_WALKTHROUGH_PROGRESS to a folder that you may write to."
    )
    assert not check.progress().solved
    assert "It cannot be read in" in repr(check.progress())
    assert "It cannot be forgotten in" in repr(check.progress(reset=True))


def test_what_cannot_be_forgotten_is_said(folder):
    (folder / next(iter(check.EXERCISES))).mkdir(parents=True)  # is no file
    assert f"It cannot be forgotten in {folder} (" in repr(check.progress(reset=True))


def test_without_trouble_the_verdict_is_short(exercise):
    assert repr(exercise(None)) == "easy: solved."


def test_the_folder_is_the_users_where_none_is_set(monkeypatch):
    monkeypatch.delenv("MNIST_WALKTHROUGH_PROGRESS")
    assert solved.folder().parent.name == get_config().lib_name


def test_the_tests_do_not_use_the_users(python):
    done = python("from mnist_walkthrough.check import solved; print(solved.folder())")
    assert "pytest" in done.stdout
