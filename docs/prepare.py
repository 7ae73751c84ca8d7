"Write what Sphinx builds the site from: `python docs/prepare.py FOLDER` (the Makefile's `docs`)."

import shutil
import sys
from importlib import import_module
from pathlib import Path

import nbformat
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.serve import proc_nbs
from nbformat.v4 import new_code_cell, new_markdown_cell
from PIL import Image
from reader import Links, read

from mnist_walkthrough.data import ImageDataset, digits

HERE = Path(__file__).parent
cfg = get_config()
SITE = f"{cfg.doc_host}{cfg.doc_baseurl}/"
FILES = f"{cfg.git_url}/blob/{cfg.branch}/"
PACKAGE = cfg.lib_path.name


def page_name(notebook):
    "As nbdev names pages: `nbs/03_net.ipynb` becomes `net`."
    return notebook.stem.lstrip("0123456789_")


def run_links(notebook):
    "Where to run a page, and its source."
    colab = f"https://colab.research.google.com/github/{cfg.user}/{cfg.repo}/blob/gh-pages"
    binder = f"https://mybinder.org/v2/gh/{cfg.user}/{cfg.repo}/{cfg.branch}"
    return (
        '<p class="run">Open in '
        f'<a href="{colab}/notebooks/{notebook}">Colab</a>, '
        f'<a href="{binder}?urlpath=lab/tree/nbs/{notebook}">Binder</a> or '
        f'<a href="run.html#jupyterlab">JupyterLab</a>, or '
        f'<a href="{FILES}nbs/{notebook}">see the source</a>.</p>'
    )


def toctrees(stages):
    "The order of the pages, for the end of the home page."
    numbered = [f"{int(nb.stem[:2])} {page_name(nb)} <{page_name(nb)}>" for nb in stages]
    parts = {"The walk": numbered, "Beside the walk": ["notation", "api", "run"]}
    return new_markdown_cell(
        "\n".join(
            "\n".join([f"```{{toctree}}\n:hidden:\n:caption: {caption}\n", *entries, "```"])
            for caption, entries in parts.items()
        )
    )


def for_colab(nb):
    "Put a cell before all others that installs the package."
    nb.cells.insert(0, new_code_cell(f"%pip install --quiet git+{cfg.git_url}", id="install"))
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


def summary(nb):
    return nb.metadata.myst["html_meta"]["description"]


def api_page(index):
    "All functions and classes, by page, each with a link to its entry."
    parts = ["# API index", "All functions and classes of the package, by page."]
    for module, names in index.items():
        public = [
            n for n in names if n.count(".") == 2 and not n.rpartition(".")[2].startswith("_")
        ]
        rows = ["| name | what it does |", "|---|---|"]
        for name in public:
            symbol = getattr(import_module(module), name.rpartition(".")[2])
            rows.append(f"| {{py:obj}}`{symbol.__name__} <{name}>` | {symbol.__doc__} |")
        if public:
            page = module.rpartition(".")[2]
            parts += [f"## [`{module}`]({page}.ipynb)", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def main(folder):
    pages, extra = folder / "pages", folder / "extra"
    for old in (Path("_proc"), folder):
        shutil.rmtree(old, ignore_errors=True)
    pages.mkdir(parents=True)
    (extra / "notebooks").mkdir(parents=True)
    digit(pages / "digit.png")

    index = import_module(f"{PACKAGE}._modidx").d["syms"]
    processed = sorted(proc_nbs(n_workers=0).glob("*.ipynb"))
    link = Links(
        site=SITE,
        files=FILES,
        pages={path.name: f"{page_name(path)}.ipynb" for path in processed},
        symbols={at: name for names in index.values() for name, (at, _) in names.items()},
    )
    source = NbdevLookup().code
    contents = []
    for path in processed:
        page = page_name(path)
        nb = read(nbformat.read(path, 4), link, f"{PACKAGE}.{page}", source, run_links(path.name))
        original = nbformat.read(cfg.nbs_path / path.name, 4)
        (extra / f"{page}.md").write_text(plain(original), encoding="utf-8")
        nbformat.write(for_colab(original), extra / "notebooks" / path.name)
        if page == "index":
            nb.cells.append(toctrees([path for path in processed if path.stem != "index"]))
            title = f"# {cfg.title}\n\n> {summary(nb)}\n\n## Pages\n"
        else:
            contents.append(f"- [{page}]({SITE}{page}.md): {summary(nb)}")
        nbformat.write(nb, pages / f"{page}.ipynb")
    (extra / "llms.txt").write_text("\n".join([title, *contents, ""]), encoding="utf-8")

    for path in HERE.glob("*.md"):
        text = path.read_text(encoding="utf-8").replace("GIT_URL", cfg.git_url)
        (pages / path.name).write_text(text, encoding="utf-8")
    (pages / "api.md").write_text(api_page(index), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
