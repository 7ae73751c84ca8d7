"""The full set: what a user has in any layout, and downloads from servers that misbehave.

Nothing here reaches the internet: the addresses are those of a server on this machine. Tests that
need the 70,000 digits take them from the folder or archive named by MNIST_PNG."""

import gzip
import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_walkthrough import ImageDataset, data, digits, mnist

N_TRAIN, N_TEST = 40, 20  # of the small data set that the servers here have
FULL = "mnist-9e18edaa3a08"  # where the full set is kept: SHA-256 of its archive
COUNTS = {
    "training": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "testing": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


def idx(array):
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


@pytest.fixture(scope="module")
def arrays():
    "A small data set: {name of an IDX file: its array}."
    g, sizes = np.random.default_rng(0), {"train": N_TRAIN, "t10k": N_TEST}
    return {
        name: g.integers(256, size=(n, 9, 7), dtype=np.uint8)
        if "images" in name
        else np.arange(n, dtype=np.uint8) % 10
        for name in data.IDX_FILES
        for n in [sizes[name.partition("-")[0]]]
    }


@pytest.fixture(scope="module")
def served(arrays):
    "The contents of the servers' files, with the names that the real ones have."
    files = {f"{name}.gz": gzip.compress(idx(array)) for name, array in arrays.items()}
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w:gz") as archive:
        for split, part in (("training", "train"), ("testing", "t10k")):
            for i, label in enumerate(arrays[f"{part}-labels-idx1-ubyte"]):
                Image.fromarray(arrays[f"{part}-images-idx3-ubyte"][i]).save(
                    png := io.BytesIO(), "PNG"
                )
                add(archive, f"mnist_png/{split}/{label}/{i}.png", png.getvalue())
    return files | {"mnist_png.tgz": buffer.getvalue()}


def add(archive, name, content, **attributes):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in attributes.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(content))


