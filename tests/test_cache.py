"""The cache: many processes at once, killed ones, damaged or missing files, no space, no rights; listing and clearing.

Where many files are written, in memory if the system has such a folder: the moments of a kill are then close together."""

import errno
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file, save_file

from mnist_walkthrough import ImageDataset, data, digits
from mnist_walkthrough.data import (
    cache_folder,
    cached,
    clear_cache,
    is_whole,
    once,
    pack_of,
    packed,
    write_pack,
)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: no fork here")
NOBODY = "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"


@pytest.fixture
def cache(monkeypatch):
    "An empty cache, in memory if possible, that every user may look into."
    memory = "/dev/shm"
    folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
    folder.chmod(0o755)
    monkeypatch.setenv("MNIST_WALKTHROUGH_CACHE", str(folder / "cache"))
    yield folder / "cache"
    for path in (folder / "cache", folder):
        path.chmod(0o755) if path.is_dir() else None
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def right(own_cache):
    "Images and labels of both halves of the shipped digits, each file read."
    return contents()


def contents():
    return [
        t
        for part in ("training", "testing")
        for t in data.read_files(data.class_names(digits() / part), (28, 28))
    ]


def same(found, right):
    return len(found) == len(right) and all(map(torch.equal, found, right))


def mapped():
    "What a user gets, packs and all."
    sets = [ImageDataset(digits() / part) for part in ("training", "testing")]
    return [t for s in sets for t in (s.images, s.y)]


def child(work):
    "Start a process that does `work`, and ends with 0 if that is true."
    if pid := os.fork():
        return pid
    try:
        os._exit(0 if work() else 1)
    except BaseException as error:
        print(error, file=sys.stderr)
    os._exit(2)


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def left(cache):
    return sorted(f.name for f in cache.iterdir() if f.suffix != ".lock")


@needs_fork
def test_fifty_processes_on_an_empty_cache(cache, right):
    start, stop = os.pipe()

    def work():
        os.close(stop)
        os.read(start, 1)  # until all are there
        return same(mapped(), right)

    children = [child(work) for _ in range(50)]
    os.close(stop)
    assert [ended(pid) for pid in children] == [0] * 50
    os.close(start)
    assert len(left(cache)) == 3
    assert not [name for name in left(cache) if "partial" in name]
    assert same(contents(), right)


@needs_fork
def test_killed_at_any_moment_while_unpacking(cache, right):
    "The kills are spread over the time that it takes."
    start = time.perf_counter()
    digits()
    takes = time.perf_counter() - start
    moments, half = random.Random(0), 0
    for _ in range(20):
        clear_cache()
        pid = child(lambda: same(mapped(), right))
        time.sleep(moments.uniform(0, 1.2 * takes))
        os.kill(pid, signal.SIGKILL)
        assert ended(pid) in (0, -signal.SIGKILL)
        half += any(name.endswith(".partial") for name in left(cache))
        assert same(mapped(), right)
        assert not [name for name in left(cache) if "partial" in name]
    assert half > 5, "most came too early or too late to tell"


@needs_fork
def test_killed_at_any_moment_while_packing(cache):
    "One of two packs is there, whole, or none; and no file more for each kill."
    cache.mkdir()
    n, file, moments = 2000, cache / "pack-0123456789ab.safetensors", random.Random(0)
    sets = [(torch.full((n, 28, 28), k, dtype=torch.uint8), torch.full((n,), k)) for k in (1, 2)]

    def work():
        while True:
            for k, (images, y) in enumerate(sets):
                write_pack(file, images, y, {"set": str(k)})

    half = 0
    for _ in range(30):
        pid = child(work)
        time.sleep(moments.uniform(0.02, 0.06))
        os.kill(pid, signal.SIGKILL)
        assert ended(pid) == -signal.SIGKILL
        half += file.with_suffix(".partial").exists()
        found = [packed(file, (28, 28), {"set": str(k)}) for k in (0, 1)]
        assert sum(f is not None for f in found) == 1
        assert all(f is None or same(f, s) for f, s in zip(found, sets, strict=True))
        assert set(left(cache)) <= {file.name, "pack-0123456789ab.partial"}
    assert half > 5, "most came too early or too late to tell"


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "mnist_png/training/0/75.png").unlink(),
        lambda folder: shutil.rmtree(folder / "mnist_png/testing/9"),
        lambda folder: shutil.rmtree(folder / "mnist_png/testing"),
        lambda folder: (folder / "count").unlink(),
        lambda folder: (folder / "count").write_text(""),
        lambda folder: (folder / "count").write_text("two thousand"),
        lambda folder: [shutil.rmtree(folder), folder.write_text("a file")],
        lambda folder: folder.rename(folder.with_suffix(".partial")),
        lambda folder: shutil.copy(folder / "count", folder / "mnist_png/training/0/76.png"),
    ],
)
def test_what_is_not_whole_is_made_anew(cache, right, change):
    folder = digits().parent
    assert is_whole(folder)
    change(folder)
    assert same(mapped(), right)
    assert is_whole(folder)
    assert left(cache)[0] == folder.name
    assert len(left(cache)) == 3


