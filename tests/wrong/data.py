"Plausible wrong answers to the exercises of stage 1, each with what its check has to say."

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, putchunk

from mnist_walkthrough.data import (
    PREDICTORS,
    by_number,
    decode_png,
    inflate,
    png_chunks,
    unfilter,
)


def crc_of_content(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content))


def crc_of_all(kind, content):
    body = struct.pack(">I", len(content)) + kind + content
    return body + struct.pack(">I", zlib.crc32(body))


def type_counted(kind, content):
    body = kind + content
    return struct.pack(">I", len(body)) + body + struct.pack(">I", zlib.crc32(body))


def least_significant_first(kind, content):
    body = kind + content
    return struct.pack("<I", len(content)) + body + struct.pack("<I", zlib.crc32(body))


def one_byte_length(kind, content):
    body = kind + content
    return bytes([len(content)]) + body + struct.pack(">I", zlib.crc32(body))


def type_first(kind, content):
    body = kind + content
    return kind + struct.pack(">I", len(content)) + content + struct.pack(">I", zlib.crc32(body))


def pillows_chunk(kind, content):
    putchunk(buffer := BytesIO(), kind, content)
    return buffer.getvalue()


class PillowsFile(PngImageFile):
    _open = PngImageFile._open


def flip(data, at, mask=1):
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def first_flip_that_opens(data):
    for i in range(40, len(data)):
        try:
            np.array(Image.open(BytesIO(flip(data, i))))
        except (OSError, SyntaxError, ValueError):
            continue
        return flip(data, i)


def another_picture(data):
    image = Image.open(BytesIO(data))
    Image.eval(image, lambda pixel: 255 - pixel).save(buffer := BytesIO(), "PNG")
    return buffer.getvalue()


def filtering(predict, subtract=lambda pixel, p: (pixel - p) % 256, from_stored=False):
    def filter_row(filter_type, row, above):
        stored, left, corner = [], 0, 0
        for pixel, up in zip(row, above, strict=True):
            stored.append(subtract(pixel, predict(filter_type, left, up, corner)))
            left, corner = stored[-1] if from_stored else pixel, up
        return bytes(stored)

    return filter_row


def predictor(filter_type, left, up, corner):
    return PREDICTORS[filter_type](left, up, corner)


def average_of_bytes(filter_type, left, up, corner):
    if filter_type == 3:
        return (left + up) % 256 // 2
    return predictor(filter_type, left, up, corner)


def last_at_a_tie(filter_type, left, up, corner):
    if filter_type < 4:
        return predictor(filter_type, left, up, corner)
    return min((corner, up, left), key=lambda pixel: abs(pixel - (left + up - corner)))


def depth_decoder(
    scale, order=lambda depth: range(8 - depth, -1, -depth), n_bytes=None, crop=True, paeth=unfilter
):
    "A decoder with one thing about it changed."

    def decode_grey(data):
        chunks = list(png_chunks(data))
        width, height, depth = struct.unpack(">IIB", chunks[0][1][:9])
        size = n_bytes(width, depth) if n_bytes else (width * depth + 7) // 8
        stream = b"".join(content for kind, content in chunks if kind == b"IDAT")
        raw = inflate(stream, height * (1 + size))
        rows = [bytes(size)]
        for at in range(0, len(raw), 1 + size):
            rows.append(paeth(raw[at], raw[at + 1 : at + 1 + size], rows[-1]))
        packed = torch.tensor([list(row) for row in rows[1:]])
        levels = packed[:, :, None] >> torch.tensor(order(depth)) & 2**depth - 1
        levels = levels.flatten(1)[:, : width if crop else None]
        return scale(levels, depth).to(torch.uint8)

    return decode_grey


def stretched(levels, depth):
    return levels * 255 // (2**depth - 1)


def first_files(order, n_labels=None, n_files=lambda of_class, n: of_class[:n], classes=int):
    "The first files of each class, with one thing about them changed; a class with too few is an error."

    def first_per_class(files, n):
        kept, labels = [], []
        for c in sorted({f.parent.name for f in files}, key=classes):
            of_class = order([f for f in files if f.parent.name == c])
            if len(of_class) < n:
                raise ValueError("too few")
            kept += n_files(of_class, n)
            labels += [int(c)] * (n_labels(of_class) if n_labels else n)
        return kept, torch.tensor(labels)

    return first_per_class


def numbered(files):
    return sorted(files, key=by_number)


