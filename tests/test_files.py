"""Files that are bent: PNG, IDX and tar. Each is read rightly or refused by a `ValueError` that names it."""

import gzip
import io
import itertools
import os
import signal
import struct
import tarfile
import tracemalloc
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile
from test_data import chunk, png

from mnist_walkthrough import ImageDataset, data, decode_png, digits
from mnist_walkthrough.data import (
    decode_files,
    decode_with_pillow,
    read_idx,
    read_image,
    unfilter,
    unpack,
    write_pngs,
)

SIGNATURE, END = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")
GREY = (8, 0, 0, 0, 0)  # 8 bits, grey, not interlaced


def header(width, height, *kind):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *(kind or GREY)))


def bits_flipped(content, start=0, step=1):
    for bit in range(8 * start, 8 * len(content), step):
        yield (
            bit,
            content[: bit // 8]
            + bytes([content[bit // 8] ^ 1 << bit % 8])
            + content[bit // 8 + 1 :],
        )


@pytest.fixture(scope="module")
def digit():
    "A digit that ships, as bytes."
    return (digits() / "training" / "3" / "7.png").read_bytes()


@pytest.fixture(autouse=True)
def patience():
    "Whatever takes a minute counts as standing still."

    def give_up(*_):
        pytest.fail("it stands still")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 60)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def named(error, file):
    return str(error).startswith(f"{file}: ")


class Reader:
    "Reads a file in every way that the package has."

    def __init__(self, folder, good):
        (folder / "good.png").write_bytes(good)
        self.good, self.file = str(folder / "good.png"), folder / "given.png"

    def ways(self, size):
        file = str(self.file)
        yield lambda: read_image(self.file, size, decode_png)
        yield lambda: read_image(self.file, size, decode_with_pillow)
        yield lambda: decode_files([file, file], size)[1]
        if size == (28, 28):
            yield lambda: decode_files([self.good, file], size)[1]
        else:
            yield lambda: decode_files([file], size)[0]

    def __call__(self, content, size=(28, 28)):
        "The pixels, or None where it is refused; by all ways alike."
        self.file.write_bytes(content)
        found = []
        for way in self.ways(size):
            try:
                found.append(way().numpy())
            except ValueError as error:
                found.append(None if named(error, self.file) else error)
        assert all(np.array_equal(found[0], other) for other in found), "the ways disagree"
        return found[0]


@pytest.fixture
def read(tmp_path, digit):
    return Reader(tmp_path, digit)


def test_a_digit_cut_at_any_byte_is_refused(read, digit):
    assert read(digit) is not None
    assert [n for n in range(len(digit)) if read(digit[:n]) is not None] == []


def test_a_digit_with_any_flipped_bit_is_refused(read, digit):
    assert [bit for bit, flipped in bits_flipped(digit) if read(flipped) is not None] == []


def library(content):
    "What Pillow reads."
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


def test_contents_with_flipped_bits_and_right_checksums(read, digit):
    "Not the checksum of a chunk alone keeps wrong pictures out: the compressed data has its own, the header its sense."
    inside = digit[41:-16]
    bent = (
        digit[:33] + chunk(b"IDAT", flipped) + END for _, flipped in bits_flipped(inside, step=3)
    )
    passed = [content for content in bent if read(content) is not None]
    assert all(np.array_equal(library(content), library(digit)) for content in passed)
    assert len(passed) < 60  # a repetition of zeros may begin at other zeros
    for n in range(len(inside)):
        assert read(digit[:33] + chunk(b"IDAT", inside[:n]) + END) is None
    for bit, flipped in bits_flipped(digit[16:29]):
        assert read(SIGNATURE + chunk(b"IHDR", flipped) + digit[33:]) is None, bit
    kinds = [kind for _, kind in bits_flipped(b"IDAT")]
    assert all(read(digit[:33] + chunk(kind, inside) + END) is None for kind in kinds)


def test_an_interrupted_stream_passes_even_a_pillow_that_forgives(read, digit, monkeypatch):
    "`LOAD_TRUNCATED_IMAGES` is set all over the web; then Pillow fills what it cannot decode with black."
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    wrong_filter = png((2, 2, *GREY), b"\0\1\2\5\3\4")
    assert library(wrong_filter).tolist() == [[1, 2], [0, 0]]
    assert read(wrong_filter, (2, 2)) is None
    assert read(png((28, 28, *GREY), bytes(27 * 29) + b"\5" + bytes(28))) is None
    assert all(read(digit[:n]) is None for n in range(0, len(digit), 5))


ROWS = b"\0\1\2\0\3\4"
PIXELS = [[1, 2], [3, 4]]
STREAM = zlib.compress(ROWS)
DATA = chunk(b"IDAT", STREAM)
HALVES = [chunk(b"IDAT", STREAM[:5]), chunk(b"IDAT", STREAM[5:])]
TEXT = chunk(b"tEXt", b"Title\0Two")
ACTL = chunk(b"acTL", struct.pack(">II", 2, 0))
SMALL_FRAME = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 1, 0, 0))
SECOND = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 2, 2, 0, 0, 1, 1, 0, 0)) + chunk(
    b"fdAT", struct.pack(">I", 2) + zlib.compress(b"\0\7\7\0\7\7")
)
WITH_DICTIONARY = zlib.compressobj(zdict=b"abc")