class Handler(BaseHTTPRequestHandler):
    "Serves /MANNER/NAME: the file NAME, in the manner of that name."

    def do_GET(self):
        manner, name = self.path.strip("/").split("/")
        self.server.asked.append(self.path)
        content = self.server.files[name]
        if manner in ("404", "503"):
            return self.send_error(int(manner))
        if manner == "wrong":
            content = bytes(reversed(content))
        if manner == "longer":
            content += b"more"
        self.send_response(200)
        if manner != "silent-about-size":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if manner == "cut":
            content = content[: len(content) // 2]
        if manner == "stalls":
            self.wfile.write(content[:10])
            return self.server.stop.wait(20)
        for at in range(0, len(content), 500):
            self.wfile.write(content[at : at + 500])
            if manner == "slow":
                self.wfile.flush()
                time.sleep(0.02)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(served):
    "A server on this machine; `asked` are the paths that were asked of it."
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.stop = served, [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.stop.set()
        server.shutdown()


def sources(server, *manners):
    "As `data.SOURCES`: the archive in the first manner, then the IDX files in the others."
    archives = {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in server.files.items()
    }
    png = {"mnist_png.tgz": archives.pop("mnist_png.tgz")}
    return [(f"{server.url}/{manner}/", archives if k else png) for k, manner in enumerate(manners)]


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.delenv("MNIST_WALKTHROUGH_MNIST", raising=False)
    monkeypatch.setenv("MNIST_WALKTHROUGH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def served_by(monkeypatch, server, cache):
    "Let `mnist` ask this machine's server, in the given manners."

    def choose(*manners):
        monkeypatch.setattr(data, "SOURCES", sources(server, *manners))

    return choose


def is_the_small_set(folder, arrays):
    for split, part, n in (("training", "train", N_TRAIN), ("testing", "t10k", N_TEST)):
        read = ImageDataset(folder / split, (9, 7))
        labels = arrays[f"{part}-labels-idx1-ubyte"]
        order = np.argsort(labels, kind="stable")
        assert read.y.tolist() == labels[order].tolist()
        assert np.array_equal(read.images.numpy(), arrays[f"{part}-images-idx3-ubyte"][order])
        assert len(read) == n
    return True


@pytest.mark.parametrize("manners", [("good",), ("slow",), ("404", "good"), ("404", "slow")])
def test_downloads_either_kind(served_by, server, arrays, cache, manners):
    served_by(*manners)
    assert mnist() == cache / FULL / "mnist_png"
    assert is_the_small_set(mnist(), arrays)
    assert len(server.asked) == (1 if len(manners) == 1 else 5), "fetched once"
    assert {f.name for f in (cache / FULL).iterdir()} == {"mnist_png", "count"}, (
        "archives are removed"
    )


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ("404", "404"),
        ("503", "503"),
        ("cut", "IncompleteRead|incomplete|more expected"),
        ("wrong", "does not match the known hash"),
        ("longer", "announces .* bytes, expected"),
        ("silent-about-size", "announces None bytes"),
        ("stalls", "timed out"),
    ],
)
def test_what_is_not_right_is_not_kept_and_the_next_server_is_asked(
    monkeypatch, served_by, server, arrays, cache, manner, said
):
    monkeypatch.setattr(data, "TIMEOUT", 1)
    served_by(manner)
    with pytest.raises(OSError, match=said) as error:
        mnist()
    for hint in (f"{server.url}/{manner}/", "MNIST_WALKTHROUGH_MNIST", "digits()"):
        assert hint in str(error.value)
    assert not (cache / FULL).exists()
    served_by(manner, manner, "good")
    assert is_the_small_set(mnist(), arrays)


def test_no_network(monkeypatch, cache, arrays):
    "No server at all: refused connections, and the digits of the package all the same."
    monkeypatch.setattr(data, "SOURCES", [("http://127.0.0.1:9/", data.PNG_ARCHIVE)])
    with pytest.raises(OSError, match="could not be downloaded") as error:
        mnist()
    assert "refused" in str(error.value)
    assert len(ImageDataset(digits() / "testing")) == 1000


def test_the_first_server_is_down(monkeypatch, served_by, server, arrays):
    served_by("good", "good")
    monkeypatch.setattr(
        data, "SOURCES", [("http://127.0.0.1:9/", data.PNG_ARCHIVE), data.SOURCES[1]]
    )
    assert is_the_small_set(mnist(), arrays)
    assert len(server.asked) == 4


def test_a_redirect_is_followed(monkeypatch, served_by, server, arrays):
    def moved(handler):
        if handler.path.startswith("/moved/"):
            handler.send_response(302)
            handler.send_header("Location", handler.path.replace("/moved/", "/good/"))
            handler.send_header("Content-Length", "0")
            return handler.end_headers()
        return usual(handler)

    usual = Handler.do_GET
    monkeypatch.setattr(Handler, "do_GET", moved)
    served_by("moved")
    assert is_the_small_set(mnist(), arrays)


def started(server, cache, offline, manners, code="print(mnist())"):
    "A process that asks for the set."
    code = (
        "from mnist_walkthrough import data, mnist\n"
        f"data.SOURCES = {sources(server, *manners)!r}\n{code}"
    )
    environment = {k: v for k, v in offline.items() if k != "MNIST_WALKTHROUGH_MNIST"}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment | {"MNIST_WALKTHROUGH_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_ask_at_once_share_one_download(server, cache, offline, arrays):
    processes = [started(server, cache, offline, ["slow"]) for _ in range(3)]
    done = [p.communicate(timeout=120) for p in processes]
    assert {out.strip() for out, _ in done} == {str(cache / FULL / "mnist_png")}, done
    assert server.asked == ["/slow/mnist_png.tgz"]
    assert any("100%" in err for _, err in done), "the one that downloads shows its progress"
    assert is_the_small_set(cache / FULL / "mnist_png", arrays)


@pytest.mark.parametrize("kind", ["unpack", "write_pngs"])
def test_killed_while_unpacking_leaves_nothing_half(server, cache, offline, arrays, kind):
    "Killed with its files written but not yet in place."
    code = (
        f"import time\nreal = data.{kind}\n"
        f"def slow(*args): real(*args); print('unpacked', flush=True); time.sleep(60)\n"
        f"data.{kind} = slow\nmnist()"
    )
    manners = ["good"] if kind == "unpack" else ["404", "good"]
    process = started(server, cache, offline, manners, code)
    assert process.stdout.readline() == "unpacked\n", process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (cache / FULL).exists()
    assert (cache / f"{FULL}.partial").exists()
    again = started(server, cache, offline, ["good"])
    assert again.communicate(timeout=60)[0].strip() == str(cache / FULL / "mnist_png")
    assert is_the_small_set(cache / FULL / "mnist_png", arrays)
    assert not (cache / f"{FULL}.partial").exists()


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("../outside.png", {}),
        ("mnist_png/../../outside.png", {}),
        ("mnist_png/link", {"type": tarfile.SYMTYPE, "linkname": "../../.."}),
        ("mnist_png/link", {"type": tarfile.SYMTYPE, "linkname": "/etc"}),
        ("mnist_png/link", {"type": tarfile.LNKTYPE, "linkname": "../../secret"}),
        ("mnist_png/pipe", {"type": tarfile.CHRTYPE}),
    ],
)
def test_an_archive_that_leaves_its_folder_is_refused(cache, tmp_path, served, name, attributes):
    evil = tmp_path / "evil.tar"
    with (
        tarfile.open(fileobj=io.BytesIO(served["mnist_png.tgz"])) as good,
        tarfile.open(evil, "w") as archive,
    ):
        add(archive, name, b"evil" if not attributes else b"", **attributes)
        for member in good:
            archive.addfile(member, good.extractfile(member))
    with pytest.raises(ValueError, match="evil.tar: .* is no image in a class folder"):
        mnist(evil)
    assert not list(tmp_path.rglob("outside.png"))
    assert not [f for f in cache.iterdir() if f.is_dir() and f.suffix != ".partial"]


