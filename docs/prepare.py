"Write what Sphinx builds the site from: `python docs/prepare.py FOLDER` (the Makefile's `docs`)."

import inspect
import shutil
import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import nbformat
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.serve import proc_nbs
from nbformat.v4 import new_code_cell, new_markdown_cell
from PIL import Image
from reader import Links, entry, read

from mnist_walkthrough import check, guess, results
from mnist_walkthrough.data import ImageDataset, digits
from mnist_walkthrough.play import bundle, site_files

cfg = get_config()
PACKAGE = cfg.lib_path.name
SITE = f"{cfg.doc_host}{cfg.doc_baseurl}/"
FILES = f"{cfg.git_url}/blob/{cfg.branch}/"
COLAB = f"https://colab.research.google.com/github/{cfg.user}/{cfg.repo}/blob/gh-pages/notebooks/"
BINDER = f"https://mybinder.org/v2/gh/{cfg.user}/{cfg.repo}/{cfg.branch}?urlpath=lab/tree/nbs/"


def page_name(notebook):
    "As nbdev names pages: `nbs/03_net.ipynb` becomes `net`."
    return notebook.stem.lstrip("0123456789_")


def run_links(notebook):
    "Where to run a notebook, and its source."
    return (
        f'<p class="run">Open in <a href="{COLAB}{notebook}">Colab</a>, '
        f'<a href="{BINDER}{notebook}">Binder</a> or '
        f'<a href="run.html#jupyterlab">JupyterLab</a>, '
        f'or <a href="{FILES}nbs/{notebook}">see the source</a>.</p>'
    )


def source_link(file):
    return f'\n\n<p class="run"><a href="{FILES}{file}">See the source</a>.</p>'


def toctrees(stages):
    "The order of the pages, for the end of the home page."
    walk = [f"{int(path.stem[:2])} {page_name(path)} <{page_name(path)}>" for path in stages]
    parts = {
        "The walk": walk,
        "Beside the walk": ["exercises", "notation", "errors", "promises", "api", "run"],
    }
    trees = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"])
        for caption, pages in parts.items()
    ]
    return new_markdown_cell("\n\n".join(trees))


def api_page(stages, index):
    "All functions and classes in the order of the walk, each with a link to its entry."
    parts = [
        "# API index",
        "All functions and classes of the package, in the order of the walk.",
        f"## `{PACKAGE}`",
        f"What `from {PACKAGE} import` gives. A version's number [speaks of](promises.md#versions) "
        "these and of the command; the rest, by module below, may change with any version.",
    ]
    package = import_module(PACKAGE)
    for name in package.__all__:
        symbol = getattr(package, name)
        parts.append(f"{{py:obj}}`{name} <{symbol.__module__}.{name}>`\n: {symbol.__doc__}")
    for page in map(page_name, stages):
        module = import_module(f"{PACKAGE}.{page}")
        parts.append(f"## [`{module.__name__}`]({page}.ipynb)")
        for name in module.__all__:
            full = f"{module.__name__}.{name}"
            if full in index[module.__name__]:
                parts.append(f"{{py:obj}}`{name} <{full}>`\n: {getattr(module, name).__doc__}")
    for module in (check, guess, results):
        parts += [f"## `{module.__name__}`", module.__doc__]
        for name in module.__all__:
            symbol = getattr(module, name)
            if callable(symbol) and name not in check.EXERCISES:
                parts.append(entry(module.__name__, name, source(symbol)))
    return "\n\n".join(parts) + source_link(PACKAGE)


def source(symbol):
    "Where a function or class is defined that no notebook exports."
    file = Path(inspect.getsourcefile(symbol)).relative_to(files(PACKAGE).parent)
    return f"{FILES}{file.as_posix()}#L{inspect.getsourcelines(symbol)[1]}"