def adler(stream):
    return stream[:-1] + bytes([stream[-1] ^ 1])


@pytest.mark.parametrize(
    "chunks",
    [
        HALVES,
        [chunk(b"IDAT", b""), *HALVES, chunk(b"IDAT", b"")],
        [chunk(b"IDAT", STREAM[i : i + 1]) for i in range(len(STREAM))],
        [TEXT, DATA, TEXT],
        [chunk(b"tRNS", b"\0\1"), DATA],
        [chunk(b"gAMA", struct.pack(">I", 10_000)), chunk(b"sRGB", b"\0"), DATA],
        [chunk(b"sBIT", b"\1"), chunk(b"bKGD", b"\0\3"), chunk(b"hIST", b"\0\1"), DATA],
        *([chunk(kind, b""), DATA] for kind in (b"tRNS", b"gAMA", b"cHRM", b"iCCP", b"pHYs", b"eXIf")),
        [chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(10**7))), DATA],
        [chunk(b"iCCP", b"bomb\0\0" + zlib.compress(bytes(10**7))), DATA],
        [chunk(b"abcd", b"what a later edition may define"), DATA],
        [ACTL, SMALL_FRAME, DATA, SECOND],
        [ACTL, DATA, SMALL_FRAME, SECOND],
        [chunk(b"IDAT", zlib.compress(ROWS, wbits=9))],
        [chunk(b"IDAT", zlib.compress(ROWS, 0))],
    ],
)  # fmt: skip
def test_other_files_of_the_same_picture(read, chunks):
    "Pixels are the numbers that are stored: what says how to show them, or moves them, is passed over."
    found = read(SIGNATURE + header(2, 2) + b"".join(chunks) + END, (2, 2))
    assert found.tolist() == PIXELS


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([header(2, 2), header(2, 2), DATA, END], "expected the chunks IHDR, IDAT, IEND"),
        ([header(2, 2), DATA, header(1, 2), END], "expected the chunks"),
        ([DATA, header(2, 2), END], "begins with a header"),
        ([TEXT, header(2, 2), DATA, END], "begins with a header"),
        ([header(2, 2), HALVES[0], TEXT, HALVES[1], END], "IHDR IDAT tEXt IDAT IEND"),
        ([header(2, 2), HALVES[0], END, HALVES[1], END], "expected the chunks"),
        ([header(2, 2), DATA, END, TEXT], "ends with IEND"),
        ([header(2, 2), DATA, END, END], "expected the chunks"),
        ([header(2, 2), DATA, END, b"x"], "cut off"),
        ([header(2, 2), DATA, chunk(b"IEND", b"x")], "ends with IEND"),
        ([header(2, 2), END], "expected the chunks"),
        ([header(2, 2), chunk(b"IDAT", b""), END], "holds 0"),
        ([header(2, 2), chunk(b"PLTE", bytes(6)), DATA, END], "IHDR PLTE IDAT IEND"),
        ([header(2, 2), chunk(b"ABCD", b""), DATA, END], "IHDR ABCD IDAT IEND"),
        ([header(2, 2), chunk(b"IDaT", STREAM), DATA, END], "expected the chunks"),
        ([header(2, 2), chunk(b"a\0\0\0", b""), DATA, END], "expected the chunks"),
        ([header(2, 2), chunk("تest".encode()[:4], b""), DATA, END], "expected the chunks"),
        ([chunk(b"IHDR", header(2, 2)[8:20]), DATA, END], "begins with a header"),
        ([chunk(b"IHDR", header(2, 2)[8:21] + b"\0"), DATA, END], "begins with a header"),
        ([header(2, 2), b"\x80\0\0\0" + DATA[4:], END], "cut off in chunk b'IDAT' at byte 33"),
        ([header(2, 2), b"\xff\xff\xff\xff" + DATA[4:], END], "cut off in chunk b'IDAT'"),
        ([header(2, 2), chunk(b"IDAT", adler(STREAM)), END], "incorrect data check"),
        ([header(2, 2), chunk(b"IDAT", STREAM + b"\0"), END], "something follows it"),
        ([header(2, 2), chunk(b"IDAT", STREAM + STREAM), END], "something follows it"),
        ([header(2, 2), chunk(b"IDAT", STREAM[:-4]), END], "cut off"),
        ([header(2, 2), chunk(b"IDAT", WITH_DICTIONARY.compress(ROWS) + WITH_DICTIONARY.flush()), END], "is damaged"),
        ([header(2, 2), chunk(b"IDAT", zlib.compress(ROWS, wbits=-15)), END], "is damaged"),
        ([header(2, 2), chunk(b"IDAT", gzip.compress(ROWS)), END], "is damaged"),
        ([header(2, 2), chunk(b"IDAT", zlib.compress(ROWS + b"\0")), END], "holds more"),
        ([header(2, 2), chunk(b"IDAT", zlib.compress(ROWS[:-1])), END], "holds 5"),
        ([header(2, 2), chunk(b"IDAT", zlib.compress(b"\0\1\2\xff\3\4")), END], "filter type 255"),
        ([header(2, 3), DATA, END], "promises 9 bytes"),
        ([header(1, 3), DATA, END], r"\[3, 1\] pixels, expected \[2, 2\]"),
        ([header(3, 2), chunk(b"IDAT", zlib.compress(bytes(8))), END], r"\[2, 3\] pixels, expected \[2, 2\]"),
        ([header(2, 3), chunk(b"IDAT", zlib.compress(bytes(9))), END], r"\[3, 2\] pixels, expected \[2, 2\]"),
        ([header(0, 2), DATA, END], "none that a PNG can have"),
        ([header(2**31, 2), DATA, END], "none that a PNG can have"),
        ([header(2049, 2048), DATA, END], "2048 x 2049 pixels are more than 4,194,304"),
        *(([header(2, 2, depth, 0, 0, 0, 0), DATA, END], f"bit depth {depth}") for depth in (0, 1, 2, 4, 16)),
        *(([header(2, 2, 8, colour, 0, 0, 0), DATA, END], f"colour type {colour}") for colour in (1, 2, 3, 4, 6)),
        ([header(2, 2, 8, 0, 1, 0, 0), DATA, END], "compression 1"),
        ([header(2, 2, 8, 0, 0, 1, 0), DATA, END], "filter method 1"),
        ([header(2, 2, 8, 0, 0, 0, 1), DATA, END], "interlacing 1"),
    ],
)  # fmt: skip
def test_a_file_against_the_specification_is_refused_in_words(read, parts, words):
    content = SIGNATURE + b"".join(parts)
    assert read(content, (2, 2)) is None
    with pytest.raises(ValueError, match=words):
        read_image(read.file, (2, 2), decode_png)


