"What `make student` writes: the notebooks, without the solutions of their exercises."

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from run_notebooks import execute


def make(root, folder):
    tool = root / "tools" / "make_student.py"
    return subprocess.run([sys.executable, tool, folder], capture_output=True, text=True)


@pytest.fixture(scope="module")
def copies(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("handed out")
    done = make(root, folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(folder) == ["student"]
    return folder / "student"


def pairs(root, copies):
    "Each notebook with its copy."
    paths = sorted(root.glob("nbs/*.ipynb"))
    assert [path.name for path in paths] == sorted(path.name for path in copies.iterdir())
    for path in paths:
        yield nbformat.read(path, 4), nbformat.read(copies / path.name, 4)


def is_solution(cell):
    return cell.id.startswith("solution-")


def test_all_but_the_solutions_is_there(root, copies):
    for whole, copy in pairs(root, copies):
        assert copy.cells == [cell for cell in whole.cells if not is_solution(cell)]
        assert copy.metadata == whole.metadata


def test_no_line_of_a_solution_is_left(root, copies):
    "Lines that the page also has elsewhere aside."
    count = 0
    for whole, copy in pairs(root, copies):
        rest = json.dumps([cell for cell in whole.cells if not is_solution(cell)])
        left = json.dumps(copy)
        for cell in filter(is_solution, whole.cells):
            count += 1
            lines = {line.strip() for line in cell.source.splitlines()} - {""}
            own = [line for line in lines if json.dumps(line)[1:-1] not in rest]
            assert own
            assert not [line for line in own if json.dumps(line)[1:-1] in left]
        assert "A solution, and why" not in left
    assert count >= 3 * 10


def test_they_are_made_anew_or_not_at_all(root, tmp_path):
    "A tool that fails half-way leaves what was there, and nothing of its own."
    old = tmp_path / "student"
    old.mkdir()
    (old / "mine.ipynb").touch()
    copy = tmp_path / "repository"
    (copy / "tools").mkdir(parents=True)
    (copy / "nbs").mkdir()
    (copy / "tools" / "make_student.py").write_bytes((root / "tools/make_student.py").read_bytes())
    (copy / "nbs" / "01_whole.ipynb").write_bytes((root / "nbs/01_data.ipynb").read_bytes())
    broken = copy / "nbs" / "02_broken.ipynb"
    broken.write_text("{")
    assert make(copy, tmp_path).returncode == 1
    assert sorted(os.listdir(tmp_path)) == ["repository", "student"]
    assert os.listdir(old) == ["mine.ipynb"]
    broken.unlink()
    assert make(copy, tmp_path).returncode == 0
    assert os.listdir(old) == ["01_whole.ipynb"]


def test_links_between_them_lead_somewhere(copies):
    links = set()
    for path in copies.iterdir():
        links |= set(re.findall(r"\]\((\w+\.ipynb)", path.read_text("utf-8")))
    assert len(links) > 7
    assert not [link for link in links if not (copies / link).exists()]


def test_one_runs_where_it_lies(copies, offline, monkeypatch):
    for name, value in (offline | {"OMP_NUM_THREADS": "1"}).items():
        monkeypatch.setenv(name, value)
    run = execute(copies / "06_metric.ipynb")
    said = [
        cell.outputs[-1]["data"]["text/plain"] for cell in run.cells if cell.id.startswith("try-")
    ]
    assert len(said) >= 3
    assert all(": not yet: " in verdict for verdict in said)


def test_make_writes_them_where_git_does_not_look(root):
    shown = subprocess.run(
        ["make", "--dry-run", "--old-file=.venv/dev", "student"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split()[1:] == ["tools/make_student.py"]
    ignored = subprocess.run(["git", "check-ignore", "student/01_data.ipynb"], cwd=root)
    assert ignored.returncode == 0
    cleaned = subprocess.run(
        ["make", "--dry-run", "clean"], cwd=root, capture_output=True, text=True, check=True
    )
    assert "student" in cleaned.stdout.split()
