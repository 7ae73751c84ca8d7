"""Make README.md and README_files/ from nbs/index.ipynb, as saved.

python tools/make_readme.py [FOLDER]    # into FOLDER, the root of the repository when left out
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from nbconvert.writers import FilesWriter

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "tools"
DIRECTIVE = re.compile(r"^#\|\s*([\w-]+)(?::\s*(.*))?\n?", re.M)


def prepare(nb):
    "Read nbdev's directives of each cell and take them out; make links lead from the root."
    for cell in nb.cells:
        if cell.cell_type == "code":
            directives = dict(DIRECTIVE.findall(cell.source))
            cell.source = DIRECTIVE.sub("", cell.source)
            cell.metadata["alt"] = directives.get("fig-alt", "")
            cell.metadata["hide_input"] = directives.get("echo") == "false"
        else:
            cell.source = re.sub(r"\]\((\w+\.ipynb)", r"](nbs/\1", cell.source)
            cell.source = cell.source.replace("](../", "](")


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    nb = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    prepare(nb)
    exporter = MarkdownExporter(
        template_name="readme_template", extra_template_basedirs=[str(TEMPLATES)]
    )
    body, resources = exporter.from_notebook_node(
        nb, {"unique_key": "README", "output_files_dir": "README_files"}
    )
    shutil.rmtree(folder / "README_files", ignore_errors=True)
    body = re.sub(r"\n{3,}", "\n\n", body).strip()
    FilesWriter(build_directory=str(folder)).write(body + "\n", resources, "README")


if __name__ == "__main__":
    main()