def saved(mode, form="PNG", **options):
    Image.new(mode, (28, 28)).save(buffer := io.BytesIO(), form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        *map(saved, ("RGB", "RGBA", "LA", "P", "1", "I;16")),
        *(saved("L", form) for form in ("JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")),
        b"", b"\n", b"no picture", "kein Bild, größer".encode(), b"\x89PNG\r\n\x1a\n", b"\x89PNG\n\x1a\n",
        b"PK\3\4", bytes(1000), b"\xff" * 1000,
    ],
)  # fmt: skip
def test_what_is_only_called_png_is_refused(read, content):
    assert read(content) is None


def test_a_folder_a_missing_and_a_closed_file(read, monkeypatch):
    read.file.mkdir()
    for way in read.ways((28, 28)):
        with pytest.raises(ValueError, match="given.png: .*(Is a directory|denied)"):
            way()
    read.file.rmdir()
    for way in read.ways((28, 28)):
        with pytest.raises(ValueError, match="given.png: .*No such file"):
            way()
    usual = os.open
    monkeypatch.setattr(
        os, "open", lambda name, *a: (denied if "given" in name else usual)(name, *a)
    )
    for way in read.ways((28, 28)):
        with pytest.raises(ValueError, match="given.png: .*Permission denied"):
            way()


