"""Files that nobody made, for the readers of page 1: atheris changes whole ones, guided by which code they reach.

    python tools/fuzz.py [png] [idx] [tar] [--seconds 600] [--kept build/fuzz]

Each must be read rightly or refused by a `ValueError` that names it; whatever else happens ends the
run, and the file is kept. Mutators put checksums right, so that not every file is refused for those."""

import argparse
import gzip
import io
import random
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import atheris
import numpy as np
import torch
from PIL import Image

with atheris.instrument_imports(include=["mnist_walkthrough.data", "gzip"]):
    from mnist_walkthrough import data, digits

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TYPES = [b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"gAMA", b"acTL", b"fcTL", b"fdAT", b"zTXt"]
NAMES = [b"../7.png", b"mnist_png/../../7.png", b"mnist_png/training/4/a.png"]
SCRATCH = Path(tempfile.mkdtemp(prefix="fuzz-"))
FILE = SCRATCH / "given"


def chunk(kind, content):
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def chunks_of(content):
    "Pairs of type and content, whatever the checksums say."
    at, found = 8, []
    while at + 8 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        found.append([content[at + 4 : at + 8], content[at + 8 : end]])
        at = end + 4
    return found


def mutate_png(content, max_size, seed):
    "Change a header, what is compressed, or the row of the chunks; then put the checksums right."
    chosen = random.Random(seed)
    chunks = chunks_of(content)
    if not chunks or chosen.random() < 0.1:
        return atheris.Mutate(content, max_size)
    i = chosen.randrange(len(chunks))
    kind, inside = chunks[i]
    match chosen.randrange(7):
        case 0:
            chunks.insert(chosen.randrange(len(chunks) + 1), list(chosen.choice(chunks)))
        case 1:
            new = [chosen.choice(TYPES), chosen.randbytes(chosen.randrange(30))]
            chunks.insert(chosen.randrange(len(chunks) + 1), new)
        case 2:
            del chunks[i]
        case 3:
            cut = chosen.randrange(len(inside) + 1)
            chunks[i : i + 1] = [[kind, inside[:cut]], [kind, inside[cut:]]]
        case 4:
            chunks[i][1] = atheris.Mutate(inside, len(inside) + 20)
        case 5 if kind == b"IDAT":
            with suppress(zlib.error):
                raw = zlib.decompressobj().decompress(inside, 100_000)
                raw = atheris.Mutate(raw, len(raw) + 50)
                chunks[i][1] = zlib.compress(raw, chosen.randrange(10))
        case _:
            width, height = chosen.randrange(6), chosen.randrange(6)
            rows = chosen.randbytes(height * (1 + width)).translate(
                bytes(b % 6 for b in range(256))
            )
            header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, chosen.random() < 0.1)
            chunks = [[b"IHDR", header], [b"IDAT", zlib.compress(rows)], [b"IEND", b""]]
    return (SIGNATURE + b"".join(chunk(*pair) for pair in chunks))[:max_size]


def outcome(read, *given):
    "What is read, or None where it is refused; the refusal names the file, if one was given."
    try:
        return read(*given)
    except ValueError as error:
        if given[0] != FILE.read_bytes() and str(FILE) not in str(error):
            raise AssertionError("an error without the file's name") from error


def same(a, b):
    return a is b is None or (a is not None and b is not None and torch.equal(a, b))


def png(content):
    FILE.write_bytes(content)
    own = outcome(data.decode_png, content)
    assert same(own, outcome(data.decode_with_pillow, content)), "with Pillow another thing"
    size = (28, 28) if own is None else tuple(own.shape)
    files = [str(FILE)] * 2 if size != (28, 28) else [str(SCRATCH / "good"), str(FILE)]
    fast = outcome(data.decode_files, files, size)
    assert same(own, None if fast is None else fast[1]), "all at once says another thing"
    assert same(own, outcome(data.read_image, FILE, size, data.decode_png))
    if own is not None:
        assert size[::-1] == struct.unpack(">II", content[16:24])
        with suppress(OSError, SyntaxError, ValueError), Image.open(io.BytesIO(content)) as image:
            pillow = torch.from_numpy(np.array(image))
            assert b"acTL" in content or same(own, pillow), "Pillow reads another picture"


def idx(content):
    FILE.write_bytes(content)
    array = outcome(data.read_idx, FILE)
    plain = b""
    with suppress(EOFError, OSError, zlib.error):
        plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    n = 4 + 4 * sum(plain[3:4])
    if plain[:3] != b"\0\0\x08" or len(plain) < n or n == 4:
        assert array is None, "read what is no IDX file"
    else:
        shape = struct.unpack_from(f">{plain[3]}I", plain, 4)
        size = int(np.prod(shape, dtype=object))
        assert (array is None) == (size != len(plain) - n or len(shape) > 64), "refused, or not"
        assert array is None or (array.shape == shape and array.tobytes() == plain[n:])


