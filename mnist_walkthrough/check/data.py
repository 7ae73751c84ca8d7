"Checks of the exercises of stage 1, data."

import random
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from mnist_walkthrough.check.core import Wrong, call, exercise, name, nothing_or_type, same
from mnist_walkthrough.check.net import same_or_slip

SIGNATURE = b"\x89PNG\r\n\x1a\n"
FILTERS = ("none", "sub", "up", "average", "Paeth")


@exercise(stage=1)
def reversed_names(
    answer: Any,  # A list of five or more file names, such as "12.png"
) -> None:
    "Name five files whose order as text is the exact reverse of their order by number."
    if type(answer) not in (list, tuple):
        raise Wrong(f"you give {nothing_or_type(answer)}; expected a list of file names")
    for file in answer:
        if type(file) is not str:
            raise Wrong(f'your list holds {nothing_or_type(file)}; expected names such as "12.png"')
        if not re.fullmatch(r"[1-9][0-9]*\.png", file):
            raise Wrong(f'for "{file}": a name is a number without leading zeros, then ".png"')
    files = sorted(set(answer), key=lambda file: (len(file), file))
    for lower, higher in pairwise(files):
        if lower < higher:
            raise Wrong(
                f'for "{lower}" and "{higher}": as text they stand in the same order as by number'
            )
    if len(files) < 5:
        raise Wrong(f"for {len(files)} different names: five are asked for")


@exercise(stage=1)
def png_chunk(
    answer: Any,  # `answer(kind, content)` gives the bytes of one chunk
) -> None:
    "Write one chunk of a PNG: length, type, content, checksum."
    for kind, content in (
        (b"tEXt", b"Title\0Three"),
        (b"IDAT", bytes(range(256)) * 300),
        (b"IHDR", bytes(13)),
        (b"IEND", b""),
    ):
        case = f"for type {kind!r} and {len(content)} bytes of content"
        with without_pillow():
            got = call(answer, kind, content, case=case)
        if type(got) is not bytes:
            raise Wrong(f"{case}: the chunk is {nothing_or_type(got)}; expected bytes")
        if len(got) != len(content) + 12:
            raise Wrong(
                f"{case}: the chunk has {len(got)} bytes; expected {len(content) + 12}, "
                "the content and three times four"
            )
        compare_parts(got, kind, content, case)


def compare_parts(got: bytes, kind: bytes, content: bytes, case: str) -> None:
    "Raise `Wrong` unless each part of a chunk is right."
    n, length = len(content), struct.pack(">I", len(content))
    slips = {
        struct.pack("<I", n): "the most significant byte comes first",
        struct.pack(">I", n + 4): "the type does not count",
        struct.pack(">I", n + 8): "type and checksum do not count",
        struct.pack(">I", n + 12): "the content alone counts",
    }
    compare_bytes(got[:4], length, f"{case}: the length", slips)
    compare_bytes(got[4:8], kind, f"{case}: the type", {})
    compare_bytes(got[8:-4], content, f"{case}: the content", {})
    crc = zlib.crc32(kind + content)
    slips = {
        struct.pack("<I", crc): "the most significant byte comes first",
        struct.pack(">I", zlib.crc32(content)): "this one leaves the type out",
        struct.pack(">I", zlib.crc32(length + kind + content)): "this one takes the length in",
    }
    compare_bytes(got[-4:], struct.pack(">I", crc), f"{case}: the checksum", slips)


def compare_bytes(got: bytes, expected: bytes, what: str, slips: dict[bytes, str]) -> None:
    if got != expected:
        why = f": {slips[got]}" if got in slips else ""
        at = next(i for i in range(len(got)) if got[i] != expected[i])
        shown = (part if len(part) <= 4 else part[at:][:4] for part in (got, expected))
        where = "" if len(got) <= 4 else f" from byte {at} on"
        raise Wrong(f"{what} is {next(shown)!r}{where}; expected {next(shown)!r}{why}")