def denied(name, *_):
    raise PermissionError(13, "Permission denied", name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="not run: no pipes with names on this system")
def test_neither_a_pipe_nor_a_device_stops_the_reading(read, tmp_path, monkeypatch):
    os.mkfifo(read.file)
    for way in read.ways((28, 28)):
        with pytest.raises(ValueError, match="given.png: not a PNG: it starts with b''"):
            way()
    for reader in (read_idx, lambda file: unpack(file, tmp_path)):
        with pytest.raises(ValueError, match="given.png: "):
            reader(read.file)
    read.file.unlink()
    read.file.symlink_to("/dev/zero")
    for way in read.ways((28, 28)):
        with pytest.raises(ValueError, match="given.png: more than 8,388,608 bytes"):
            way()
    monkeypatch.setattr(data, "MAX_TAR", 2**21)
    for reader in (read_idx, lambda file: unpack(file, tmp_path)):
        with pytest.raises(ValueError, match="given.png: "), memory_below(2**23):
            reader(read.file)


@contextmanager
def memory_below(limit):
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit, f"{peak:,} bytes"


@pytest.fixture(scope="module")
def zeros():
    "A hundred million zero bytes as a zlib stream, a hundred thousand bytes long."
    return zlib.compress(bytes(10**8), 9)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((28, 28), "holds more"),
        ((2**31 - 1, 2**31 - 1), "are more than 4,194,304, the most"),
        ((10_000, 9_999), "are more than 4,194,304, the most"),
        ((1, 2**22 + 1), "are more than 4,194,304, the most"),
        ((1, 2**22), "holds more"),
        ((2**22, 1), "holds more"),
    ],
)
def test_a_bomb_takes_no_memory(read, zeros, size, words):
    content = SIGNATURE + header(*size) + chunk(b"IDAT", zeros) + END
    with memory_below(2**25):
        assert read(content) is None
    with pytest.raises(ValueError, match=words), memory_below(2**25):
        decode_with_pillow(content)


def test_a_long_file_takes_no_memory(read):
    "At most 8 MB are read; a list of empty chunks takes 20 times as much, at the most."
    most = 2**23 - len(SIGNATURE + header(2, 2) + chunk(b"teXt", b"") + DATA + END)
    for extra, found in ((most, PIXELS), (most + 1, None), (10**8, None)):
        content = SIGNATURE + header(2, 2) + chunk(b"teXt", bytes(extra)) + DATA + END
        with memory_below(2**26):
            pixels = read(content, (2, 2))
        assert pixels is found is None or pixels.tolist() == found
    empty = chunk(b"IDAT", b"")
    content = SIGNATURE + header(2, 2) + empty * 2**15 + END
    with (
        pytest.raises(ValueError, match="promises 6 bytes of rows, the data holds 0"),
        memory_below(20 * len(content)),
    ):
        decode_with_pillow(content)


def predicted(p, filter_type):
    "What filter `filter_type` predicts for each pixel of an image with a black edge above and left."
    left, above, corner = p[1:, :-1], p[:-1, 1:], p[:-1, :-1]
    near = np.stack([left, above, corner])
    nearest = abs(near - (left + above - corner)).argmin(0)
    paeth = np.take_along_axis(near, nearest[None], 0)[0]
    return [np.zeros_like(left), left, above, (left + above) // 2, paeth][filter_type]


def encoded(pixels, filters, level):
    "A PNG whose rows have these filter types, by the formulas of the specification."
    p = np.pad(pixels.astype(int), ((1, 0), (1, 0)))
    stored = np.stack([(p[1:, 1:] - predicted(p, f)) % 256 for f in range(5)])
    rows = [bytes([f, *stored[f, y]]) for y, f in enumerate(filters)]
    content = zlib.compress(b"".join(rows), level)
    height, width = pixels.shape
    return SIGNATURE + header(width, height) + chunk(b"IDAT", content) + END


@settings(
    derandomize=True,
    deadline=None,
    max_examples=100,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # the machine may be busy
)
@example(np.eye(28, dtype=np.uint8), 0, 6, False)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 9),
    st.booleans(),
)
def test_decoding_undoes_encoding(tmp_path_factory, pixels, seed, level, optimize):
    "Of any image up to 40 x 40, with any filters, whoever wrote it; hypothesis' simple ones and noise."
    g = np.random.default_rng(seed)
    read = Reader(tmp_path_factory.getbasetemp(), encoded(np.eye(28, dtype=np.uint8), [0] * 28, 6))
    for image in (pixels, g.integers(256, size=pixels.shape, dtype=np.uint8)):
        filters = g.integers(5, size=len(image)).tolist()
        Image.fromarray(image).save(
            file := io.BytesIO(), "PNG", compress_level=level, optimize=optimize
        )
        for content in (encoded(image, filters, level), file.getvalue()):
            assert np.array_equal(read(content, image.shape), image)
            assert np.array_equal(library(content), image)


