"""Make `mnist_walkthrough/digits.zip` and its manifest from a folder that holds the full MNIST as PNGs.

    python tools/make_digits.py FOLDER

FOLDER has the layout `{training,testing}/{0..9}/{index}.png`. The draw is one `random.Random(0)`:
100 files of each class, training then testing, classes 0 to 9 in each, files in order of their index.
The archive comes out the same, byte for byte, on every machine.
"""

import argparse
import csv
import hashlib
import random
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "mnist_walkthrough"
PER_CLASS = 100
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold: no clock in the archive


def draw(folder):
    "The drawn files, as paths relative to `folder`."
    rng = random.Random(0)
    for split in ("training", "testing"):
        for digit in range(10):
            files = sorted((folder / split / str(digit)).glob("*.png"), key=lambda f: int(f.stem))
            if len(files) < PER_CLASS:
                message = f"{folder / split / str(digit)}: {len(files)} PNGs; need {PER_CLASS}"
                raise SystemExit(message)
            yield from (f.relative_to(folder) for f in rng.sample(files, PER_CLASS))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds training/ and testing/")
    parser.add_argument("--into", type=Path, default=PACKAGE, help="where the two files go")
    args = parser.parse_args()
    files = list(draw(args.folder))
    with (
        zipfile.ZipFile(args.into / "digits.zip", "w") as archive,
        open(args.into / "digits.csv", "w", newline="") as manifest,
    ):
        rows = csv.writer(manifest, lineterminator="\n")
        rows.writerow(["file", "bytes", "sha256"])
        for file in files:
            data = (args.folder / file).read_bytes()
            name = f"mnist_png/{file.as_posix()}"
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data)
            rows.writerow([name, len(data), hashlib.sha256(data).hexdigest()])
    size = (args.into / "digits.zip").stat().st_size
    print(f"{len(files)} digits, {size / 1e6:.2f} MB in {args.into / 'digits.zip'}")


if __name__ == "__main__":
    main()