@exercise(stage=1)
def silent_flip(
    answer: Any,  # `answer(data)` gives the bytes of a PNG with one bit flipped
) -> None:
    "Flip one bit of a PNG so that Pillow shows another picture without a word."
    for seed, (height, width) in enumerate(((12, 12), (5, 9), (20, 20))):
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randint(256, (height, width), generator=generator, dtype=torch.uint8)
        pixels[:, width // 2 :] = 0
        Image.fromarray(pixels.numpy()).save(file := BytesIO(), "PNG")
        data = file.getvalue()
        case = f"for a file of {height} x {width} pixels in {len(data)} bytes"
        got = call(answer, data, case=case)
        if type(got) is not bytes or len(got) != len(data):
            raise Wrong(f"{case}: you give {bytes_or_type(got)}; expected {len(data)} bytes")
        different = [i for i in range(len(data)) if got[i] != data[i]]
        flips = sum((got[i] ^ data[i]).bit_count() for i in different)
        if flips != 1:
            raise Wrong(f"{case}: {flips} bits differ from the file's; expected one")
        where = f"{case}: your flip is in byte {different[0]}, {part_at(data, different[0])}"
        try:
            seen = pillow(got)
        except Exception as error:
            raise Wrong(f"{where}, and Pillow notices: it raises {type(error).__name__}") from error
        if torch.equal(seen, pixels):
            raise Wrong(f"{where}, and Pillow still shows the right picture")


def bytes_or_type(got: Any) -> str:
    return f"{len(got)} bytes" if type(got) is bytes else nothing_or_type(got)


def pillow(data: bytes) -> Tensor:  # uint8 [height, width]
    with Image.open(BytesIO(data)) as image:
        return torch.from_numpy(np.array(image.convert("L")))


def part_at(data: bytes, i: int) -> str:
    "Where in a PNG a byte stands, in words."
    if i < len(SIGNATURE):
        return "in the signature"
    start = len(SIGNATURE)
    while True:
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        for part, size in (("length", 4), ("type", 4), ("content", length), ("checksum", 4)):
            start += size
            if i < start:
                return f"the {part} of {kind.decode()}"


@exercise(stage=1)
def filter_row(
    answer: Any,  # `answer(filter_type, row, above)` gives the row as a PNG stores it
) -> None:
    "Filter a row of pixels, as a program does that writes a PNG: what `unfilter` undoes."
    rng = random.Random(0)
    rows = [
        (bytes([40]), bytes([50])),
        (bytes([10, 12, 12, 9]), bytes(4)),
        (bytes([200, 250, 30, 255]), bytes([180, 240, 251, 0])),
        (bytes([7, 7, 8, 8, 3]), bytes([9, 7, 7, 5, 8])),
        *((rng.randbytes(n), rng.randbytes(n)) for n in (2, 28, 300)),
    ]
    for row, above in rows:
        for filter_type, filter_name in enumerate(FILTERS):
            size = f"{list(row)} under {list(above)}" if len(row) < 6 else f"{len(row)} pixels"
            case = f"for filter {filter_type} ({filter_name}) and a row {size}"
            got = call(answer, filter_type, row, above, case=case)
            if type(got) is not bytes or len(got) != len(row):
                raise Wrong(f"{case}: the row is {bytes_or_type(got)}; expected {len(row)} bytes")
            compare_filtered(got, filter_type, row, above, case)


def predictions(filter_type: int, row: bytes, above: bytes) -> list[int]:
    "What the filter expects at each pixel, from the pixels left of it and above. PNG specification, §9."
    found = []
    for left, up, corner in zip(b"\0" + row[:-1], above, b"\0" + above[:-1], strict=True):
        at_left, at_up, at_corner = (
            abs(up - corner),
            abs(left - corner),
            abs(left + up - 2 * corner),
        )
        if at_left <= at_up and at_left <= at_corner:
            paeth = left
        else:
            paeth = up if at_up <= at_corner else corner
        found.append((0, left, up, (left + up) // 2, paeth)[filter_type])
    return found


def filtered(filter_type: int, row: bytes, above: bytes) -> bytes:
    predicted = predictions(filter_type, row, above)
    return bytes((pixel - p) % 256 for pixel, p in zip(row, predicted, strict=True))


def compare_filtered(got: bytes, filter_type: int, row: bytes, above: bytes, case: str) -> None:
    "Raise `Wrong` unless each stored byte is the difference from the prediction."
    predicted, expected = predictions(filter_type, row, above), filtered(filter_type, row, above)
    if got == expected:
        return
    i = next(i for i in range(len(row)) if got[i] != expected[i])
    wrapped = [(left + up) % 256 // 2 for left, up in zip(b"\0" + row[:-1], above, strict=True)]
    from_stored = predictions(filter_type, got, above)
    why = ""
    if got == bytes((pixel + p) % 256 for pixel, p in zip(row, predicted, strict=True)):
        why = ": you add the prediction, as reading does"
    elif got == bytes((pixel - p) % 256 for pixel, p in zip(row, from_stored, strict=True)):
        why = ": you predict from what is stored on the left; take the pixel there"
    elif filter_type == 3 and got[i] == (row[i] - wrapped[i]) % 256:
        why = ": left + above is halved as it is, before anything is taken modulo 256"
    raise Wrong(
        f"{case}: byte {i} is {got[i]}; expected {expected[i]}, "
        f"which is {row[i]} - {predicted[i]} modulo 256{why}"
    )


@exercise(stage=1)
def decode_grey(
    answer: Any,  # `answer(data)` gives the pixels of a grey PNG, uint8 [height, width]
) -> None:
    "Decode a grey PNG whose pixels have 1, 2, 4 or 8 bits, as Pillow does."
    rng = np.random.default_rng(0)
    for depth, height, width, filters, n_idat in (
        (8, 2, 3, "00", 1),
        (4, 2, 4, "00", 1),
        (2, 2, 8, "00", 1),
        (1, 2, 16, "00", 1),
        (4, 3, 5, "000", 1),
        (2, 3, 5, "000", 1),
        (1, 3, 5, "000", 1),
        (1, 1, 1, "0", 1),
        (4, 6, 9, "012344", 1),
        (2, 5, 30, "43210", 1),
        (1, 5, 77, "12343", 1),
        (8, 5, 20, "41320", 3),
        (2, 7, 50, "0444321", 3),
    ):
        case = f"for {height} x {width} pixels of {depth} bit{'s' if depth > 1 else ''}"
        if set(filters) != {"0"}:
            case += f" and rows with filters {filters}"
        if n_idat > 1:
            case += f", in {n_idat} IDAT chunks"
        levels = rng.integers(0, 2**depth, (height, width))
        levels.flat[0] = 2**depth - 1
        data = grey_png(levels, depth, filters, n_idat)
        expected = pillow(data)
        with without_pillow():
            got = call(answer, data, case=case)
        slips = depth_slips(torch.from_numpy(levels).to(torch.uint8), depth)
        same_or_slip(got, expected, slips, case, "the image")


def grey_png(levels: np.ndarray, depth: int, filters: str, n_idat: int) -> bytes:
    "A grey PNG of these levels, its padding bits set, as the specification allows."
    packed = []
    for row in levels.tolist():
        bits = "".join(f"{level:0{depth}b}" for level in row)
        bits += "1" * (-len(bits) % 8)
        packed.append(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    above = [bytes(len(packed[0])), *packed]
    stored = b"".join(
        bytes([int(f)]) + filtered(int(f), row, up)
        for f, row, up in zip(filters, packed, above[:-1], strict=True)
    )
    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], depth, 0, 0, 0, 0)
    compressed = zlib.compress(stored)
    size = -(-len(compressed) // n_idat)
    pieces = [compressed[at : at + size] for at in range(0, len(compressed), size)]
    chunks = [(b"IHDR", header), *((b"IDAT", piece) for piece in pieces), (b"IEND", b"")]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def depth_slips(levels: Tensor, depth: int) -> dict[str, Tensor]:
    "What comes out when one thing about a small bit depth is forgotten: {what is wrong: the image}."
    white, per_byte, width = 2**depth - 1, 8 // depth, levels.shape[1]
    grey = levels * (255 // white)
    padded = torch.nn.functional.pad(grey, (0, -width % per_byte), value=255)
    mirrored = padded.reshape(len(grey), -1, per_byte).flip(2).reshape(len(grey), -1)
    shifted = levels * 2 ** (8 - depth)
    too_wide = f"the rows are {padded.shape[1]} pixels wide"
    return {
        f"your white is {white}; stretch the levels so that white is 255": levels,
        f"your white is {int(shifted.max())}; shifting does not stretch up to 255": shifted,
        "in each byte the pixels are reversed; the leftmost has the highest bits": mirrored[
            :, :width
        ],
        f"{too_wide}; the bits that fill up the last byte are no pixels": padded,
        "black and white are exchanged; level 0 is black": 255 - grey,
    }


@contextmanager
def without_pillow() -> Iterator[None]:
    "While it is entered, Pillow neither opens a PNG nor writes a chunk: that is what the reader is to do."

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise Wrong("it leaves the work to Pillow; do it with `zlib` and your own lines")

    with (
        patch.object(PngImagePlugin, "PngStream", refuse),  # what opening a PNG calls
        patch.object(PngImagePlugin, "o32", refuse),  # what `putchunk` calls
    ):
        yield


@exercise(stage=1)
def first_per_class(
    answer: Any,  # `answer(files, n)` gives (files, labels), n of each class
) -> None:
    "Take the first `n` files of each class by number, and their labels."
    for n, folders in (
        (2, {0: (3, 20, 100), 1: (1, 2, 10)}),
        (3, {2: (5, 40, 300, 2000), 10: (7, 8, 11), 0: (90, 100, 1000, 101, 99)}),
        (1, {7: (12,), 3: (4, 30)}),
        (40, {c: range(c, 900, 20) for c in range(12)}),
    ):
        files = [Path("training", str(c), f"{i}.png") for c in folders for i in folders[c]]
        random.Random(n).shuffle(files)
        case = f"for n = {n}, classes {', '.join(map(str, folders))}"
        got = call(answer, files, n, case=case)
        if type(got) not in (tuple, list) or len(got) != 2:
            raise Wrong(f"{case}: you give {nothing_or_type(got)}; expected (files, labels)")
        expected = [
            (c, Path("training", str(c), f"{i}.png"))
            for c in sorted(folders)
            for i in sorted(folders[c])[:n]
        ]
        compare_files(got[0], [file for _, file in expected], files, n, case)
        same(got[1], torch.tensor([c for c, _ in expected]), case, "the tensor of labels")
    case = "for n = 3 and a class of two files"
    files = [
        Path("training", c, f"{i}.png")
        for c, i in (("0", 1), ("0", 2), ("0", 3), ("1", 1), ("1", 2))
    ]
    try:
        answer(files, 3)
    except ValueError:
        return
    except Exception as error:
        raise Wrong(
            f"{case}: {name(answer)} raises {type(error).__name__}; expected ValueError"
        ) from error
    raise Wrong(f"{case}: {name(answer)} returns something; expected a ValueError")


def compare_files(got: Any, expected: list[Path], files: Sequence[Path], n: int, case: str) -> None:
    "Raise `Wrong` unless these files are taken, in this order."
    if type(got) not in (list, tuple):
        raise Wrong(f"{case}: the files are {nothing_or_type(got)}; expected a list of paths")
    got = list(got)
    for file in got:
        if type(file) is not type(files[0]):
            raise Wrong(f"{case}: {nothing_or_type(file)} is among the files; expected paths")
    if got == expected:
        return
    labels = sorted({file.parent.name for file in files}, key=int)
    by_text = [file for c in labels for file in sorted(f for f in files if f.parent.name == c)[:n]]
    as_given = [file for c in labels for file in [f for f in files if f.parent.name == c][:n]]
    classes = list(dict.fromkeys(file.parent.name for file in got))
    why = ""
    if got == by_text:
        why = ": the names are sorted as text"
    elif got == as_given:
        why = ": the files of a class are left in the order in which they were given"
    elif classes != labels and sorted(classes, key=int) == labels:
        why = f": the classes come in the order {', '.join(classes)}"
    if len(got) != len(expected):
        raise Wrong(f"{case}: {len(got)} files; expected {len(expected)}, {n} of each class{why}")
    i = next(i for i in range(len(got)) if got[i] != expected[i])
    short = ("/".join(file.parts[-2:]) for file in (got[i], expected[i]))
    raise Wrong(f"{case}: file {i} is {next(short)}; expected {next(short)}{why}")