@pytest.mark.parametrize("filter_type", range(5))
def test_each_filter_at_every_size(tmp_path, filter_type):
    g = np.random.default_rng(filter_type)
    read = Reader(tmp_path, encoded(np.eye(28, dtype=np.uint8), [0] * 28, 6))
    for shape in itertools.product((1, 2, 3, 17, 40), repeat=2):
        image = g.integers(256, size=shape, dtype=np.uint8)
        content = encoded(image, [filter_type] * len(image), 6)
        assert np.array_equal(read(content, shape), image)
        assert np.array_equal(library(content), image)


def test_what_no_filter_is(digit, tmp_path):
    for filter_type in (-1, 5, 255):
        with pytest.raises(ValueError, match=f"filter type {filter_type}; there are 0 to 4"):
            unfilter(filter_type, b"\1\2", b"\3\4")
    with pytest.raises(ValueError, match="zip"):
        unfilter(1, b"\1\2", b"\3")
    (tmp_path / "a.png").write_bytes(digit)
    for together in (0, -1, 1.5):
        with pytest.raises(
            ValueError, match=f"together is a whole number from 1 on, got {together}"
        ):
            decode_files([str(tmp_path / "a.png")], together=together)


def test_a_data_set_with_a_bent_file_is_refused_by_its_name(tmp_path, digit):
    (tmp_path / "3").mkdir()
    for i in range(3):
        (tmp_path / "3" / f"{i}.png").write_bytes(digit)
    assert len(ImageDataset(tmp_path)) == 3
    for content in (
        digit[:-1],
        bytes([*digit[:50], digit[50] ^ 1, *digit[51:]]),
        saved("RGB"),
        b"",
    ):
        (tmp_path / "3" / "1.png").write_bytes(content)
        for decoder in (None, decode_png, decode_with_pillow):
            with pytest.raises(ValueError, match=r"/3/1.png: |\\3\\1.png: "):
                ImageDataset(tmp_path, decoder=decoder)
    (tmp_path / "3" / "1.png").write_bytes(digit)
    assert len(ImageDataset(tmp_path)) == 3


# IDX


def idx(shape, numbers):
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + numbers


SMALL = idx((2, 3, 4), bytes(range(24)))


@pytest.fixture
def given_idx(tmp_path):
    "Reads bytes as an IDX file; None where it is refused by its name."

    def read(content):
        (tmp_path / "given").write_bytes(content)
        try:
            return read_idx(tmp_path / "given")
        except ValueError as error:
            return None if named(error, tmp_path / "given") else error

    return read


def test_an_idx_file_cut_at_any_byte_is_refused(given_idx):
    for content in (SMALL, gzip.compress(SMALL)):
        assert not [n for n in range(len(content)) if given_idx(content[:n]) is not None]


