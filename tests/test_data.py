import os
import shutil
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_walkthrough import ImageDataset, decode_png, digits, show_images
from mnist_walkthrough.data import (
    as_squares,
    by_number,
    cache_folder,
    class_files,
    decode_files,
    decode_with_pillow,
    known_rows,
    pack_of,
    packed,
    png_rows,
    state_of,
    unfilter_all,
)


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(header, rows, *, end=True):
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", *header)), chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + (chunk(b"IEND", b"") if end else b"")


def folder_of_images(path, sizes, mode="L"):
    "A data set {class: [size of each image]}; pixel values tell class and number."
    for label, shapes in sizes.items():
        (path / str(label)).mkdir(parents=True)
        for i, size in enumerate(shapes):
            colour = (10 * int(label) + i) if mode == "L" else (1, 2, 3)
            Image.new(mode, size, colour).save(path / str(label) / f"{i}.png")
    return path


@pytest.mark.parametrize("filter_type", range(5))
def test_each_filter_on_random_pixels_and_any_size(filter_type):
    "Encode with one filter by the formula of the specification, decode with ours and with Pillow."
    from mnist_walkthrough.data import PREDICTORS

    g = torch.Generator().manual_seed(filter_type)
    for height, width in ((1, 1), (1, 9), (9, 1), (5, 7)):
        pixels = torch.randint(256, (height, width), generator=g, dtype=torch.uint8)
        p = torch.nn.functional.pad(pixels.int(), (1, 0, 1, 0)).tolist()
        rows = bytearray()
        for i in range(1, height + 1):
            rows.append(filter_type)
            for j in range(1, width + 1):
                guess = PREDICTORS[filter_type](p[i][j - 1], p[i - 1][j], p[i - 1][j - 1])
                rows.append((p[i][j] - guess) % 256)
        data = png((width, height, 8, 0, 0, 0, 0), bytes(rows))
        assert torch.equal(decode_png(data), pixels)
        assert torch.equal(decode_with_pillow(data), pixels)


ONE = (1, 1, 8, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a PNG"),
        (b"GIF89a", "not a PNG: it starts with b'GIF89a'"),
        (b"\x89PNG\r\n\x1a\n", "cut off"),
        (png(ONE, b"\0\0", end=False), "cut off"),
        (png(ONE, b"\0\0")[:-1], "IEND.*checksum"),
        (png((1, 1, 16, 0, 0, 0, 0), b"\0\0\0"), "bit depth 16"),
        (png((1, 1, 4, 0, 0, 0, 0), b"\0\0"), "bit depth 4"),
        (png((1, 1, 8, 2, 0, 0, 0), b"\0\0\0\0"), "colour type 2"),
        (png((1, 1, 8, 3, 0, 0, 0), b"\0\0"), "colour type 3"),
        (png((1, 1, 8, 0, 0, 0, 1), b"\0\0"), "interlacing 1"),
        (png(ONE, b"\5\0"), "filter type 5"),
        (png(ONE, b"\0"), "promises 2 bytes of rows, the data holds 1"),
        (png(ONE, b"\0" * 1000), "holds more"),
        (png((2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0), b"\0" * 10), "more than 4,194,304, the most"),
        (png((2048, 2048, 8, 0, 0, 0, 0), b"\0" * 10), "holds 10"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *ONE)) + chunk(b"IDAT", b"no") + chunk(b"IEND", b""), "compressed data is damaged"),
    ],
)  # fmt: skip
def test_what_is_no_8_bit_grey_png_is_refused_with_a_reason(data, message):
    with pytest.raises(ValueError, match=message):
        decode_png(data)


@pytest.mark.parametrize("decoder", [decode_png, decode_with_pillow])
def test_cut_off_at_every_byte_is_refused(decoder):
    data = (digits() / "training" / "0" / "75.png").read_bytes()
    for n in range(len(data)):
        with pytest.raises((ValueError, OSError)):
            decoder(data[:n])