def no_error(files, n):
    kept = []
    for c in sorted({int(f.parent.name) for f in files}):
        kept += numbered(f for f in files if int(f.parent.name) == c)[:n]
    return kept, torch.tensor([int(f.parent.name) for f in kept])


def first_of_all(files, n):
    kept = sorted(files, key=lambda f: (int(f.parent.name), int(f.stem)))[:n]
    return kept, torch.tensor([int(f.parent.name) for f in kept])


def no_paths(files, n):
    kept, labels = no_error(files, n)
    return [f.name for f in kept], labels


WRONG = {
    "reversed_names": [
        ([f"{i}.png" for i in (50, 40, 30, 20, 10)], 'for "10.png" and "20.png"'),
        (["9.png", "80.png", "700.png", "701.png", "6000.png"], 'for "700.png" and "701.png"'),
        ([f"{i:03}.png" for i in (9, 80, 700, 65, 5)], "without leading zeros"),
        (["9.png", "80.png", "700.png"], "for 3 different names: five are asked for"),
        (["9.png"] * 5, "for 1 different names"),
        ([9, 80, 700, 6000, 50000], "int; expected names such as"),
        ([Path("9.png"), Path("80.png")], "Path; expected names such as"),
    ],
    "png_chunk": [
        (crc_of_content, "this one leaves the type out"),
        (crc_of_all, "this one takes the length in"),
        (type_counted, "the type does not count"),
        (least_significant_first, "the most significant byte comes first"),
        (one_byte_length, "the chunk has 20 bytes; expected 23"),
        (type_first, "the length is b'tEXt'"),
        (pillows_chunk, "it leaves the work to Pillow"),
    ],
    "silent_flip": [
        (lambda data: data, "0 bits differ"),
        (lambda data: flip(data, 20), "the content of IHDR, and Pillow notices"),
        (lambda data: flip(data, len(data) - 13), "and Pillow still shows the right picture"),
        (lambda data: flip(data, 50, 255), "8 bits differ"),
        (another_picture, "expected"),
        (lambda data: flip(data, 1), "in the signature, and Pillow notices"),
    ],
    "filter_row": [
        (unfilter, "you add the prediction, as reading does"),
        (filtering(predictor, from_stored=True), "you predict from what is stored on the left"),
        (filtering(average_of_bytes), "before anything is taken modulo 256"),
        (filtering(predictor, lambda pixel, p: pixel - p), "ValueError: bytes must be in range"),
        (filtering(predictor, lambda pixel, p: max(pixel - p, 0)), "modulo 256"),
        (filtering(last_at_a_tie), "(Paeth)"),
    ],
    "decode_grey": [
        (decode_png, "expected 8-bit greyscale"),
        (depth_decoder(lambda levels, depth: levels), "your white is 15; stretch the levels"),
        (
            depth_decoder(lambda levels, depth: levels << (8 - depth)),
            "your white is 240; shifting does not stretch",
        ),
        (
            depth_decoder(stretched, order=lambda depth: range(0, 8, depth)),
            "in each byte the pixels are reversed",
        ),
        (
            depth_decoder(stretched, n_bytes=lambda width, depth: width * depth // 8),
            "the header promises",
        ),
        (depth_decoder(stretched, crop=False), "the bits that fill up the last byte are no pixels"),
        (
            depth_decoder(lambda levels, depth: 255 - stretched(levels, depth)),
            "black and white are exchanged",
        ),
        (
            lambda data: torch.from_numpy(np.array(Image.open(BytesIO(data)).convert("L"))),
            "it leaves the work to Pillow",
        ),
        (
            lambda data: depth_decoder(stretched)(data).numpy(),
            "the image is a ndarray; expected a tensor uint8 [2, 3]",
        ),
        (
            lambda data: torch.empty_like(depth_decoder(stretched)(data), device="meta"),
            "a tensor without its numbers",
        ),
        (depth_decoder(stretched, paeth=lambda f, row, above: row), "rows with filters 012344"),
    ],
    "first_per_class": [
        (first_files(sorted), "the names are sorted as text"),
        (first_files(list), "in the order in which they were given"),
        (first_files(numbered, n_labels=len), "the tensor of labels has shape [6]"),
        (first_files(numbered, classes=str), "the classes come in the order 0, 10, 2"),
        (first_files(numbered, n_files=lambda of_class, n: of_class[-n:]), "file 0 is 0/20.png"),
        (first_of_all, "2 files; expected 4, 2 of each class"),
        (no_error, "returns something; expected a ValueError"),
        (no_paths, "a str is among the files"),
    ],
}