def test_an_idx_file_with_any_flipped_bit(given_idx):
    "What is said of the numbers is held; a flipped number in a plain file is a number. In gzip it is noticed."
    for bit, flipped in bits_flipped(SMALL):
        array = given_idx(flipped)
        if bit < 8 * 16:
            assert array is None, bit
        else:
            assert array.tobytes() == flipped[16:]
            assert array.shape == (2, 3, 4)
    zipped = gzip.compress(SMALL)
    passed = 0
    for bit, flipped in bits_flipped(zipped):
        array = given_idx(flipped)
        assert array is None or array.tobytes() == SMALL[16:], bit
        passed += array is not None
    assert passed < 80  # of the time and other remarks, and some that end the compressed data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an IDX file of bytes: it starts with b''"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\0\0\x08\0" + b"1", "not an IDX file"),
        (b"\0\0\x08\3\0\0\0\1\0\0\0\1\0\0\0", "not an IDX file"),
        *((b"\0\0" + bytes([kind]) + SMALL[3:], "not an IDX file") for kind in (0, 9, 11, 12, 13, 14, 255)),
        (b"\1" + SMALL[1:], "not an IDX file"),
        (b"PK\3\4" + SMALL, "not an IDX file"),
        (SMALL[:-1], r"promises \[2, 3, 4\] numbers, holds 23"),
        (SMALL + b"\0", "holds more"),
        (SMALL + SMALL, "holds more"),
        (idx((2**32 - 1,) * 3, b""), "1,073,741,824 are the most"),
        (idx((2**16,) * 4, b""), "are the most"),  # 2**64, which is 0 in 64 bits
        (idx((2**32 - 1,) * 255, b""), "are the most"),
        (idx((2**30,), b"short"), "holds 5"),
        (idx((2**30 + 1,), b"short"), "are the most"),
        (idx((1,) * 255, b"1"), "dimension"),
        (idx((0, 2**32 - 1, 2**32 - 1), b""), "."),
        (gzip.compress(SMALL) + b"junk", "Not a gzipped file"),
        (gzip.compress(SMALL[:-1]), "holds 23"),
        (gzip.compress(SMALL + b"\0"), "holds more"),
        (gzip.compress(SMALL)[:-8] + bytes(8), "CRC check failed"),
        (gzip.compress(SMALL)[:-4] + bytes(4), "Incorrect length"),
        (gzip.compress(gzip.compress(SMALL)), "not an IDX file"),
        (zlib.compress(SMALL), "not an IDX file"),
    ],
)  # fmt: skip
def test_what_is_no_idx_file_is_refused_in_words(given_idx, tmp_path, content, words):
    with memory_below(2**23):
        assert given_idx(content) is None
    with pytest.raises(ValueError, match=words):
        read_idx(tmp_path / "given")


def test_idx_files_of_any_number_of_images(given_idx):
    for n in (0, 1, 255, 256):
        numbers = np.arange(n * 6, dtype=np.uint8)
        content = idx((n, 2, 3), numbers.tobytes())
        members = gzip.compress(content[:9]) + gzip.compress(b"") + gzip.compress(content[9:])
        for form in (content, gzip.compress(content), members, gzip.compress(content) + bytes(9)):
            array = given_idx(form)
            assert array.shape == (n, 2, 3)
            assert array.tobytes() == numbers.tobytes()
    assert given_idx(idx((1,) * 64, b"1")).shape == (1,) * 64


@pytest.mark.parametrize("promise", [5, 2**31, 2**32 - 1])
def test_a_bomb_in_gzip_takes_no_memory(given_idx, zeros, promise):
    "Of a hundred million bytes in a member, after a header that promises less or more."
    raw = zeros[2:-4]  # without the wrapping of zlib
    bomb = (
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + raw + struct.pack("<II", zlib.crc32(bytes(10**8)), 10**8)
    )
    with memory_below(2**23):
        assert given_idx(gzip.compress(idx((promise,), b"")) + bomb) is None


def test_an_idx_file_of_more_than_one_piece(given_idx):
    "It is read a mebibyte at a time; also at its end nothing more, nothing less and a right checksum."
    for n in (2**20 - 1, 2**20, 2**20 + 1, 2**21):
        whole = idx((n,), bytes(n))
        assert given_idx(whole).shape == given_idx(gzip.compress(whole, 1)).shape == (n,)
        for bent in (whole[:-1], whole + b"1"):
            assert given_idx(bent) is given_idx(gzip.compress(bent, 1)) is None
        assert given_idx(gzip.compress(whole, 1)[:-8] + bytes(8)) is None


def test_what_is_no_file_has_another_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_idx(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        read_idx(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        ((2, 3, 4), (3,), r"training has images \[2, 3, 4\], labels \[3\]; need"),
        ((2, 3, 4), (2, 1), r"labels \[2, 1\]"),
        ((0, 3, 4), (0,), r"images \[0, 3, 4\]"),
        ((2, 0, 4), (2,), r"images \[2, 0, 4\]"),
        ((2, 12), (2,), r"images \[2, 12\]"),
        ((2, 3, 4, 1), (2,), r"images \[2, 3, 4, 1\]"),
    ],
)
@pytest.mark.parametrize("split", ["training", "testing"])
def test_images_and_labels_that_do_not_fit_write_nothing(tmp_path, split, images, labels, words):
    files = [tmp_path / name for name in data.IDX_FILES]
    for file, shape in zip(files, [(2, 3, 4), (2,)] * 2, strict=True):
        file.write_bytes(idx(shape, bytes(np.prod(shape))))
    at = 2 * (split == "testing")
    for file, shape in zip(files[at:], [images, labels], strict=False):
        file.write_bytes(idx(shape, bytes(np.prod(shape))))
    (tmp_path / "into").mkdir()
    with pytest.raises(ValueError, match=words.replace("training", split)):
        write_pngs(files, tmp_path / "into")
    assert not list((tmp_path / "into").iterdir())