def test_numbers_in_names_are_numbers():
    from pathlib import Path

    names = ["10", "9", "2", "b2", "b10", "100"]
    assert [p.name for p in sorted(map(Path, names), key=by_number)] == [
        "2",
        "9",
        "10",
        "100",
        "b2",
        "b10",
    ]


@pytest.mark.parametrize("decoder", [None, decode_png, decode_with_pillow])
def test_classes_and_files_by_number_with_their_labels(tmp_path, decoder):
    folder = folder_of_images(tmp_path, {10: [(3, 2)] * 12, 2: [(3, 2)] * 11})
    (folder / ".DS_Store").write_text("no image")
    (folder / "2" / "notes.txt").write_text("no image")
    data = ImageDataset(folder, (2, 3), decoder=decoder)
    assert data.y.tolist() == [2] * 11 + [10] * 12
    assert data.images[:, 0, 0].tolist() == [*range(20, 31), *range(100, 112)]
    assert (data.images.dtype, data.x.dtype, data.y.dtype) == (
        torch.uint8,
        torch.float32,
        torch.int64,
    )
    assert data.x.shape == (23, 6)
    assert torch.equal(data.x, data.images.reshape(23, 6) / 255)
    assert repr(data) == f"ImageDataset({folder.name}: 23 images 2 x 3, 11-12 per class)"


def test_num_samples_counts_per_class():
    data = ImageDataset(digits() / "training", num_samples=3)
    assert data.y.tolist() == [c for c in range(10) for _ in range(3)]
    assert repr(data) == "ImageDataset(training: 30 images 28 x 28, 3 per class)"


def test_indexing_and_files_read_once(monkeypatch):
    data = ImageDataset(digits() / "testing", num_samples=2)
    monkeypatch.setattr("mnist_walkthrough.data.read_file", None)
    for i in (3, slice(2, 5), torch.tensor([4, 4, 0]), torch.arange(20) % 2 == 0):
        x, y = data[i]
        assert torch.equal(x, data.x[i])
        assert torch.equal(y, data.y[i])
    assert len(data) == 20
    assert data.tensors[0] is data.x


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: p / "none", FileNotFoundError, "no folder .*none"),
        (lambda p: p, ValueError, "need class folders"),
        (lambda p: folder_of_images(p, {0: []}), ValueError, "0: 0 PNG files"),
        (lambda p: folder_of_images(p, {0: [(28, 28), (28, 27)]}), ValueError, r"1.png: \[27, 28\] pixels, expected \[28, 28\]"),
        (lambda p: folder_of_images(p, {0: [(28, 28)]}, "RGB"), ValueError, "0.png: expected 8-bit greyscale"),
    ],
)  # fmt: skip
def test_a_bad_folder_is_refused_with_a_reason(tmp_path, make, error, message):
    with pytest.raises(error, match=message):
        ImageDataset(make(tmp_path))


def test_other_bad_input(tmp_path):
    (tmp_path / "seven").mkdir()
    with pytest.raises(
        ValueError, match=r"class folders are numbers below 2\*\*63, found \['seven'\]"
    ):
        class_files(tmp_path)
    with pytest.raises(ValueError, match="100 PNG files, need 101"):
        class_files(digits() / "training", 101)


def test_squares_from_everything():
    rows = torch.rand(3, 16)
    assert torch.equal(as_squares(rows), rows.reshape(3, 4, 4))
    assert torch.equal(as_squares(rows[0]), rows[:1].reshape(1, 4, 4))
    assert as_squares(torch.rand(5, 4, 7)).shape == (5, 4, 7)
    assert as_squares(torch.rand(28, 28)).shape == (1, 28, 28)
    for bad in (torch.rand(3, 15), torch.rand(0), torch.rand(0, 4, 4), torch.rand(1, 1, 4, 4)):
        with pytest.raises(ValueError, match="expected images"):
            as_squares(bad)


@pytest.mark.parametrize("n", [1, 3, 10, 23])
def test_show_images_shows_all_with_their_titles(n):
    import matplotlib.pyplot as plt

    show_images(torch.rand(n, 49), titles=range(n))
    axes = plt.gcf().axes
    assert [ax.get_title() for ax in axes[:n]] == [str(i) for i in range(n)]
    assert sum(bool(ax.images) for ax in axes) == n
    plt.close("all")