def mutate_idx(content, max_size, seed):
    "As atheris does, inside of gzip or not; often with a shape that fits."
    chosen = random.Random(seed)
    plain = content
    with suppress(EOFError, OSError, zlib.error):
        plain = gzip.decompress(content)
    plain = atheris.Mutate(plain, max_size)
    if chosen.random() < 0.5 and len(plain) > 8:
        numbers = plain[8:]
        divisor = chosen.choice([d for d in range(1, 9) if len(numbers) % d == 0])
        plain = struct.pack(">BBBBII", 0, 0, 8, 2, len(numbers) // divisor, divisor) + numbers
    if chosen.random() < 0.3:
        plain = gzip.compress(plain, mtime=0)
    return plain[:max_size]


def tar(content):
    FILE.write_bytes(content)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as place:
        folder = Path(place, "into")
        folder.mkdir()
        n = outcome(data.unpack, FILE, folder)
        found = [path for path in Path(place).rglob("*") if not path.is_dir()]
        assert not [path for path in found if path.is_symlink() or folder not in path.parents]
        names = [path.relative_to(folder).as_posix() for path in found]
        form = r"mnist_png/(training|testing)/[0-9]+/[A-Za-z0-9_-]+\.png"
        assert all(re.fullmatch(form, name) for name in names), names
        assert n is None or n == len(found) > 1
        for path in found:
            data.decode_png(path.read_bytes())


def mutate_tar(content, max_size, seed):
    "Change headers, contents or their order, then put the headers' checksums right."
    chosen = random.Random(seed)
    with suppress(EOFError, OSError, zlib.error):
        content = gzip.decompress(content)
    blocks = [bytearray(content[at : at + 512]) for at in range(0, len(content) - 511, 512)]
    if not blocks or chosen.random() < 0.1:
        return atheris.Mutate(content, max_size)
    i, j = (chosen.randrange(len(blocks)) for _ in "ij")
    match chosen.randrange(6):
        case 0:
            blocks.insert(i, blocks[j])
        case 5:
            blocks[i][:100] = chosen.choice(NAMES).ljust(100, b"\0")
        case 1:
            del blocks[i]
        case 2:
            blocks[i][124:136] = b"%011o\0" % chosen.choice([0, 1, 511, 512, 2**33 - 1])
        case 3:
            blocks[i][156:157] = chosen.choice(b"01234567xgLSKV\0").to_bytes(1, "big")
        case _:
            blocks[i][:] = atheris.Mutate(bytes(blocks[i]), 512).ljust(512, b"\0")
    for block in blocks:
        if block[257:262] == b"ustar":
            total = sum(block[:148]) + 256 + sum(block[156:])
            block[148:156] = b"%06o\0 " % total
    whole = b"".join(blocks)
    return (gzip.compress(whole, mtime=0) if chosen.random() < 0.2 else whole)[:max_size]


def seeds(target):
    "Whole files to begin with, from the digits that ship."
    found = [file.read_bytes() for file in sorted((digits() / "training").glob("*/*5.png"))[::20]]
    (SCRATCH / "good").write_bytes(found[0])
    if target == "png":
        return found
    if target == "idx":
        shapes = [(5,), (3, 4, 2), (0, 2), (1, 1, 1), (255,)]
        arrays = [b"\0\0\x08" + bytes([len(s)]) + struct.pack(f">{len(s)}I", *s) for s in shapes]
        arrays = [a + bytes(int(np.prod(s))) for a, s in zip(arrays, shapes, strict=True)]
        return arrays + [gzip.compress(a, mtime=0) for a in arrays]
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for split in ("training", "testing"):
            member = tarfile.TarInfo(f"mnist_png/{split}/5/7.png")
            member.size = len(found[0])
            archive.addfile(member, io.BytesIO(found[0]))
    return [made.getvalue()[:4096], gzip.compress(made.getvalue(), mtime=0)]


TARGETS = {"png": (png, mutate_png), "idx": (idx, mutate_idx), "tar": (tar, mutate_tar)}


def fuzz(target, seconds, kept, runs=-1):
    corpus = kept / target
    corpus.mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(seeds(target)):
        (corpus / f"seed-{i}").write_bytes(content)
    limits = [
        f"-max_total_time={seconds}",
        f"-runs={runs}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-max_len=8192",
    ]
    options = [f"-artifact_prefix={kept}/{target}-", "-print_final_stats=1", *limits]
    test, mutate = TARGETS[target]
    atheris.Setup([sys.argv[0], *options, str(corpus)], test, custom_mutator=mutate)
    atheris.Fuzz()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all when none is named")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--runs", type=int, default=-1, help="at most; as the time allows if -1")
    parser.add_argument("--kept", type=Path, default=Path("build/fuzz"), help="folder of the files")
    args = parser.parse_args()
    if len(args.targets) == 1:
        return fuzz(args.targets[0], args.seconds, args.kept, args.runs)
    options = ["--seconds", str(args.seconds), "--kept", str(args.kept), "--runs", str(args.runs)]
    for target in args.targets or TARGETS:
        done = subprocess.run([sys.executable, __file__, target, *options])
        if done.returncode:
            return done.returncode


if __name__ == "__main__":
    sys.exit(main())