def test_what_a_file_manager_leaves_is_no_reason_to_make_it_anew(cache):
    file = digits() / "training" / "0" / ".DS_Store"
    file.write_text("no image")
    digits()
    assert file.exists()


def small(folder, n=3):
    for i in range(n):
        (folder / "0").mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 2), 10 + i).save(folder / "0" / f"{i}.png")
    return folder


def test_a_pack_damaged_at_any_byte_is_not_used(tmp_path, cache):
    folder = small(tmp_path / "set")
    first = ImageDataset(folder, (2, 3))
    file, state = pack_of(folder), data.state_of(folder)
    whole = file.read_bytes()
    damaged = [whole[:i] for i in range(len(whole))]
    for i in range(len(whole)):
        others = {whole[i] ^ 1 << bit for bit in range(8)} | {0, 255, ord('"'), ord(" ")} - {
            whole[i]
        }
        damaged += [whole[:i] + bytes([byte]) + whole[i + 1 :] for byte in others]
    damaged += [whole + b"more", b"", bytes(len(whole)), b"\xff" * 100, b'{"__metadata__":{}}']
    assert len(damaged) > 3500
    for content in damaged:
        file.write_bytes(content)
        found = packed(file, (2, 3), state)
        assert found is None or (
            torch.equal(found[0], first.images) and torch.equal(found[1], first.y)
        )
    file.write_bytes(damaged[-9])
    assert torch.equal(ImageDataset(folder, (2, 3)).images, first.images)
    assert packed(file, (2, 3), state) is not None, "it was made anew"


@pytest.mark.parametrize(
    "change",
    [
        lambda t, m: t.update(images=255 - t["images"]),
        lambda t, m: t.update(images=t["images"].flip(0)),
        lambda t, m: t.update(images=t["images"].mT.contiguous()),
        lambda t, m: t.update(images=t["images"].reshape(-1)),
        lambda t, m: t.update(images=t["images"][:2]),
        lambda t, m: t.update(images=t["images"].view(torch.int8)),
        lambda t, m: t.update(images=t["images"].float()),
        lambda t, m: t.update(images=t["images"].bfloat16()),
        lambda t, m: t.update(y=t["y"] + 1),
        lambda t, m: t.update(y=t["y"] - 10**9),
        lambda t, m: t.update(y=t["y"].int()),
        lambda t, m: t.update(y=t["y"][:, None]),
        lambda t, m: t.update(y=t["y"][:2]),
        lambda t, m: t.update(images=t["images"][:, None], y=t["y"][:, None]),
        lambda t, m: t.update(y=t["images"], images=t["y"]),
        lambda t, m: t.pop("y"),
        lambda t, m: t.pop("images"),
        lambda t, m: m.clear(),
        lambda t, m: m.pop("version"),
        lambda t, m: m.update(version="0.0.1"),
        lambda t, m: m.pop("crc32"),
        lambda t, m: m.update({"1": m["0"]}),
        lambda t, m: t.update(images=t["images"].repeat(2, 1, 1), y=t["y"].repeat(2)),
    ],
)  # fmt: skip
def test_a_pack_that_is_whole_but_not_this_one_is_not_used(tmp_path, cache, change):
    folder = small(tmp_path / "set")
    first = ImageDataset(folder, (2, 3))
    file, state = pack_of(folder), data.state_of(folder)
    tensors = load_file(file)
    metadata = state | data.checksum(first.images, first.y)
    save_file(tensors, file, metadata)
    assert packed(file, (2, 3), state) is not None, "the pack is right before it is changed"
    change(tensors, metadata)
    save_file(tensors, file, metadata)
    assert packed(file, (2, 3), state) is None
    assert torch.equal(ImageDataset(folder, (2, 3)).images, first.images)
    assert packed(file, (2, 3), state) is not None, "it was made anew"


