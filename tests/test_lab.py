"A real JupyterLab: Run All Cells leaves no error in any notebook, and what is drawn reaches Python."

import json
import re
import shutil
import sys
import time
from pathlib import Path

import nbformat
import pytest
from browser import free_port, server

AT_ONCE = 2
SECONDS = 300  # that one notebook may take
SETTINGS = {
    # every cell in the DOM, not only those in view
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
NOTEBOOK = ".jp-NotebookPanel"
# "idle" is also shown before there is a kernel, and cells come one by one
READY = """([notebook, cells]) => {
    const question = document.querySelector('.jp-Dialog');
    if (question) throw new Error('JupyterLab asks: ' + question.innerText);
    const panel = document.querySelector(notebook);
    const kernel = panel?.querySelector('.jp-Toolbar-kernelName')?.textContent;
    const status = panel?.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status;
    return kernel && kernel !== 'No Kernel' && status === 'idle'
        && panel.querySelectorAll('.jp-Cell').length === cells;
}"""
FINISHED = """notebook => {
    const panel = document.querySelector(notebook);
    const prompts = [...panel.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
    const status = panel.querySelector('.jp-Notebook-ExecutionIndicator').dataset.status;
    return status === 'idle' && prompts.some(p => /\\d/.test(p.textContent))
        && !prompts.some(p => p.textContent.includes('*'));
}"""


@pytest.fixture(scope="module")
def lab(offline, tmp_path_factory):
    "A JupyterLab with settings of its own; yields its address and the empty folder that it shows."
    home, shown = tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("lab")
    for name, values in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    env = offline | {"OMP_NUM_THREADS": "1"} | {k: str(home / v) for k, v in folders.items()}
    port = free_port()
    options = {"ip": "127.0.0.1", "port": port, "ServerApp.port_retries": 0}
    options |= {"ServerApp.root_dir": shown, "IdentityProvider.token": "", "LabApp.news_url": ""}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with server(command, port, "/api/status", env=env, cwd=shown) as url:
        yield url, shown


def menu(page, title, command):
    page.locator(".lm-MenuBar-item", has_text=re.compile(f"^{title}$")).click()
    page.locator(f'.lm-Menu-item[data-command="{command}"]').first.click()


def show(browser, url, path):
    "A page that shows the notebook."
    page = browser.new_page()
    page.goto(f"{url}/lab/workspaces/{path.stem}/tree/{path.name}?reset")
    cells = len(nbformat.read(path, as_version=4).cells)
    page.wait_for_function(READY, arg=[NOTEBOOK, cells], timeout=60_000)
    return page


def start(browser, url, path):
    "A page that shows the notebook, with Run All Cells chosen."
    page = show(browser, url, path)
    menu(page, "Run", "runmenu:run-all")
    return page


def run_cell(page, i, source=None):
    "Run a cell, with other code in it if there is some; gives the cell."
    cell = page.locator(".jp-CodeCell").nth(i)
    cell.locator(".cm-content").click()
    if source:
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(source)
    page.keyboard.press("Control+Enter")
    page.wait_for_function(FINISHED, arg=NOTEBOOK)
    return cell


def words(place):
    return " ".join(place.inner_text().split())


def close(page, path):
    "Save the notebook as it has run, end its kernel and close the page."
    with page.expect_response(lambda r: r.request.method == "PUT" and "/api/contents/" in r.url):
        menu(page, "File", "docmanager:save")
    with page.expect_response(lambda r: r.request.method == "DELETE"):
        menu(page, "Kernel", "kernelmenu:shutdown")
    page.close()


def wrong(path):
    "What went wrong in a notebook that has run: errors, and cells that were not reached."
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and cell.source:
            errors = [out for out in cell.outputs if out.output_type == "error"]
            found += [f"cell {cell.id}: {error.ename}: {error.evalue}" for error in errors]
            if cell.execution_count is None:
                found.append(f"cell {cell.id} was not run")
    return found


def run_all(browser, url, paths):
    "Run the notebooks, some at once; what goes wrong in each of them, and in its page."
    waiting, running, found = list(paths), {}, {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            path = waiting.pop(0)
            running[path] = start(browser, url, path), time.monotonic()
        for path, (page, began) in list(running.items()):
            page.wait_for_timeout(200)
            late = time.monotonic() - began > SECONDS
            if late or page.evaluate(FINISHED, NOTEBOOK):
                page_errors = [m.text for m in page.console_messages() if m.type == "error"]
                close(page, path)
                found[path.name] = wrong(path) + page_errors
                del running[path]
    return found


def test_run_all_cells_leaves_no_error(browser, lab, root):
    url, shown = lab
    paths = [Path(shutil.copy(path, shown)) for path in sorted(root.glob("nbs/*.ipynb"))]
    assert len(paths) > 7
    assert run_all(browser, url, paths) == {path.name: [] for path in paths}


def write(path, *sources):
    "A notebook with these code cells."
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    metadata = {"language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return [cell.id for cell in cells]


def test_an_error_and_what_it_leaves_out_are_noticed(browser, lab):
    url, shown = lab
    path = shown / "broken.ipynb"
    _, second, third = write(path, "1", "1 / 0", "2")
    assert run_all(browser, url, [path])[path.name] == [
        f"cell {second}: ZeroDivisionError: division by zero",
        f"cell {third} was not run",
    ]


def test_what_is_drawn_reaches_python_which_answers(browser, lab):
    url, shown = lab
    path = shown / "draw.ipynb"
    write(
        path,
        "from mnist_walkthrough import Learner, mlp\n"
        "from mnist_walkthrough.play import DrawDigit\n"
        "pad = DrawDigit(Learner([], [], mlp(784, 30, 10), None, None))",
        "pad",
        "logits = pad.answer.get('logits', [0])\n"
        "f'{0 < int(pad.x.view(28, 28).any(0).sum()) < 5}, {logits.index(max(logits))}'",
    )
    page = start(browser, url, path)
    page.wait_for_function(FINISHED, arg=NOTEBOOK)
    box = page.locator("canvas.mnist-pad").bounding_box()
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(middle, box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    page.wait_for_timeout(500)  # the last stroke is on its way
    page.wait_for_function(FINISHED, arg=NOTEBOOK)
    cell = page.locator(".jp-CodeCell").last
    cell.click()
    page.keyboard.press("Control+Enter")
    answered = cell.get_by_text(re.compile(r"True, \d")).inner_text().strip("'")
    said = page.get_by_text(re.compile(r"^\d, with \d+ %")).first.inner_text()
    assert answered == f"True, {said[0]}"
    close(page, path)


def test_the_experiment_trains_in_jupyterlab(browser, lab):
    url, shown = lab
    path = shown / "experiment.ipynb"
    write(path, "from mnist_walkthrough.play import Experiment", "Experiment()")
    page = start(browser, url, path)
    page.get_by_text("0 of 80 steps").wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("20 of 20 epochs, accuracy 8").wait_for(timeout=60_000)
    assert "#" not in page.url
    close(page, path)


GUESSES = (
    "from mnist_walkthrough.guess import Guess",
    "guess = Guess('a number', unit='%')\nguess",
    "guess.reveal(12.5)",
    "way = Guess('a choice', 'rises', 'falls')\nway",
    "way.reveal('rises')",
)


def output(cell):
    return cell.locator(".jp-OutputArea-output")


def test_a_guess_before_its_answer_and_one_after_it(browser, lab):
    url, shown = lab
    path = shown / "guess.ipynb"
    write(path, *GUESSES)
    page = show(browser, url, path)
    asked = run_cell(page, 0) and output(run_cell(page, 1))
    asked.get_by_label("Your guess").fill("40")
    page.keyboard.press("Enter")
    asked.get_by_text("Run on to the answer.").wait_for()
    answered = output(run_cell(page, 2))
    answered.get_by_text("Answer").wait_for()
    assert words(answered) == "Your guess: 40 % Answer: 12.5 %"
    assert words(asked.get_by_role("status")) == "Your guess: 40 % Answer: 12.5 %"

    asked, answered = output(run_cell(page, 3)), output(run_cell(page, 4))
    answered.get_by_text("The answer").wait_for()
    assert not answered.get_by_text("rises").is_visible()
    asked.get_by_role("radio").first.focus()
    for key in ("Space", "ArrowDown", "Tab", "Enter"):
        page.keyboard.press(key)
    answered.get_by_text("Your guess").wait_for()
    assert words(answered) == "Your guess: falls Answer: rises"
    assert words(asked.get_by_role("status")) == "Your guess: falls Answer: rises"

    again = output(run_cell(page, 3))
    again.get_by_text("Answer").wait_for()
    assert words(again.get_by_role("status")) == "Your guess: falls Answer: rises"
    assert [m.text for m in page.console_messages() if m.type == "error"] == []
    close(page, path)


FIRST_ALONE = """def top2_accuracy(logits, target):
    return (logits.argmax(1) == target).float().mean()

check.top2_accuracy(top2_accuracy)"""


def test_an_exercise_is_done_wrong_and_right_and_remembered(browser, lab, root):
    "With the cells of a page: its imports, an exercise, its solution."
    cells = nbformat.read(root / "nbs" / "06_metric.ipynb", as_version=4).cells
    source = {cell.id: cell.source for cell in cells}
    folded = source["solution-top2-accuracy"]
    solution = (
        re.search("```python\n(.*?)```", folded, re.S)[1] + "\ncheck.top2_accuracy(top2_accuracy)"
    )
    url, shown = lab
    path = shown / "exercise.ipynb"
    imports = [text for cell_id, text in source.items() if cell_id.startswith("imports")]
    write(path, *imports, source["try-top2-accuracy"], "check.progress()")
    page = start(browser, url, path)
    page.wait_for_function(FINISHED, arg=NOTEBOOK)
    at = len(imports)
    verdict, progress = (output(page.locator(".jp-CodeCell").nth(i)) for i in (at, at + 1))
    assert words(verdict).startswith("top2_accuracy: not yet: ")
    assert re.search(r"\btop2_accuracy\b(?! ✓)", words(progress))

    run_cell(page, at, FIRST_ALONE)
    assert words(verdict).startswith("top2_accuracy: not yet: ")
    assert "the second counts too" in words(verdict)
    run_cell(page, at + 1)
    assert "top2_accuracy ✓" not in words(progress)

    run_cell(page, at, solution)
    assert words(verdict) == "top2_accuracy: solved."

    menu(page, "Kernel", "kernelmenu:restart")
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    page.wait_for_function(READY, arg=[NOTEBOOK, at + 2])
    run_cell(page, at + 1, "import mnist_walkthrough.check as c; (c.progress(), 'top2' in dir())")
    assert "top2_accuracy ✓" in words(progress)
    assert "False" in words(progress)
    close(page, path)
