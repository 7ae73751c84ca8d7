"""The same numbers again: the same seed gives the same run, and nothing public changes what belongs to all.

What each public name is called with stands in calls.py, what belongs to the whole process in world.py."""

import contextlib
import copy
import inspect
import io
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import runs
import torch
from calls import CALLS, WITHOUT
from nbclient import NotebookClient
from run_notebooks import clean, stale
from safetensors.torch import load_file
from torch import Tensor, nn
from world import changes, scramble, world

from mnist_walkthrough import ImageDataset, Learner, check, cli

MODULES = {name: import_module(f"mnist_walkthrough.{name}") for name in CALLS}
PUBLIC = {
    (module, name): symbol
    for module, symbols in MODULES.items()
    for name in symbols.__all__
    if inspect.isroutine(symbol := getattr(symbols, name)) or inspect.isclass(symbol)
    if module != "check" or name not in check.EXERCISES  # these are in test_exercises.py
}
DRAWING = {
    (module, name): call for module, calls in WITHOUT.items() for name, call in calls.items()
}


def numbers(value):
    "All that a value says, to the last bit; of an object that says nothing, what it is."
    match value:
        case Tensor():
            return value.dtype, value.detach().double().tolist()
        case nn.Module():
            return numbers(value.state_dict())
        case Learner():
            rows = [{k: v for k, v in row.items() if k != "seconds"} for row in value.history]
            return numbers([value.model, rows])
        case ImageDataset():
            return numbers([value.images, value.y])
        case np.ndarray():
            return value.dtype, value.tolist()
        case dict():
            return [(k, numbers(v)) for k, v in value.items()]
        case list() | tuple():
            return [numbers(v) for v in value]
        case _:
            return type(value) if type(value).__eq__ is object.__eq__ else value


def test_each_public_name_is_called():
    assert {(module, name) for module, calls in CALLS.items() for name in calls} == PUBLIC.keys()


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_a_call_changes_nothing_for_others_and_gives_the_same_again(module, name, tmp_path):
    found = []
    for seed in (1, 2):
        (folder := tmp_path / str(seed)).mkdir()
        scramble(seed)
        before = world()
        found.append(numbers(CALLS[module][name](folder)))
        after = world()
        plt.close("all")
        if name.startswith("show_") or name == "plot_history":
            assert len(after["open figures"]) == 1
            before["open figures"] = after["open figures"]
        assert changes(before, after) == {}
    assert found[0] == found[1]


def has_generator(symbol):
    "Whether it takes a generator, or does without."
    return getattr(inspect.signature(symbol).parameters.get("generator"), "default", 0) is None


def test_what_may_be_given_a_generator_is_tried_without():
    takers = {key for key, symbol in PUBLIC.items() if has_generator(symbol)}
    assert takers - {("net", "init_zeros_")} <= DRAWING.keys()


@pytest.mark.parametrize(("module", "name"), DRAWING)
def test_without_a_generator_torchs_own_is_drawn_from_and_the_reference_says_so(module, name):
    draw, symbol = DRAWING[module, name], PUBLIC[module, name]
    found = []
    for seed in (1, 1, 2):
        scramble(seed)
        before = world()
        found.append(numbers(draw()))
        assert changes(before, world()).keys() == {"torch's generator"}
    assert found[0] == found[1] != found[2]
    source = inspect.getsource(symbol)
    said = (
        re.search(r"generator: .*?#(.*)", source, re.S)[1]
        if has_generator(symbol)
        else symbol.__doc__
    )
    handed = re.match(r" Handed to `init_`\n", said)
    assert handed or "global" in said.partition("\n")[0]


def test_importing_changes_nothing_for_others(python, root):
    "What others import is imported before; the widgets' library is one of them."
    modules = [f"mnist_walkthrough.{name}" for name in CALLS]
    code = f"""
import sys; sys.path.insert(0, {str(root / "tests")!r})
import anywidget, filelock, IPython, platformdirs, safetensors.torch, tqdm, torch.utils.data
import torch.nn.parallel, importlib.metadata, importlib.resources
from world import changes, world
before = world()
import mnist_walkthrough, mnist_walkthrough.cli, mnist_walkthrough.distributed
import {", ".join(modules)}
print(changes(before, world()))
"""
    done = python(code)
    assert done.stdout == "{}\n", done.stdout + done.stderr


def test_importing_warns_of_nothing(run):
    modules = ", ".join(f"mnist_walkthrough.{name}" for name in [*CALLS, "cli", "distributed"])
    done = run(sys.executable, "-W", "error", "-c", f"import {modules}")
    assert (done.returncode, done.stderr) == (0, "")


def table(text):
    "The rows of the command, without their times."
    return re.sub(r" +\d+\.\d+ s ", " ", text)


