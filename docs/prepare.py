"Write the pages of the site as MyST-NB reads them to a folder: `python docs/prepare.py build/docs`."

import shutil
import sys
from importlib import import_module
from pathlib import Path

import nbformat
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.serve import proc_nbs
from reader import Links, read

HERE = Path(__file__).parent
cfg = get_config()
SITE = f"{cfg.doc_host}{cfg.doc_baseurl}/"
FILES = f"{cfg.git_url}/blob/{cfg.branch}/"


def page_name(notebook):
    "`03_net.ipynb` gives the page `net`, as in nbdev."
    return notebook.stem.lstrip("0123456789_")


def toctree(caption, entries):
    lines = "\n".join(entries)
    return f"```{{toctree}}\n:hidden:\n:caption: {caption}\n{lines}\n```\n"


def run_links(notebook):
    "Where to run the page's notebook, and its source."
    colab = f"https://colab.research.google.com/github/{cfg.user}/{cfg.repo}/blob/gh-pages"
    binder = f"https://mybinder.org/v2/gh/{cfg.user}/{cfg.repo}/{cfg.branch}"
    return (
        "{.run}\n"
        f"Open in [Colab]({colab}/notebooks/{notebook}), "
        f"[Binder]({binder}?urlpath=lab/tree/nbs/{notebook}) or [JupyterLab](run.md), "
        f"or [see the source]({FILES}nbs/{notebook})."
    )


def main(folder):
    for old in (Path("_proc"), folder):
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True)
    notebooks = sorted(proc_nbs(n_workers=0).glob("*.ipynb"))
    pages = {nb.name: f"{page_name(nb)}.ipynb" for nb in notebooks}
    index = import_module(f"{cfg.lib_path.name}._modidx").d["syms"]
    symbols = {
        address: name for names in index.values() for name, (address, _) in names.items()
    }
    link = Links(SITE, FILES, pages, symbols)
    lookup = NbdevLookup()
    for path in notebooks:
        nb = nbformat.read(path, 4)
        module = f"{cfg.lib_path.name}.{page_name(path)}"
        read(nb, link, module, lookup.code, run_links(path.name))
        if path.stem == "index":
            stages = [
                f"{int(nb.stem[:2])} {page_name(nb)} <{page_name(nb)}>"
                for nb in notebooks
                if nb.stem != "index"
            ]
            nb.cells.append(nbformat.v4.new_markdown_cell(
                toctree("The walk", stages) + toctree("Beside it", ["notation", "run", "api"])
            ))
        nbformat.write(nb, folder / pages[path.name])
    for page in HERE.glob("*.md"):
        text = page.read_text("utf-8")
        (folder / page.name).write_text(text.replace("GIT_URL", cfg.git_url), "utf-8")
    (folder / "api.md").write_text(api_page(index), "utf-8")


def api_page(index):
    "All symbols with an entry, by module."
    parts = ["# API index\n"]
    for module, names in index.items():
        public = [n for n in names if not n.split(".")[-1].startswith("_") and n.count(".") == 2]
        if not public:
            continue
        rows = "\n".join(
            f"| {{py:obj}}`{n.split('.')[-1]} <{n}>` | {getattr(import_module(module), n.split('.')[-1]).__doc__} |"
            for n in public
        )
        parts.append(f"## `{module}`\n\n| | |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