def test_a_class_that_is_there_twice_is_refused(tmp_path):
    folder = folder_of_images(tmp_path, {"1": [(2, 2)], "01": [(2, 2)]})
    with pytest.raises(ValueError, match="each number once"):
        class_files(folder)
    with pytest.raises(ValueError, match="num_samples is a whole number from 1 on, got -2"):
        class_files(digits() / "training", -2)


@pytest.mark.parametrize("decoder", [decode_png, decode_with_pillow])
def test_too_few_rows_and_a_cut_stream_are_refused(decoder):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 2, 8, 0, 0, 0, 0))
    for stream, message in (
        (zlib.compress(b"\0\1"), "promises 4"),
        (zlib.compress(b"\0\1\0\2")[:-4], "cut off"),
        (zlib.compress(b"\0\1\0\2") + b"more", "something follows"),
    ):
        data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", stream) + chunk(b"IEND", b"")
        with pytest.raises(ValueError, match=message):
            decoder(data)
    with pytest.raises(ValueError, match="none that a PNG can have"):
        decoder(png((0, 1, 8, 0, 0, 0, 0), b""))


def test_all_at_once_undoes_any_mixture_of_filters():
    g = np.random.default_rng(0)
    for n, height, width in ((1, 1, 1), (7, 1, 9), (7, 9, 1), (300, 6, 5)):
        stored = g.integers(256, size=(n, height, 1 + width), dtype=np.uint8)
        stored[:, :, 0] = g.integers(5, size=(n, height))
        expected = [decode_png(png((width, height, 8, 0, 0, 0, 0), s.tobytes())) for s in stored]
        assert np.array_equal(unfilter_all(stored), torch.stack(expected).numpy())


def unusual(data):
    "The same picture as other files: with a text, and in two pieces."
    pixels = data[41:-16]
    pieces = chunk(b"IDAT", pixels[:50]) + chunk(b"IDAT", pixels[50:])
    text = chunk(b"tEXt", b"Title\0Three")
    return data[:33] + data[33:-12] + text + data[-12:], data[:33] + pieces + data[-12:]


@pytest.mark.parametrize("together", [1, 2, 100])
def test_all_at_once_reads_what_one_by_one_reads(tmp_path, together):
    usual = [f.read_bytes() for f in class_files(digits() / "training", 3)[3]]
    files = []
    for i, data in enumerate([usual[0], *unusual(usual[1]), usual[2], *unusual(usual[0])]):
        (tmp_path / f"{i}.png").write_bytes(data)
        files.append(tmp_path / f"{i}.png")
    one_by_one = torch.stack([decode_png(f.read_bytes()) for f in files])
    assert torch.equal(decode_files([*map(str, files)], together=together), one_by_one)


def test_no_flipped_bit_and_no_cut_passes_when_the_header_is_known():
    data = class_files(digits() / "training", 1)[3][0].read_bytes()
    for i in range(33, len(data)):
        for damaged in (
            data[:i],
            *(data[:i] + bytes([data[i] ^ 1 << b]) + data[i + 1 :] for b in range(8)),
        ):
            with suppress(ValueError):
                assert known_rows(damaged, 812) is None
    assert known_rows(data, 812) == png_rows(data)[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png((1, 2, 8, 0, 0, 0, 0), b"\0\0\5\0"), "filter type 5"),
        (png((2, 1, 8, 0, 0, 0, 0), b"\0\0\0"), r"\[1, 2\] pixels, expected \[2, 1\]"),
        (png((1, 2, 8, 0, 0, 0, 0), b"\0\0\0"), "promises 4 bytes"),
        (png((1, 2, 8, 0, 0, 0, 0), b"\0\0\0\0\0"), "holds more"),
    ],
)
def test_a_bad_file_among_good_ones_is_named(tmp_path, data, message):
    folder = folder_of_images(tmp_path, {0: [(1, 2)] * 3})
    (folder / "0" / "1.png").write_bytes(data)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"1.png: .*{message}"):
            ImageDataset(folder, (2, 1))
    assert not pack_of(folder).exists()


