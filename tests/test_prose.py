"""What a page says about itself is true.

Numbers in prose are alive: each decimal number, each percentage, each number with a comma and each
"so many of 100", and each whole percentage in the text of a picture, must be among the numbers that
the same page's code prints or sets. The printed ones are kept fresh by test_notebooks, so a result
that changes makes the sentence that quotes it fail here. Reading times
are computed, equations that are referred to exist, and figures suit light and dark pages."""

import ast
import base64
import re
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from mnist_walkthrough.data import FIGURES

NOTEBOOKS = sorted(Path(__file__).resolve().parent.parent.glob("nbs/*.ipynb"))
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
QUOTED = re.compile(
    r"(?<![\w.,/])(\d[\d,]*\.\d+(?:e-?\d+)?|\d{1,3}(?:,\d{3})+"
    r"|\d[\d,]*(?=\s?\\?%| percent| of \d| instead of \d))"
)
ALT = re.compile(
    r"(?<![\w.,/])(\d[\d,]*(?= ?%| percent))"
)  # whole ones: shares with decimals are read off
N_WEIGHTS = 784 * 30 + 30 + 30 * 10 + 10  # of the walk's net
FACTS = {60_000, 70_000, 784_000, 784 * 30 + 30, N_WEIGHTS, 2 * N_WEIGHTS, 2**12, 330 * 8}
NOT_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\]\([^)]*\)|\bhttp\S+|(?:eq\.|§|CPython) ?[\d.]+|\\tag\{[\d.]+\}|\(\d+\.\d\)",
    re.S,
)
POWER = re.compile(r"\\times ?10\^\{?(-?\d+)\}?")


def value(text):
    return float(text.replace(",", "").rstrip("."))


def computed(nb):
    "All numbers in the code and in the printed outputs of a notebook."
    text = []
    for cell in nb.cells:
        if cell.cell_type == "code":
            text.append(re.sub(r"#\|.*", "", cell.source).replace("_", ""))
            for out in cell.outputs:
                text.append(out.get("text", "") + out.get("data", {}).get("text/plain", ""))
    return {value(n) for n in NUMBER.findall("\n".join(text))}


def quoted(cell):
    "The numbers that a cell quotes: in its prose, or in the text of its picture."
    if cell.cell_type == "markdown":
        return QUOTED.findall(POWER.sub(r"e\1", NOT_PROSE.sub(" ", cell.source)))
    return ALT.findall("\n".join(re.findall(r"#\| fig-alt: (.*)", cell.source)))


def unsupported(nb):
    "Quoted numbers, with their cell, that round to none of the computed ones."
    numbers, found = computed(nb) | FACTS, []
    for cell in nb.cells:
        for text in quoted(cell):
            digits, _, power = text.partition("e")
            half = 0.5 * 10.0 ** (int(power or 0) - len(digits.partition(".")[2])) * (1 + 1e-9)
            if not any(abs(n * k - value(text)) <= half for n in numbers for k in (1, 100)):
                found.append(f"{cell.id}: {text}")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_numbers_in_prose_are_printed_by_the_page(path):
    assert unsupported(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize(
    ("page", "said", "instead"),
    [
        ("03_net", "35.1", "37.6"),
        ("index", "58 instead of", "57 instead of"),
        ("index", "58 percent", "68 percent"),
        ("13_convnet", "75,706", "75,606"),
    ],
)
def test_a_stale_number_is_noticed(root, page, said, instead):
    nb = nbformat.read(root / "nbs" / f"{page}.ipynb", as_version=4)
    cell = next(cell for cell in nb.cells if said in cell.source)
    cell.source = cell.source.replace(said, instead)
    assert unsupported(nb) == [f"{cell.id}: {instead.split()[0]}"]


STAGES = [path for path in NOTEBOOKS if path.stem[0].isdecimal()]
WORDS_PER_MINUTE, SECONDS_PER_LINE = 200, 3  # of prose; of code
TEXT_WIDTH = 730  # pixels: a wider figure is shrunk, and its letters with it


def minutes(nb):
    "Reading time: the words of the prose and the lines of the code, rounded to five minutes."
    words = lines = 0
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            words += len(re.sub(r"\]\([^)]*\)", "]", cell.source).split())
        else:
            code = (line.strip() for line in cell.source.splitlines())
            lines += sum(bool(line) and not line.startswith("#|") for line in code)
    return 5 * round((words / WORDS_PER_MINUTE + lines * SECONDS_PER_LINE / 60) / 5)


def pictures(nb):
    for cell in nb.cells:
        for out in cell.get("outputs", []):
            if "image/png" in out.get("data", {}):
                yield cell.id, Image.open(BytesIO(base64.b64decode(out.data["image/png"])))


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_a_stage_says_what_to_know_and_how_long_it_takes(path):
    nb = nbformat.read(path, as_version=4)
    said = re.search(
        r"^\*Beforehand:\* .+\. \*Reading time:\* about (\d+) minutes\.$", nb.cells[1].source, re.M
    )
    assert said, "no line: *Beforehand:* ... . *Reading time:* about N minutes."
    assert int(said[1]) == minutes(nb)


def test_home_page_sums_the_reading_times(root):
    index = nbformat.read(root / "nbs" / "index.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in index.cells if cell.cell_type == "markdown")
    rows = dict(re.findall(r"\]\((\d\d_\w+)\.ipynb\), (\d+) min", text))
    assert rows == {p.stem: str(minutes(nbformat.read(p, as_version=4))) for p in STAGES}
    assert f"{sum(map(int, rows.values()))} minutes" in text


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_equations_are_numbered_and_referred_to(path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    tags = re.findall(r"\\tag\{([^}]*)\}", text)
    assert tags == [f"{int(path.stem[:2])}.{i}" for i in range(1, len(tags) + 1)]
    assert len(tags) == text.count("$$") / 2
    assert set(re.findall(r"\((\d+\.\d)\)", text)) == set(tags)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_figures_stand_on_their_ground_and_fit_the_text(path):
    for cell, picture in pictures(nbformat.read(path, as_version=4)):
        assert f"#{bytes(picture.getpixel((0, 0))[:3]).hex()}" == FIGURES["figure.facecolor"], cell
        assert picture.width <= TEXT_WIDTH, cell


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_printed_lines_are_short(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for out in cell.get("outputs", []):
            text = out.get("text", "") + out.get("data", {}).get("text/plain", "")
            assert max(map(len, text.splitlines()), default=0) <= 88, cell.id


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_imports_stand_in_cells_of_their_own(path):
    "The documentation pass executes a cell that imports, without the cells before it."
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and not cell.source.startswith("#|"):
            kinds = {
                isinstance(s, ast.Import | ast.ImportFrom) for s in ast.parse(cell.source).body
            }
            assert len(kinds) == 1, cell.id