def exercises_page(stages):
    "All exercises in the order of the walk, each with a link to its place."
    parts = [
        "# Exercises",
        "Each stage ends with some, from changing one thing to writing a part yourself. You do them "
        "in the [notebooks](run.md): `check.…` runs what you wrote on many cases and says what is "
        "wrong, `check.progress()` shows what you have solved. A solution with a word on why unfolds "
        "below each.",
    ]
    for path in stages:
        parts.append(f"## [{page_name(path)}]({page_name(path)}.ipynb)")
        for cell in nbformat.read(path, 4).cells:
            if cell.id.startswith("exercise-"):
                name = cell.id.removeprefix("exercise-").replace("-", "_")
                parts.append(f"[](#{cell.id})\n: {getattr(check, name).__doc__}")
    return "\n\n".join(parts) + source_link(f"{PACKAGE}/check")


def guess_files(folder):
    "Write `guess.js` and `guess.css`, which take the guesses of a page without a kernel."
    script = bundle("guess_page.js")
    (folder / "guess.js").write_text(f"(() => {{\n{script}}})();\n", encoding="utf-8")
    shutil.copy(files(PACKAGE) / "js" / "guess.css", folder)


def for_colab(nb):
    "Put a cell before all others that installs the package."
    nb.cells.insert(
        0,
        new_code_cell(
            f"%pip install --quiet '{cfg.lib_name}[widget,onnx] @ git+{cfg.git_url}'", id="install"
        ),
    )
    return nb


def plain(nb):
    "A notebook as Markdown, figures left out."
    parts = []
    for cell in nb.cells:
        code = cell.cell_type == "code"
        parts.append(f"```python\n{cell.source}\n```" if code else cell.source)
        for output in cell.get("outputs", []):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            parts.append(f"```\n{text.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def digit(path):
    "The sign of the site: a handwritten digit."
    images = ImageDataset(digits() / "training", num_samples=1).images
    image = Image.fromarray(images[5].numpy()).resize((224, 224), Image.Resampling.NEAREST)
    image.convert("RGB").save(path)


def main(folder):
    for old in (Path("_proc"), folder):
        shutil.rmtree(old, ignore_errors=True)
    pages, extra = folder / "pages", folder / "extra"
    for new in (pages, extra / "notebooks"):
        new.mkdir(parents=True)

    processed = sorted(proc_nbs(n_workers=0).glob("*.ipynb"))
    stages = [path for path in processed if path.stem != "index"]
    index = import_module(f"{PACKAGE}._modidx").d["syms"]
    link = Links(
        site=SITE,
        files=FILES,
        pages={path.name: f"{page_name(path)}.ipynb" for path in processed},
        symbols={at: name for names in index.values() for name, (at, _) in names.items()},
    )
    exported = NbdevLookup().code
    summaries = {}
    for path in processed:
        link.page = page = page_name(path)
        nb = read(nbformat.read(path, 4), link, f"{PACKAGE}.{page}", exported, run_links(path.name))
        if page == "index":
            nb.cells.append(toctrees(stages))
        nbformat.write(nb, pages / f"{page}.ipynb")
        summaries[page] = nb.metadata.myst["html_meta"]["description"]
        original = nbformat.read(cfg.nbs_path / path.name, 4)
        (extra / f"{page}.md").write_text(plain(original), encoding="utf-8")
        nbformat.write(for_colab(original), extra / "notebooks" / path.name)

    contents = [
        f"- [{page}]({SITE}{page}.md): {summaries[page]}" for page in map(page_name, stages)
    ]
    llms = [f"# {cfg.title}", f"> {summaries['index']}", "## The walk", "\n".join(contents)]
    (extra / "llms.txt").write_text("\n\n".join(llms) + "\n", encoding="utf-8")

    (pages / "api.md").write_text(api_page(stages, index), encoding="utf-8")
    (pages / "exercises.md").write_text(exercises_page(stages), encoding="utf-8")
    walk = ", ".join(
        f'<a href="BASE_URL/{page}.html">{page}</a>' for page in map(page_name, stages)
    )
    for path in Path(__file__).parent.glob("*.md"):
        text = path.read_text(encoding="utf-8").replace("THE_WALK", walk)
        text = text.replace("GIT_URL", cfg.git_url).replace("BASE_URL", cfg.doc_baseurl)
        (pages / path.name).write_text(text + source_link(f"docs/{path.name}"), encoding="utf-8")
    digit(pages / "digit.png")
    site_files(folder / "static")
    guess_files(folder / "static")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