def test_images_stay_when_their_pack_is_replaced_or_removed(tmp_path, cache):
    folder = small(tmp_path / "set")
    ImageDataset(folder, (2, 3))
    first = ImageDataset(folder, (2, 3))
    before = first.images.clone()
    (folder / "0" / "0.png").unlink()
    assert len(ImageDataset(folder, (2, 3))) == 2
    assert torch.equal(first.images, before)
    if os.name == "posix":
        clear_cache()
        assert torch.equal(first.images, before)


def test_deleted_between_two_calls(cache, right):
    for _ in range(2):
        assert same(mapped(), right)
        shutil.rmtree(cache)


@pytest.mark.parametrize("what", ["some", "all"])
def test_deleted_while_it_is_made(cache, what):
    "As by `rm -r` in another window: an error, never a part that counts as the whole."

    def make(into):
        small(into / "a", 4)
        if what == "all":
            shutil.rmtree(cache)
        else:
            shutil.rmtree(into / "a")
        small(into / "b", 5)
        return 9

    folder = cache_folder() / "digits-0123456789ab"
    with pytest.raises(
        OSError, match="digits-0123456789ab could not be made: .*MNIST_WALKTHROUGH_CACHE"
    ):
        once(folder, make)
    assert not folder.exists()
    assert is_whole(once(folder, lambda into: len(list(small(into / "a", 4).rglob("*.png")))))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("damaged"),
        KeyboardInterrupt(),
        MemoryError(),
    ],
)
def test_what_fails_leaves_nothing_and_what_was_there(cache, right, error):
    digits()

    def fails(into):
        small(into)
        raise error

    kind = OSError if isinstance(error, OSError) else type(error)
    with pytest.raises(kind, match=re.escape(str(error)) or "^$"):
        once(cache_folder() / "idx-0123456789ab", fails)
    assert left(cache) == [digits().parent.name]
    assert same(mapped(), right)
    assert once(cache_folder() / "idx-0123456789ab", lambda into: len([small(into, 1)])).is_dir(), (
        "no lock is left"
    )


needs_limits = pytest.mark.skipif(
    sys.platform == "win32", reason="not run: no limits of a process here"
)


@needs_limits
def test_a_full_disk(python, cache):
    "No file may grow beyond some bytes: an error in unpacking, images without a pack."
    code = (
        "import os, resource, sys\n"
        "from mnist_walkthrough import ImageDataset, digits\n"
        "def limit(n): resource.setrlimit(resource.RLIMIT_FSIZE, (n, resource.RLIM_INFINITY))\n"
        "cache = os.environ['MNIST_WALKTHROUGH_CACHE']\n"
        "limit(300)\n"
        "try: digits()\n"
        "except OSError as error: print(error)\n"
        "print(sorted(name.split('.')[-1] for name in os.listdir(cache)))\n"
        "limit(100_000)\n"
        "print(ImageDataset(digits() / 'training'))\n"
        "print(sorted(name.split('-')[0] for name in os.listdir(cache) if 'lock' not in name))\n"
        "limit(10_000_000)\n"
        "print(ImageDataset(digits() / 'training'))\n"
        "print(sorted(name.split('-')[0] for name in os.listdir(cache) if 'lock' not in name))\n"
    )
    done = python(code, env=os.environ | {"MNIST_WALKTHROUGH_CACHE": str(cache)})
    lines = done.stdout.splitlines()
    assert "could not be made: [Errno 27] File too large" in lines[0], done.stderr
    assert lines[0].endswith(data.WHAT_TO_DO)
    shown = "ImageDataset(training: 1000 images 28 x 28, 100 per class)"
    assert lines[1:] == ["['lock']", shown, "['digits']", shown, "['digits', 'pack']"]


