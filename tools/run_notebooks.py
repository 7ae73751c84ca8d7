"""Run notebooks in a fresh kernel each and save their cleaned outputs.

    python tools/run_notebooks.py nbs                 # all of a folder
    python tools/run_notebooks.py nbs/03_net.ipynb    # one

A notebook whose outputs did not change, timings aside, keeps the ones it has.
"""

import argparse
import difflib
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import clean_nb

VOLATILE = [  # what may differ from run to run
    (re.compile(r"\s*\b\d+(\.\d+)?\s?(ns|µs|ms|s)\b"), " <time>"),
    (re.compile(r" at 0x[0-9a-f]+"), ""),
]
FLOAT = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?|-?\d+e[+-]?\d+")
REL = 0.01
# What kernels would hide
SHOWN = "default::DeprecationWarning,default::PendingDeprecationWarning"


def in_kernel(path):
    "The notebook as it comes out of a fresh kernel."
    nb = nbformat.read(path, as_version=4)
    NotebookClient(
        nb,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    ).execute(env=os.environ | {"PYTHONWARNINGS": SHOWN})
    return nb


def execute(path):
    "The notebook as it comes out of a fresh kernel, cleaned; raises when a cell fails or warns."
    try:
        nb = in_kernel(path)
    except RuntimeError:  # before its first cell: two kernels that start at once may want one port
        nb = in_kernel(path)
    clean(nb)
    for cell in nb.cells:
        for out in cell.get("outputs", []):
            if out.get("name") == "stderr":
                raise RuntimeError(f"{path.name}, cell {cell.id}: warns\n{out.text}")
    return nb


def clean(nb):
    "nbdev's cleaning with the settings of this project, in place."
    clean_nb(nb, allowed_metadata_keys=["language_info"])
    nb.metadata["language_info"] = {"name": "python"}
    nb.metadata.pop("widgets", None)  # these, and the views of them, have random names
    for out in chain.from_iterable(cell.get("outputs", []) for cell in nb.cells):
        out.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def comparable(out):
    "An output as text: pictures by their presence, what may change left out."
    data = {k: "<picture>" if k.startswith("image/") else v for k, v in out.get("data", {}).items()}
    text = "\n".join(
        [out["output_type"], out.get("text", ""), *(f"{k}: {v}" for k, v in sorted(data.items()))]
    )
    for pattern, replacement in VOLATILE:
        text = pattern.sub(replacement, text)
    return text


def same(a, b):
    "Two texts agree: words and integers exactly, floats to a relative `REL`."
    pairs = zip(map(float, FLOAT.findall(a)), map(float, FLOAT.findall(b)), strict=False)
    return FLOAT.sub("#", a) == FLOAT.sub("#", b) and all(
        u == v or abs(u - v) <= REL * max(abs(u), abs(v)) for u, v in pairs
    )


def stale(saved, fresh):
    "What differs between a notebook as saved and as run, cell by cell."
    found = []
    for a, b in zip(saved.cells, fresh.cells, strict=True):
        before, after = (
            "\n".join(comparable(out) for out in cell.get("outputs", [])) for cell in (a, b)
        )
        if not same(before, after):
            diff = difflib.unified_diff(
                before.splitlines(), after.splitlines(), "saved", "fresh", lineterm=""
            )
            found.append(f"cell {a.id} is out of date\n" + "\n".join(diff))
    return found


def refresh(path):
    "Run one notebook and save it if its outputs changed; True when it ran."
    start = time.perf_counter()
    saved = nbformat.read(path, as_version=4)
    try:
        fresh = execute(path)
    except (CellExecutionError, RuntimeError) as error:
        print(f"FAILED  {path.name}\n{error}", flush=True)
        return False
    changed = stale(saved, fresh)
    keep = fresh if changed else saved
    clean(keep)
    path.write_text(nbformat.writes(keep) + "\n", encoding="utf-8")
    state = f"saved, {len(changed)} cells new" if changed else "unchanged"
    print(f"{state:22} {path.name} {time.perf_counter() - start:.1f} s", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of them")
    paths = parser.parse_args().paths
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the kernels: the same sums everywhere
    notebooks = [nb for p in paths for nb in (sorted(p.glob("*.ipynb")) if p.is_dir() else [p])]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(refresh, notebooks))
    sys.exit(not all(done))


if __name__ == "__main__":
    main()
