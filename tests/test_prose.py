"""Numbers in prose are alive: each decimal number and each percentage in a page's text must be among
the numbers that the same page's code prints or sets. The printed ones are kept fresh by
test_notebooks, so a result that changes makes the sentence that quotes it fail here."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted(Path(__file__).resolve().parent.parent.glob("nbs/*.ipynb"))
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
QUOTED = re.compile(r"(?<![\w.,/])(\d[\d,]*\.\d+(?:e-?\d+)?|\d[\d,]*(?=\s?\\?%))")
NOT_PROSE = re.compile(r"`[^`]*`|\]\([^)]*\)|\bhttp\S+|(?:eq\.|§|CPython) ?[\d.]+")
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


def unsupported(nb):
    "Quoted numbers, with their cell, that round to none of the computed ones."
    numbers, found = computed(nb), []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            for quoted in QUOTED.findall(POWER.sub(r"e\1", NOT_PROSE.sub(" ", cell.source))):
                digits, _, power = quoted.partition("e")
                half = 0.5 * 10.0 ** (int(power or 0) - len(digits.partition(".")[2])) * (1 + 1e-9)
                if not any(abs(n * k - value(quoted)) <= half for n in numbers for k in (1, 100)):
                    found.append(f"{cell.id}: {quoted}")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_numbers_in_prose_are_printed_by_the_page(path):
    assert unsupported(nbformat.read(path, as_version=4)) == []


def test_a_stale_number_is_noticed(root):
    nb = nbformat.read(root / "nbs" / "03_net.ipynb", as_version=4)
    cell = nb.cells[0]
    assert "35.1" in cell.source
    cell.source = cell.source.replace("35.1", "37.6")
    assert unsupported(nb) == [f"{cell.id}: 37.6"]