def test_idx_files_become_the_same_images(tmp_path):
    "One image and 255; a class of more than one digit is a class."
    g = np.random.default_rng(0)
    files, arrays = [tmp_path / name for name in data.IDX_FILES], []
    for n in (255, 1):
        arrays += [
            g.integers(256, size=(n, 5, 3), dtype=np.uint8),
            g.integers(256, size=n, dtype=np.uint8),
        ]
    for file, array in zip(files, arrays, strict=True):
        file.write_bytes(idx(array.shape, array.tobytes()))
    write_pngs(files, tmp_path / "into")
    for split, images, labels in zip(
        ("training", "testing"), arrays[::2], arrays[1::2], strict=True
    ):
        found = ImageDataset(tmp_path / "into" / split, (5, 3))
        order = np.argsort(labels, kind="stable")
        assert np.array_equal(found.images, images[order])
        assert np.array_equal(found.y, labels[order])


# tar


def member(name, content=b"", size=None, kind=tarfile.REGTYPE, form=tarfile.USTAR_FORMAT, **more):
    "A header and its content, in whole blocks; `size` may lie."
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content) if size is None else size, kind
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(form) + content + bytes(-len(content) % 512)


@pytest.fixture(scope="module")
def two(digit):
    return [member(f"mnist_png/{split}/3/7.png", digit) for split in ("training", "testing")]


@pytest.fixture
def given_tar(tmp_path):
    "Unpacks bytes as an archive: what it wrote, or None where it is refused by its name."
    count = itertools.count()

    def unpacked(content):
        (tmp_path / "given.tar").write_bytes(content)
        place = tmp_path / str(next(count))
        (place / "into").mkdir(parents=True)
        try:
            n = unpack(tmp_path / "given.tar", place / "into")
        except ValueError as error:
            n = None if named(error, tmp_path / "given.tar") else error
        found = {f.relative_to(place).as_posix(): f for f in place.rglob("*") if not f.is_dir()}
        assert all(name.startswith("into/mnist_png/") for name in found)
        if n is not None:
            assert n == len(found)
            return {name[15:]: file.read_bytes() for name, file in found.items()}

    return unpacked


@pytest.fixture
def whole(digit):
    return {f"{split}/3/7.png": digit for split in ("training", "testing")}


def test_an_archive_cut_anywhere_is_refused(given_tar, two, whole):
    content = b"".join(two) + bytes(1024)
    assert given_tar(content) == given_tar(gzip.compress(content)) == whole
    assert not [n for n in range(0, len(content), 32) if given_tar(content[:n]) is not None]
    zipped = gzip.compress(content)
    assert not [n for n in range(len(zipped)) if given_tar(zipped[:n]) is not None]