@needs_limits
def test_a_read_only_cache(run, cache):
    "With the digits in it, it serves and stays as it is; without them, the error says what to do."
    full, empty = cache, cache.parent / "empty"
    digits()
    empty.mkdir()
    code = (
        "import os, sys\n"
        "from mnist_walkthrough import ImageDataset, data, digits\n"
        f"ImageDataset(digits() / 'training')\n{NOBODY}"
        "for cache in sys.argv[1:]:\n"
        "    os.environ['MNIST_WALKTHROUGH_CACHE'] = cache\n"
        "    try: print(ImageDataset(digits() / 'training'), sorted(data.cached().values()))\n"
        "    except OSError as error: print(error)\n"
    )
    before = {f: f.stat().st_mtime_ns for f in [full, *full.rglob("*")]}
    for folder in (full, empty):
        folder.chmod(0o555)
    (cache.parent / "file").write_text("no folder")
    own = os.environ | {"MNIST_WALKTHROUGH_CACHE": str(cache.parent / "own")}
    caches = [full, empty, empty / "below", cache.parent / "file"]
    done = run(sys.executable, "-c", code, *caches, env=own)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ImageDataset(training: 1000 images 28 x 28, 100 per class) ["), (
        done.stderr
    )
    assert "could not be made: [Errno 13] Permission denied" in lines[1]
    assert lines[2].startswith("no cache: [Errno 13] Permission denied")
    assert lines[3].startswith("no cache: [Errno 17] File exists")
    assert all(line.endswith(data.WHAT_TO_DO) for line in lines[1:])
    assert {f: f.stat().st_mtime_ns for f in [full, *full.rglob("*")]} == before
    assert not list(empty.iterdir())


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    for chosen, folder in (
        ("~/my cache", tmp_path / "home" / "my cache"),
        ("here", tmp_path / "here"),
    ):
        monkeypatch.setenv("MNIST_WALKTHROUGH_CACHE", chosen)
        assert cache_folder() == folder
        assert folder.is_dir()


