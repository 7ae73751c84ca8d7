"""Each exercise has a solution that passes its check and at least three plausible wrong answers that fail,
each with its own message; nothing passes by doing nothing. Which answers are wrong: the folder `wrong`."""

import ast
import importlib
import re
from pathlib import Path

import nbformat
import pytest
import torch
from world import changes, world

from mnist_walkthrough import check

NOTEBOOKS = sorted(Path(__file__).resolve().parent.parent.glob("nbs/[0-9]*.ipynb"))
CELLS = {path: {c.id: c for c in nbformat.read(path, as_version=4).cells} for path in NOTEBOOKS}
EXERCISES = {
    cell_id.removeprefix("exercise-").replace("-", "_"): path
    for path, cells in CELLS.items()
    for cell_id in cells
    if cell_id.startswith("exercise-")
}
FOLDED = re.compile(
    r"<details><summary>A solution, and why</summary>\n\n```python\n(?P<code>.*?)```\n\n(?P<why>\S.*)\n\n</details>",
    re.S,
)


def part(name, kind):
    return CELLS[EXERCISES[name]][f"{kind}-{name.replace('_', '-')}"].source


def solution(name):
    return FOLDED.fullmatch(part(name, "solution")), part(name, "solution")


def stage(path):
    return path.stem[3:]


def page_names(path):
    "What a solution may use, as the page has it: its imports, and what it exports, defined anew."
    names = {"__name__": "__main__"}
    for cell_id, cell in CELLS[path].items():
        if cell_id.startswith("imports") or cell.source.startswith("#| exports"):
            exec(cell.source, names)
    return names


def asked(name):
    "The call of the check, as the notebook has it."
    last = ast.parse(part(name, "try")).body[-1]
    assert ast.unparse(last).startswith(f"check.{name}("), f"try cell of {name} ends otherwise"
    return ast.unparse(last)


def wrong_answers(name):
    return importlib.import_module(f"wrong.{stage(EXERCISES[name])}").WRONG[name]


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_WALKTHROUGH_PROGRESS", str(tmp_path / "solved"))


def test_notebooks_and_checks_have_the_same_exercises():
    assert {n: int(p.stem[:2]) for n, p in EXERCISES.items()} == check.EXERCISES
    assert set(EXERCISES) <= set(check.__all__)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stage_has_three_to_six_exercises(path):
    assert 3 <= sum(of == path for of in EXERCISES.values()) <= 6


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes_and_is_noted(name):
    folded, source = solution(name)
    assert folded, f"the solution of {name} is not folded as the others are:\n{source}"
    names = page_names(EXERCISES[name])
    exec(folded["code"], names)
    assert name not in check.progress().solved
    before = world()
    verdict = eval(asked(name), names)
    assert verdict, verdict
    assert changes(before, world()) == {}
    assert name in check.progress().solved


@pytest.mark.parametrize("name", EXERCISES)
def test_what_the_page_begins_with_does_not_pass(name):
    names = page_names(EXERCISES[name])
    exec(part(name, "try"), names)
    assert not eval(asked(name), names)


class Agreeable:
    "Claims to equal everything."

    def __eq__(self, other):
        return True

    def __call__(self, *args, **kwargs):
        return self


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize(
    "nothing",
    [
        None,
        0,
        "",
        [],
        torch.tensor(0.0),
        lambda *args, **kwargs: None,
        lambda *args, **kwargs: args[0] if args else None,
        lambda *args, **kwargs: torch.zeros(()),
        object,
        torch.nn.Module,
        torch.nn.Identity,
        Agreeable(),
    ],
    ids=lambda nothing: getattr(nothing, "__name__", repr(nothing)).strip("<>"),
)
def test_doing_nothing_does_not_pass(name, nothing):
    assert not getattr(check, name)(nothing)
    assert not check.progress().solved


@pytest.mark.parametrize("name", EXERCISES)
def test_wrong_answers_fail_each_with_its_own_message(name):
    answers = wrong_answers(name)
    assert len(answers) >= 3
    said = []
    for answer, words in answers:
        verdict = getattr(check, name)(answer)
        assert not verdict, f"passes, should say: {words}"
        assert words in verdict.wrong, verdict.wrong
        said.append(verdict.wrong)
    assert len(set(said)) == len(said), said
    assert not check.progress().solved