@pytest.mark.parametrize("cut", [0, 50, -50])
def test_a_damaged_archive_is_refused(cache, tmp_path, served, cut):
    (tmp_path / "damaged.tgz").write_bytes(served["mnist_png.tgz"][:cut])
    with pytest.raises(ValueError, match="damaged.tgz"):
        mnist(tmp_path / "damaged.tgz")
    with tarfile.open(tmp_path / "other.tar", "w") as archive:
        add(archive, "other/file", b"")
    with pytest.raises(ValueError, match="'other/file' is no image in a class folder"):
        mnist(tmp_path / "other.tar")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(ValueError, match="no folder mnist_png/training"):
        mnist(tmp_path / "empty.tar")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("under", [".", "raw", "MNIST/raw"])
@pytest.mark.parametrize("before_idx", ["-", "."])
def test_idx_files_of_the_user(cache, tmp_path, arrays, suffix, under, before_idx):
    raw = tmp_path / "mine" / under
    raw.mkdir(parents=True)
    for name, array in arrays.items():
        content = gzip.compress(idx(array)) if suffix else idx(array)
        (raw / f"{name.replace('-idx', before_idx + 'idx')}{suffix}").write_bytes(content)
    first = mnist(tmp_path / "mine")
    assert is_the_small_set(first, arrays)
    assert mnist(str(tmp_path / "mine")) == first
    os.utime(next(raw.glob("train-images*")))
    assert mnist(tmp_path / "mine") != first, "changed files are another data set"


def test_a_folder_or_an_archive_of_the_user(monkeypatch, cache, tmp_path, served, arrays):
    (tmp_path / "own.tgz").write_bytes(served["mnist_png.tgz"])
    folder = mnist(tmp_path / "own.tgz")
    assert is_the_small_set(folder, arrays)
    assert mnist(tmp_path / "own.tgz") == folder
    assert mnist(folder) == mnist(folder.parent) == folder
    monkeypatch.setenv("MNIST_WALKTHROUGH_MNIST", str(folder.parent))
    assert mnist() == folder


def test_what_the_user_names_must_be_there(cache, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no folders training and testing"):
        mnist(tmp_path / "nowhere")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte"):
        mnist(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an IDX file of bytes"),
        (b"\0\0\x0d\1\0\0\0\1\0\0\0\0", "not an IDX file of bytes"),
        (b"\0\0\x08\3\0\0", "not an IDX file of bytes"),
        (b"\0\0\x08\1\0\0\0\5abcd", r"promises \[5\] numbers, holds 4"),
        (b"\0\0\x08\1\0\0\0\5abcdef", r"promises \[5\] numbers, holds more"),
        (gzip.compress(b"\0\0\x08\1\0\0\0\5abcde")[:-9], "ended before the end-of-stream marker"),
        (b"\x1f\x8bnot gzip", "Unknown compression method"),
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path, content, said):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=f"file: .*{said}"):
        data.read_idx(tmp_path / "file")


