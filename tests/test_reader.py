"The reader between nbdev's documentation pass and MyST-NB, with each construct that the notebooks use."

import sys
from importlib import import_module
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))
reader = import_module("reader")
SITE = "https://me.example/walk/"
FRONT = "---\ndescription: 'Its `one` line.'\noutput-file: net.html\ntitle: From pixels\n\n---\n"


@pytest.fixture
def link():
    return reader.Links(
        site=SITE,
        files="https://code.example/blob/main/",
        pages={"03_net.ipynb": "net.ipynb", "index.ipynb": "index.ipynb"},
        symbols={"net.html#mlp": "mnist_walkthrough.net.mlp"},
    )


@pytest.fixture
def read(link):
    "Read a notebook of the given cells; gives its cells and metadata."

    def call(*cells, **options):
        nb = reader.read(new_notebook(cells=list(cells)), link, **options)
        return nb.cells, nb.metadata

    return call


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[net](03_net.ipynb)", "[net](net.ipynb)"),
        ("[net](03_net.ipynb#what-it-costs)", "[net](net.ipynb#what-it-costs)"),
        ("[here](#draw)", "[here](#draw)"),
        (f"[`mlp`]({SITE}net.html#mlp)", "{py:obj}`mlp <mnist_walkthrough.net.mlp>`"),
        (f"[`mlp()`]({SITE}net.html#mlp)", "{py:obj}`mlp() <mnist_walkthrough.net.mlp>`"),
        (f"[a *b*]({SITE}play.html#lr=0.1&x=1)", '<a href="play.html#lr=0.1&x=1">a *b*</a>'),
        ("[a](03_net.ipynb#lr=0.1&x=1)", '<a href="net.html#lr=0.1&x=1">a</a>'),
        ("[promises](../docs/promises.md)", "[promises](promises.md)"),
        ("[licence](../LICENSE)", "[licence](https://code.example/blob/main/LICENSE)"),
        ("[`nn.Linear`](https://x.example/a.html#b)", "[`nn.Linear`](https://x.example/a.html#b)"),
        (f"[[`mlp`]({SITE}net.html#mlp)](https://x.example)", "[`mlp`](https://x.example)"),
        (
            f"[a [`mlp`]({SITE}net.html#mlp), [`mlp`]({SITE}net.html#mlp) b](https://x.example)",
            "[a `mlp`, `mlp` b](https://x.example)",
        ),
        ("x[0](1) and `y[a](b)`", "x[0](1) and `y[a](b)`"),
        ("| [a](03_net.ipynb) | [b](03_net.ipynb) |", "| [a](net.ipynb) | [b](net.ipynb) |"),
    ],
)
def test_links(read, given, expected):
    cells, _ = read(new_markdown_cell(given))
    assert cells[0].source == expected


def test_front_matter_becomes_title_summary_and_description(read):
    cells, metadata = read(new_raw_cell(FRONT), below_title="Run it.")
    assert cells[0].cell_type == "markdown"
    assert cells[0].source == "# From pixels\n\n{.summary}\nIts `one` line.\n\nRun it."
    assert metadata.myst == {"html_meta": {"description": "Its one line."}}


def test_options_of_a_cell(read):
    source = (
        '#| exports\n#| echo: false\n#| fig-alt: Two lines: one rises, "one" falls.\nx = 1\n# |'
    )
    cells, _ = read(new_code_cell(source))
    assert cells[0].source == "x = 1\n# |"
    assert cells[0].metadata.tags == ["remove-input"]
    assert cells[0].metadata.mystnb.image.alt == 'Two lines: one rises, "one" falls.'


@pytest.mark.parametrize(
    ("page", "expected"),
    [("loss", "`exp`"), ("gradients", "{py:obj}`exp <mnist_walkthrough.gradients.exp>`")],
)
def test_a_name_that_tensors_have_is_ours_on_its_own_page_alone(read, link, page, expected):
    link.symbols["gradients.html#exp"] = "mnist_walkthrough.gradients.exp"
    link.page = page
    cells, _ = read(new_markdown_cell(f"[`exp`]({SITE}gradients.html#exp)"))
    assert cells[0].source == expected


def test_an_exercise_has_an_anchor(read):
    exercise = new_markdown_cell("### A loader\n\n[a](03_net.ipynb)", id="exercise-a-loader")
    cells, _ = read(exercise)
    assert cells[0].source == "(exercise-a-loader)=\n### A loader\n\n[a](net.ipynb)"


def test_imports_are_folded(read):
    imports = new_code_cell("#| exports\nimport math\nfrom a import (\n    b,\n)")
    cells, _ = read(imports, new_code_cell("import math\nx = 1"), new_code_cell("#| default_exp a"))
    assert cells[0].metadata.tags == ["hide-input"]
    assert not any("tags" in cell.metadata for cell in cells[1:])


def test_what_nbdev_adds_to_exported_source_is_dropped(read):
    source = '#| code-fold: show\n#| code-summary: "Exported source"\n#| exports\ny = 2'
    cells, _ = read(new_code_cell(source))
    assert cells[0].source == "y = 2"
    assert not cells[0].metadata


def test_widget_state_is_dropped(link):
    nb = new_notebook(metadata={"widgets": {"application/json": {}}})
    assert "widgets" not in reader.read(nb, link).metadata


def entry(read, module, name):
    cell = new_code_cell(f"#| echo: false\n#| output: asis\nshow_doc({name})")
    cells, _ = read(
        cell, module=f"mnist_walkthrough.{module}", source="https://s.example/{}".format
    )
    assert cells[0].cell_type == "markdown"
    return cells[0].source


def test_entry_of_a_function(read):
    assert entry(read, "net", "mlp") == (
        "```{py:function} mlp(*sizes, init_=init_default_, generator=None)\n"
        ":module: mnist_walkthrough.net\n\n"
        "[source](https://s.example/mlp){.source} "
        "A multilayer perceptron: `Linear` layers with `ReLU` between them; raises `ValueError` for sizes that make no net.\n\n"
        "<details><summary>Parameters</summary>\n\n"
        "| name | type | meaning |\n|---|---|---|\n"
        "| `sizes` | `int` | Numbers in, hidden units of each layer, logits out: 784, 30, 10 |\n"
        "| `init_` | `Callable[[Tensor, Tensor, Generator \\| None], None]` | "
        "Fills weights and biases of each layer |\n"
        "| `generator` | `Generator \\| None` | Draws them; torch's global one when None |\n"
        "| gives | `Sequential` |  |\n\n"
        "</details>\n\n```"
    )


def test_entry_of_a_class_holds_its_public_methods(read):
    text = entry(read, "learner", "Learner")
    assert text.startswith("````{py:class} Learner(train_dl, valid_dl, ")
    assert "\n```{py:method} Learner.fit(n_epochs, progress=True)\n" in text
    assert "__init__" not in text
    assert text.endswith("\n```\n\n````")


def test_entry_without_docments_has_no_table(read):
    text = entry(read, "data", "paeth")
    assert "{py:function} paeth(left, above, corner)" in text
    assert "<details>" not in text
