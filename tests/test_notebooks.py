"Every notebook runs from top to bottom in a fresh kernel, offline, and still prints what it has saved."

import copy
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nbformat
import pytest
from run_notebooks import clean, execute, stale

COMPARED_ON = (3, 11)  # outputs are saved with this Python; with others the notebooks only run
NOTEBOOKS = sorted(Path(__file__).resolve().parent.parent.glob("nbs/*.ipynb"))


@pytest.fixture(scope="module")
def executed(offline, request):
    "The notebooks whose test is chosen, running two at a time: {path: future of the executed notebook}."
    tests = [i for i in request.session.items if i.name.startswith("test_runs_and_is_fresh[")]
    patch = pytest.MonkeyPatch()
    for name, value in offline.items():
        patch.setenv(name, value)
    patch.setenv("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        paths = [test.callspec.params["path"] for test in tests]
        yield {path: pool.submit(execute, path) for path in paths}
    patch.undo()


def test_all_are_there():
    names = ["data", "loader", "net", "optimizer", "loss", "metric", "learner", "play"]
    names += ["gradients", "inspect", "speed", "accuracy", "convnet", "scale"]
    expected = [f"{i:02}_{name}" for i, name in enumerate(names, 1)] + ["index"]
    assert [path.stem for path in NOTEBOOKS] == expected


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_and_is_fresh(path, executed):
    saved, fresh = nbformat.read(path, as_version=4), executed[path].result()
    if sys.version_info[:2] == COMPARED_ON:
        assert not stale(saved, fresh), "\n".join(stale(saved, fresh))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_clean(path):
    "As `make notebooks` leaves it: no execution counts, no foreign metadata, no warnings."
    nb = nbformat.read(path, as_version=4)
    cleaned = copy.deepcopy(nb)
    clean(cleaned)
    assert nbformat.writes(cleaned) + "\n" == path.read_text(encoding="utf-8")
    for cell in nb.cells:
        for out in cell.get("outputs", []):
            assert out.output_type != "error"
            assert out.get("name") != "stderr", f"{cell.id} warns: {out.text}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_picture_has_a_text_and_every_code_cell_is_short(path):
    for cell in nbformat.read(path, as_version=4).cells:
        pictures = [o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        assert not pictures or "#| fig-alt:" in cell.source, f"{cell.id} has a picture without text"
        assert cell.cell_type != "code" or len(cell.source.splitlines()) <= 40, cell.id


def changed(path, before, after):
    "A saved notebook, and one in which an output reads otherwise."
    saved = nbformat.read(path, as_version=4)
    fresh = copy.deepcopy(saved)
    cell = next(
        c for c in fresh.cells if any(before in o.get("text", "") for o in c.get("outputs", []))
    )
    for out in cell.outputs:
        out["text"] = out["text"].replace(before, after)
    return stale(saved, fresh)


@pytest.mark.parametrize(
    ("before", "after", "is_stale"),
    [
        ("84.1 ± 1.0 %", "84.5 ± 1.0 %", False),
        ("84.1 ± 1.0 %", "85.1 ± 1.0 %", True),
        ("84.1 ± 1.0 %", "84.1 ± 1.1 %", True),
        ("shuffled:", "sorted:", True),
        ("20 steps", "21 steps", True),
    ],
)
def test_stale_outputs_are_noticed(root, before, after, is_stale):
    assert bool(changed(root / "nbs" / "02_loader.ipynb", before, after)) == is_stale


def test_times_are_ignored_and_missing_pictures_are_not(root):
    path = root / "nbs" / "02_loader.ipynb"
    saved = nbformat.read(path, as_version=4)
    fresh = copy.deepcopy(saved)
    cost = next(c for c in fresh.cells if c.id == "cost")
    cost.outputs[0]["text"] = cost.outputs[0]["text"].replace("1", "2")
    assert cost.outputs != next(c for c in saved.cells if c.id == "cost").outputs
    assert not stale(saved, fresh)
    next(c for c in fresh.cells if c.id == "cost-picture").outputs = []
    assert stale(saved, fresh)


@pytest.mark.parametrize("module", ["__main__", "another"])
@pytest.mark.parametrize(
    "kind", ["DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"]
)
def test_a_deprecation_in_a_kernel_fails(tmp_path, module, kind):
    "Also one that is attributed to the module of somebody else, as those of matplotlib are."
    code = f"import warnings\nwarnings.warn_explicit('old', {kind}, 'file', 1, {module!r})"
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(nb, tmp_path / "page.ipynb")
    with pytest.raises(RuntimeError, match=f"warns\n.*{kind}: old"):
        execute(tmp_path / "page.ipynb")


def test_offline_means_offline(python):
    done = python("import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)")
    assert "tests run without network" in done.stderr