def test_images_and_labels_must_fit(cache, tmp_path, arrays):
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(idx(array[:-1] if "t10k-labels" in name else array))
    with pytest.raises(ValueError, match=r"testing has images \[20, 9, 7\], labels \[19\]"):
        mnist(tmp_path)


def test_the_servers_are_those_that_are_documented():
    "Sizes as torchvision and fastai publish them, sums as TensorFlow Datasets and FastAI.jl do; addresses are secure."
    assert all(address.startswith("https://") for address, _ in data.SOURCES)
    sums = {name: entry for _, files in data.SOURCES for name, entry in files.items()}
    assert sums["mnist_png.tgz"][0] == 15_683_414
    starts = {name: sha256[:8] for name, (_, sha256) in sums.items()}
    assert starts.pop("mnist_png.tgz") == "9e18edaa"
    assert [starts[f"{name}.gz"] for name in data.IDX_FILES] == [
        *("440fcabf", "3552534a", "8d422c7b", "f7ae60f9")
    ]
    assert {len(sha256) for _, sha256 in sums.values()} == {64}
    assert [sums[f"{name}.gz"][0] for name in data.IDX_FILES] == [9912422, 28881, 1648877, 4542]


@pytest.mark.parametrize(
    ("split", "part", "images_md5", "labels_md5"),
    [
        ("training", "train", "6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
        ("testing", "t10k", "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    ],
)  # fmt: skip
def test_all_digits_are_the_published_ones(full_set, split, part, images_md5, labels_md5):
    "Decoded, packed, counted; put back into the order of the original files they have their MD5 sums."
    decoded, mapped = ImageDataset(full_set / split), ImageDataset(full_set / split)
    assert decoded.y.bincount().tolist() == COUNTS[split]
    assert torch.equal(mapped.images, decoded.images)
    assert torch.equal(mapped.y, decoded.y)
    files = data.class_files(full_set / split)
    order = torch.tensor([int(f.stem) for pngs in files.values() for f in pngs]).argsort()
    for tensor, md5 in ((mapped.images, images_md5), (mapped.y.to(torch.uint8), labels_md5)):
        assert hashlib.md5(idx(tensor[order].numpy())).hexdigest() == md5


def test_all_pixels_are_those_of_pillow(full_set):
    for split in COUNTS:
        files = [f for pngs in data.class_files(full_set / split).values() for f in pngs]
        library = torch.from_numpy(np.stack([np.array(Image.open(f)) for f in files]))
        assert torch.equal(ImageDataset(full_set / split).images, library)


def test_decoding_all_is_faster_than_pillow_and_mapping_is_instant(full_set):
    "In turn, the median of three; decoding in seconds of the processor, since the machine may be busy."
    folder = full_set / "training"
    files = [str(f) for pngs in data.class_files(folder).values() for f in pngs]

    def seconds(clock, read):
        start = clock()
        read()
        return clock() - start

    def ratio_and_batch():
        data.pack_of(folder).unlink(missing_ok=True)
        own = seconds(time.process_time, lambda: ImageDataset(folder))
        pillow = seconds(
            time.process_time, lambda: np.stack([np.array(Image.open(f)) for f in files])
        )
        mapped = ImageDataset(folder)
        return own / pillow, seconds(time.perf_counter, lambda: mapped.images[:256].sum())

    ratios, batches = zip(*(ratio_and_batch() for _ in range(3)), strict=True)
    assert sorted(ratios)[1] < 0.7, ratios
    assert sorted(batches)[1] < 0.05, batches


def test_memory_stays_below_twice_the_images(full_set, offline):
    code = (
        "import sys\n"
        "from mnist_walkthrough import ImageDataset, digits\n"
        "def status(key):\n"
        "    line = next(l for l in open('/proc/self/status') if l.startswith(key))\n"
        "    return int(line.split()[1]) * 1024\n"
        "ImageDataset(digits() / 'training')\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"
        "before = status('VmRSS')\n"
        "images = ImageDataset(sys.argv[1]).images\n"
        "print((status('VmHWM') - before) / images.numel())\n"
    )
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("not run: needs Linux's /proc to measure memory")
    done = subprocess.run(
        [sys.executable, "-c", code, full_set / "training"],
        env=offline,
        capture_output=True,
        text=True,
    )
    assert float(done.stdout) < 2, done.stderr
