"""Write copies of the notebooks without the solutions of their exercises, to hand out.

    python tools/make_student.py [FOLDER]    # makes FOLDER/student, in the repository when left out

What stands there is replaced, wholly or not at all.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    with tempfile.TemporaryDirectory(prefix=".student-", dir=folder) as temporary:
        new, old = Path(temporary) / "student", folder / "student"
        new.mkdir()
        for path in sorted(ROOT.glob("nbs/*.ipynb")):
            nb = nbformat.read(path, as_version=4)
            nb.cells = [cell for cell in nb.cells if not cell.id.startswith("solution-")]
            (new / path.name).write_text(nbformat.writes(nb) + "\n", encoding="utf-8")
        if old.exists():
            shutil.rmtree(old)
        new.rename(old)


if __name__ == "__main__":
    main()