@pytest.mark.skipif(os.name != "posix", reason="not run: needs users without an entry")
def test_a_user_without_a_home(monkeypatch, tmp_path):
    "As in a container that runs under some number: no folder called ~ is made."
    import pwd

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    for name in ("MNIST_WALKTHROUGH_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OSError, match="no cache: .* Let MNIST_WALKTHROUGH_CACHE name a folder"):
        digits()
    assert not list(tmp_path.iterdir())
    small(tmp_path / "set")
    assert len(ImageDataset(tmp_path / "set", (2, 3))) == 3
    monkeypatch.setenv("MNIST_WALKTHROUGH_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"


@pytest.fixture
def filled(cache, tmp_path):
    "A cache with one of each of ours, and what is not ours."
    small(tmp_path / "set")
    ImageDataset(tmp_path / "set", (2, 3))
    folder = cache / "archive-0123456789ab"
    once(folder, lambda into: len([small(into, 1)]))
    shutil.copytree(folder, cache / "mnist-0123456789ab.partial")
    for name in ("mnist", "digits-mine", "idx-0123456789abc", "pack-0123456789ab", "notes.txt"):
        small(cache / name, 1) if "pack" in name or "." not in name else (cache / name).write_text(
            "mine"
        )
    shutil.rmtree(cache / "pack-0123456789ab")
    return cache


OTHERS = ["digits-mine", "idx-0123456789abc", "mnist", "notes.txt"]


def test_listing_and_clearing_is_of_ours_alone(filled, tmp_path):
    pack = pack_of(tmp_path / "set")
    found = cached()
    assert list(found) == sorted(
        [filled / "archive-0123456789ab", filled / "mnist-0123456789ab.partial", pack]
    )
    image = filled / "mnist" / "0" / "0.png"
    assert found[filled / "archive-0123456789ab"] == image.stat().st_size + len("1")
    assert found[pack] == pack.stat().st_size
    assert clear_cache() == cached() == {}
    assert left(filled) == OTHERS
    assert clear_cache() == {}
    assert len(ImageDataset(tmp_path / "set", (2, 3))) == 3
    assert list(cached()) == [pack]


def test_what_another_process_is_making_stays(filled, tmp_path):
    with (
        FileLock(filled / "archive-0123456789ab.lock"),
        FileLock(filled / "mnist-0123456789ab.lock"),
    ):
        assert [f.name for f in clear_cache()] == [
            "archive-0123456789ab",
            "mnist-0123456789ab.partial",
        ]
        assert is_whole(filled / "archive-0123456789ab")
    assert clear_cache() == {}


def test_a_pack_that_another_process_is_writing_is_left_to_it(cache, tmp_path):
    folder = small(tmp_path / "set")
    with FileLock(pack_of(folder).with_suffix(".lock")):
        assert len(ImageDataset(folder, (2, 3))) == 3
        assert not pack_of(folder).exists()
    ImageDataset(folder, (2, 3))
    assert pack_of(folder).exists()


@pytest.mark.skipif(os.name != "posix", reason="not run: needs links")
def test_clearing_follows_no_link(filled, tmp_path):
    "A user who has moved the full set to another disk keeps it there."
    (filled / "archive-0123456789ab").rename(filled.parent / "elsewhere")
    (filled / "archive-0123456789ab").symlink_to(filled.parent / "elsewhere")
    (filled / "idx-0123456789ab").symlink_to(filled.parent / "nowhere")
    assert is_whole(filled / "archive-0123456789ab")
    assert clear_cache() == {}
    assert is_whole(filled.parent / "elsewhere")
    assert left(filled) == OTHERS


def test_the_command_lists_and_clears(run, filled):
    command = Path(sys.executable).parent / "mnist_walkthrough"
    environment = os.environ | {"MNIST_WALKTHROUGH_CACHE": str(filled)}
    listed = run(command, "--cache", env=environment)
    assert listed.stdout.splitlines()[0] == f"{filled}: 0.0 MB", listed.stderr
    assert [line.split()[-1] for line in listed.stdout.splitlines()[1:]] == [
        f.name for f in cached()
    ]
    cleared = run(command, "--clear-cache", env=environment)
    assert cleared.stdout == f"{filled}: 0.0 MB\n", cleared.stderr
    assert left(filled) == OTHERS
    (filled / "notes.txt").write_text("mine")
    wrong = run(
        command, "--cache", env=environment | {"MNIST_WALKTHROUGH_CACHE": str(filled / "notes.txt")}
    )
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("mnist_walkthrough: error: no cache: ")


@needs_limits
def test_out_of_memory(python, cache, tmp_path):
    "An error; afterwards no pack and no part of one, and with more memory it works in the same process."
    big = tmp_path / "big" / "0"
    big.mkdir(parents=True)
    for i in range(160):
        Image.new("L", (500, 500), i).save(big / f"{i}.png")
    code = (
        "import os, resource, sys\n"
        "from mnist_walkthrough import ImageDataset, digits\n"
        "train = ImageDataset(digits() / 'training')\n"
        "pages = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "def limit(more): resource.setrlimit(resource.RLIMIT_AS, (pages + more, resource.RLIM_INFINITY))\n"
        "limit(60_000_000)\n"
        f"try: ImageDataset({str(big.parent)!r}, (500, 500))\n"
        "except (MemoryError, RuntimeError) as error: print(type(error).__name__)\n"
        "print(sorted(n.split('-')[0] for n in os.listdir(os.environ['MNIST_WALKTHROUGH_CACHE']) if 'lock' not in n))\n"
        "print(train.x.shape)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)\n"
        f"big = ImageDataset({str(big.parent)!r}, (500, 500))\n"
        "pages = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "limit(60_000_000)\n"
        "try: big.x\n"
        "except (MemoryError, RuntimeError) as error: print(type(error).__name__)\n"
        "print(big.images[:, 0, 0].tolist())\n"
        "resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)\n"
        "print(big.x.shape)\n"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("not run: needs Linux's /proc to measure memory")
    done = python(
        code, env=os.environ | {"MNIST_WALKTHROUGH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    )
    assert done.stdout.splitlines() == [
        "MemoryError",
        "['digits', 'pack']",
        "torch.Size([1000, 784])",
        "RuntimeError",
        str([*range(160)]),
        "torch.Size([160, 250000])",
    ], done.stderr


@needs_fork
def test_listing_while_another_process_fills_and_clears(cache):
    def work():
        for _ in range(20):
            once(
                cache_folder() / "idx-0123456789ab",
                lambda into: len(list(small(into, 50).rglob("*.png"))),
            )
            clear_cache()
        return True

    pid, listed = child(work), []
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        listed.append(sum(cached().values()))
    assert max(listed) > 0
    assert cached() == {}