def test_an_archive_with_any_flipped_bit_loses_no_image(given_tar, two, digit, whole):
    "Harmless is what fills a block, and how a checksum is written (with a space for a 0)."
    content = b"".join(two) + bytes(1024)
    headers = [*range(512), *range(1024, 1536, 7)]
    for at in [*headers, *range(512, 1024, 25), *range(2048, 3072, 25)]:
        for bit in range(8) if 124 <= at < 160 else (at % 8,):
            flipped = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
            found = given_tar(flipped)
            harmless = 512 + len(digit) <= at < 1024 or 148 <= at % 1024 < 156
            assert found is None or (harmless and found == whole), (at, bit)
    for bit, flipped in bits_flipped(gzip.compress(content), step=11):
        assert given_tar(flipped) in (None, whole), bit


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        *((member(name, b"x"), "is no image in a class folder") for name in (
            "../7.png", "/etc/7.png", "mnist_png/../7.png", "mnist_png/training/3/../7.png", "mnist_png/training/7.png",
            "mnist_png/training/three/7.png", "mnist_png/validation/3/7.png", "mnist_png/training/3/7.png.exe",
            "mnist_png/training/3/.png", "mnist_png/training/3/7.png\n", "mnist_png/training/3/a/7.png", "././mnist_png/training/3/7.png",
            "mnist_png\\training\\3\\7.png", "mnist_png/training/3/C:7.png", "mnist_png/training/\u0663/7.png",
            "mnist_png/training/3/\u0667.png", "mnist_png/training/3/\xe9.png", "mnist_png/training/3//7.png", "other.png")),
        *((member("mnist_png/training/3/8.png", kind=kind, linkname="/etc/passwd"), "is no image in a class folder") for kind in (
            tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"L", b"K", b"Q", b"\xff")),
        (member("mnist_png/training/3/8.png", b"x", kind=tarfile.GNUTYPE_SPARSE, form=tarfile.GNU_FORMAT), "not a PNG"),
        (member("mnist_png/training/3/8.png"), "'mnist_png/training/3/8.png': not a PNG"),
        (member("mnist_png/training/3/8.png", b"x", size=10**9), "cut off in 'mnist_png/training/3/8.png'"),
        (member("mnist_png/training/3/8.png", b"x", size=2**60, form=tarfile.GNU_FORMAT), "cut off"),
        (member("mnist_png/training/3/8.png", b"x", size=-1024, form=tarfile.GNU_FORMAT), "cut off"),
        (member("d/", size=-512, kind=tarfile.DIRTYPE, form=tarfile.GNU_FORMAT), "cut off"),
        (member("x", size=2**40, kind=tarfile.XHDTYPE, form=tarfile.GNU_FORMAT), "cut off"),
        (bytes(512), "something follows its end"),
        (b"\xff" * 512, "no header of a tar archive at byte 0"),
    ],
)  # fmt: skip
def test_an_archive_that_holds_something_else_is_refused(given_tar, tmp_path, two, bad, words):
    for content in (
        bad + b"".join(two),
        b"".join(two) + bad if "follows" not in words else bad + two[0],
    ):
        assert given_tar(content + bytes(1024)) is None
        with pytest.raises(ValueError, match=words.replace("at byte 0", "at byte ")):
            unpack(tmp_path / "given.tar", tmp_path)


def test_an_archive_with_a_name_twice_is_refused(given_tar, two, digit):
    end = bytes(1024)
    assert given_tar(b"".join(two) + two[0] + end) is None
    assert given_tar(b"".join(two) + member("./mnist_png/training/3/7.png", digit) + end) is None
    pair = [member(f"mnist_png/training/3/{name}.png", digit) for name in "aA"]
    assert given_tar(pair[0] + two[1] + end) is not None
    assert given_tar(b"".join(pair) + two[1] + end) is None


def test_other_forms_of_the_same_archive(given_tar, two, digit, whole):
    "Folders, GNU's and pax' headers, times for the next member, a thousand of these, filling up to a tape's block."
    folder = member("anything/", kind=tarfile.DIRTYPE)
    times = member("PaxHeader/7.png", b"20 mtime=1234567.89\n", kind=tarfile.XHDTYPE)
    of_all = member("pax_global_header", b"20 mtime=1234567.89\n", kind=tarfile.XGLTYPE)
    dotted = [part.replace(b"mnist_png", b"./mnist_png") for part in two]
    for parts in (
        [folder, *two],
        [of_all, times, two[0], folder, times, two[1]],
        [times] * 2000 + two,
        [member(f"./mnist_png/{s}/3/7.png", digit, form=tarfile.GNU_FORMAT) for s in ("training", "testing")],
    ):  # fmt: skip
        for end in (1024, 10240, 2**20):
            assert given_tar(b"".join(parts) + bytes(end)) == whole
    assert given_tar(b"".join(dotted) + bytes(1024)) is None  # a checksum that was not renewed


def test_an_archive_without_both_splits_is_refused(given_tar, two):
    for parts in (
        [],
        two[:1],
        two[1:],
        [member("mnist_png/testing/", kind=tarfile.DIRTYPE), two[0]],
    ):
        assert given_tar(b"".join(parts) + bytes(1024)) is None


def test_a_bomb_of_an_archive_takes_no_memory(given_tar, two, monkeypatch):
    "The bound is 256 MB; here a smaller one, which shows that it is looked at."
    assert data.MAX_TAR == 2**28
    monkeypatch.setattr(data, "MAX_TAR", 2**21)
    for bomb in (bytes(10**8), b"".join(two) + bytes(10**8), two[0] * 10**5):
        with memory_below(2**23 + len(bomb)):
            zipped = gzip.compress(bomb, 1)
        with memory_below(2**23):
            assert given_tar(zipped) is None
    assert given_tar(b"".join(two) + bytes(2**20)) is not None


def test_other_compressions_are_refused(given_tar, two):
    import bz2
    import lzma

    for compress in (bz2.compress, lzma.compress, zlib.compress):
        assert given_tar(compress(b"".join(two) + bytes(1024))) is None