def test_the_command_prints_the_same_again_and_changes_nothing_for_who_calls_it(run):
    code = "from mnist_walkthrough.cli import main; main(['--epochs', '2', '--seed', '5'])"
    alone = run(sys.executable, "-c", code)
    assert alone.returncode == 0, alone.stderr
    for seed in (1, 2):
        scramble(seed)
        before, out = world(), io.StringIO()
        with contextlib.redirect_stdout(out):
            cli.main(["--epochs", "2", "--seed", "5"])
        assert changes(before, world()) == {}
        assert table(out.getvalue()) == table(alone.stdout)


@pytest.fixture(scope="module")
def elsewhere(offline, root, tmp_path_factory):
    "Makes the runs of runs.py in another process, with one thread where nothing else is said."

    def made(**settings):
        file = tmp_path_factory.mktemp("runs") / "runs"
        env = offline | {"OMP_NUM_THREADS": "1"} | settings
        command = [sys.executable, root / "tests" / "runs.py", file]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return load_file(file)

    return made


@pytest.fixture(scope="module")
def one_thread(elsewhere):
    return elsewhere(PYTHONHASHSEED="1")


def test_a_run_is_the_same_in_another_process_and_after_other_runs(one_thread):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scramble(1)
        here = dict(runs.flat(runs.runs()))
    finally:
        torch.set_num_threads(threads)
    assert here.keys() == one_thread.keys()
    assert [name for name in here if not torch.equal(here[name], one_thread[name])] == []


PAGE = Path(__file__).resolve().parent.parent / "docs" / "run.md"
SAID = re.search(
    r"After the (\d+) epochs of the walk's training, from (\w+) seeds, no parameter differs by more "
    r"than (\S+) between one thread and two, and as many of the 1,000 test digits are read correctly",
    PAGE.read_text(encoding="utf-8"),
)
OTHERS = {
    "two threads": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
    "other instructions": {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}


@pytest.fixture(scope="module", params=OTHERS)
def otherwise(request, elsewhere):
    "The runs of a process that takes its sums otherwise."
    return elsewhere(**OTHERS[request.param])


def test_otherwise_summed_it_is_as_the_page_says(one_thread, otherwise):
    epochs, seeds, bound = SAID.groups()
    assert (epochs, seeds) == ("20", "ten")
    walks = [name for name in one_thread if re.match(r"walk, (seed \d|own|library|mixed)/", name)]
    assert len({name.partition("/")[0] for name in walks}) == 10 + 3
    for name in walks:
        difference = (one_thread[name] - otherwise[name]).abs().max()
        assert difference <= float(bound), name
        if name.endswith("figures"):  # train loss, accuracy
            assert one_thread[name][1] == otherwise[name][1]


def test_otherwise_summed_pixels_and_permutations_are_the_same(one_thread, otherwise):
    drawn = [name for name in one_thread if name.startswith("drawn/")]
    assert len(drawn) == 3
    assert all(torch.equal(one_thread[name], otherwise[name]) for name in drawn)


def test_otherwise_summed_bfloat16_is_another_net(one_thread, otherwise):
    "As the page warns. If this fails, the warning can go."
    weights = [name for name in one_thread if re.match("bfloat16, convnet/.*weight", name)]
    assert max((one_thread[n] - otherwise[n]).abs().max() for n in weights) > 0.1


NOTEBOOKS = sorted(Path(__file__).resolve().parent.parent.glob("nbs/*.ipynb"))
ALL_PAGES = os.environ.get("SAME_NUMBERS") == "all"  # about twenty minutes


def again(nb, path, env):
    "Runs each cell twice, then the whole page once more in the same kernel; yields all that differs."
    client = NotebookClient(nb, timeout=900, resources={"metadata": {"path": str(path.parent)}})
    client.coalesce_streams, saved = True, copy.deepcopy(nb)
    with client.setup_kernel(env=env):
        for times in (2, 1):
            for i, cell in enumerate(nb.cells):
                for _ in range(times if cell.cell_type == "code" else 0):
                    client.execute_cell(cell, i)
                    clean(one := nbformat.v4.new_notebook(cells=[copy.deepcopy(cell)]))
                    yield from stale(nbformat.v4.new_notebook(cells=[saved.cells[i]]), one)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_that_runs_again_prints_the_same(path, offline):
    if path.stem != "05_loss" and not ALL_PAGES:
        pytest.skip("not run: SAME_NUMBERS=all runs all pages again")
    env = offline | {"OMP_NUM_THREADS": "1"}
    assert list(again(nbformat.read(path, as_version=4), path, env)) == []


def test_what_goes_on_from_where_it_was_is_noticed(tmp_path, offline):
    cells = ["import torch\ng = torch.Generator().manual_seed(0)", "torch.rand(1, generator=g)"]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    data = {"text/plain": "tensor([0.4963])"}
    nb.cells[1].outputs = [nbformat.v4.new_output("execute_result", data, execution_count=None)]
    (found,) = again(nb, tmp_path / "page.ipynb", offline)
    assert "+text/plain: tensor([0.7682])" in found