def test_decoded_once_then_mapped(tmp_path, monkeypatch):
    folder = folder_of_images(tmp_path / "set", {10: [(3, 2)] * 12, 2: [(3, 2)] * 11})
    first = ImageDataset(folder, (2, 3))
    monkeypatch.setattr("mnist_walkthrough.data.read_files", None)
    again = ImageDataset(str(folder), (2, 3))
    assert torch.equal(again.images, first.images)
    assert torch.equal(again.y, first.y)
    again.images += 1
    assert torch.equal(ImageDataset(folder, [2, 3]).images, first.images), "the pack stays as it is"


def swapped(folder):
    "Two files change their names; sizes and times of change of the contents stay."
    (folder / "0.png").rename(folder / "x")
    (folder / "1.png").rename(folder / "0.png")
    (folder / "x").rename(folder / "1.png")


def same_size_and_time(folder):
    before = (folder / "1.png").stat()
    shutil.copy(folder / "2.png", folder / "1.png")
    assert (folder / "1.png").stat().st_size == before.st_size
    os.utime(folder / "1.png", ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        swapped,
        same_size_and_time,
        lambda folder: (folder / "1.png").unlink(),
        lambda folder: shutil.copy(folder / "1.png", folder / "5.png"),
        lambda folder: (folder / "0.png").rename(folder / "7.png"),
        lambda folder: shutil.copytree(folder, folder.parent / "3"),
        lambda folder: folder.rename(folder.parent / "8"),
    ],
)
def test_a_changed_folder_is_read_anew(tmp_path, change):
    folder = folder_of_images(tmp_path, {0: [(3, 2)] * 3, 1: [(3, 2)]})
    before = ImageDataset(folder, (2, 3))
    change(folder / "0")
    now, decoded = ImageDataset(folder, (2, 3)), ImageDataset(folder, (2, 3), decoder=decode_png)
    assert torch.equal(now.images, decoded.images)
    assert torch.equal(now.y, decoded.y)
    assert len(now) != len(before) or not torch.equal(
        torch.cat([now.images.flatten(), now.y]), torch.cat([before.images.flatten(), before.y])
    )


def test_a_pack_of_another_size_or_a_damaged_one_is_not_used(tmp_path):
    folder = folder_of_images(tmp_path, {0: [(3, 2)] * 3})
    first = ImageDataset(folder, (2, 3))
    with pytest.raises(ValueError, match=r"0.png: \[2, 3\] pixels, expected \[3, 2\]"):
        ImageDataset(folder, (3, 2))
    whole = pack_of(folder).read_bytes()
    for damaged in (b"", whole[:20], whole[:-1], b"\xff" * 100):
        pack_of(folder).write_bytes(damaged)
        assert torch.equal(ImageDataset(folder, (2, 3)).images, first.images)
        assert packed(pack_of(folder), (2, 3), state_of(folder)) is not None


def test_without_a_cache_a_folder_is_read_all_the_same(tmp_path, monkeypatch):
    folder = folder_of_images(tmp_path / "set", {0: [(3, 2)] * 3})
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MNIST_WALKTHROUGH_CACHE", str(tmp_path / "file"))
    assert len(ImageDataset(folder, (2, 3))) == 3


def test_a_chosen_decoder_sees_every_file_and_leaves_no_pack(tmp_path):
    folder, seen = folder_of_images(tmp_path, {0: [(3, 2)] * 3}), []

    def decoder(data):
        seen.append(data)
        return 255 - decode_png(data)

    for _ in range(2):
        images = ImageDataset(folder, (2, 3), decoder=decoder).images
        assert images[:, 0, 0].tolist() == [255, 254, 253]
    assert len(seen) == 6
    ImageDataset(folder, (2, 3), num_samples=2)
    assert not pack_of(folder).exists()
    assert not list(cache_folder().glob("tmp*"))
