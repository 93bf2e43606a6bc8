"""Images decoded once: the array is right, is found again, and survives accidents."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alzgan.errors import SettingError, UserError
from alzgan.files import cache_folder
from alzgan.images import arrays
from alzgan.images.arrays import Preprocessing, decode
from alzgan.images.decoding import in_threads, read_image, resize
from alzgan.images.folder import ImageFile

N = 12


@pytest.fixture
def root(tmp_path):
    """Twelve noisy images of two classes and several sizes."""
    random = np.random.default_rng(0)
    for i in range(N):
        path = tmp_path / "root" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20 + i, 30), dtype=np.uint8)).save(path)
    return tmp_path / "root"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def quick(root, cache, **settings):
    bad_files = settings.pop("bad_files", "error")
    preprocessing = Preprocessing(**{"image_size": 8, "channels": 1, **settings})
    return decode(root, None, preprocessing, bad_files=bad_files, cache_dir=cache)


def the(cache, suffix):
    """The one file of this suffix in the cache."""
    (path,) = cache.glob(f"*{suffix}")
    return path


def forbid_decoding(monkeypatch):
    def fail(*_):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(arrays, "decode_image", fail)


def start(script, *arguments):
    """Start a script that has no `if __name__ == "__main__"` and return the process."""
    environment = {**os.environ, "PYTHONPATH": str(Path(arrays.__file__).parents[2])}
    command, pipe = [sys.executable, "-c", script, *map(str, arguments)], subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


@pytest.mark.parametrize("settings", [{}, {"channels": 3}, {"fit": "pad"}, {"image_size": 16}])
def test_the_array_holds_each_image_as_read_and_resized(root, cache, settings):
    size, channels, fit = ({"image_size": 8, "channels": 1, "fit": "crop"} | settings).values()
    decoded = quick(root, cache, **settings)
    assert decoded.images.shape == (N, size, size, channels)
    assert [file.path for file in decoded.files] == sorted(f"{'ab'[i % 2]}/{i:02}.png" for i in range(N))
    for file, image in zip(decoded.files, decoded.images, strict=True):
        np.testing.assert_array_equal(image, resize(read_image(root / file.path), size, channels, fit))


def test_the_array_is_mapped_and_read_only(root, cache):
    images = quick(root, cache).images
    assert isinstance(images, np.memmap)
    assert images.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_a_second_start_decodes_nothing(root, cache, monkeypatch):
    first = quick(root, cache)
    forbid_decoding(monkeypatch)
    second = quick(root, cache)
    assert second.fingerprint == first.fingerprint
    assert second.files == first.files
    np.testing.assert_array_equal(second.images, first.images)


def test_each_setting_has_an_array_of_its_own(root, cache):
    settings = [{}, {"channels": 3}, {"fit": "pad"}, {"image_size": 4}]
    assert len({quick(root, cache, **setting).fingerprint for setting in settings}) == len(settings)


def test_the_fingerprint_is_of_names_and_contents_not_of_place_or_time(root, cache):
    before = quick(root, cache).fingerprint
    for path in root.rglob("*.png"):
        os.utime(path, (1, 1))
    assert quick(root, cache).fingerprint == before
    moved = root.rename(root.with_name("elsewhere"))
    assert quick(moved, cache).fingerprint == before
    assert len(list(cache.glob("*.npy"))) == 1
    (moved / "a" / "00.png").rename(moved / "a" / "000.png")  # the order stays, the subject may not
    assert quick(moved, cache).fingerprint != before


def test_a_file_swapped_under_its_old_size_and_date_is_noticed(root, cache):
    before = quick(root, cache)
    first, second = (root / file.path for file in before.files[:2])
    for path in (first, second):  # bytes behind an image's end do not matter to it: one size for both
        path.write_bytes(path.read_bytes().ljust(5000, b"\0"))
        os.utime(path, (1, 1))
    padded = quick(root, cache)
    np.testing.assert_array_equal(padded.images, before.images)
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    for path in (first, second):
        os.utime(path, (1, 1))
    swapped = quick(root, cache)
    assert swapped.fingerprint != padded.fingerprint
    np.testing.assert_array_equal(swapped.images[:2], before.images[1::-1])


def test_a_new_and_a_removed_file_are_noticed(root, cache):
    assert len(quick(root, cache).images) == N
    (root / "a" / "extra.png").write_bytes((root / "a" / "00.png").read_bytes())
    assert len(quick(root, cache).images) == N + 1
    (root / "a" / "00.png").unlink()
    assert len(quick(root, cache).images) == N


def flip_a_pixel(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(b"[1, 2]"),
        lambda path: path.write_bytes(b"\xff" * path.stat().st_size),
        flip_a_pixel,
    ],
    ids=["removed", "emptied", "truncated", "longer", "other json", "overwritten", "last byte flipped"],
)
def test_a_damaged_cache_is_rebuilt(root, cache, suffix, damage):
    before = quick(root, cache)
    pixels = before.images.copy()
    damage(the(cache, suffix))
    after = quick(root, cache)
    np.testing.assert_array_equal(after.images, pixels)
    assert after.fingerprint == before.fingerprint
    np.testing.assert_array_equal(np.load(the(cache, ".npy")), pixels)


def test_a_large_array_is_checked_in_samples_that_hold_both_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "CHECKED_BYTES", 10)
    monkeypatch.setattr(arrays, "MOST_CHECKS", 4)
    path = tmp_path / "array"

    def digest(change_at=None, size=1000):
        content = bytearray(size)
        if change_at is not None:
            content[change_at] = 1
        path.write_bytes(content)
        return arrays.file_digest(path)

    whole = digest()
    assert all(digest(position) != whole for position in (0, 9, 335, 990, 999))
    assert digest(500) == whole  # between two samples
    assert digest(size=1001) != whole
    small = digest(size=40)
    assert all(digest(position, size=40) != small for position in range(40))


KILLED_MIDWAY = """
import os, signal, sys
from alzgan.images import arrays
seen = []
def resize(*arguments, original=arrays.resize):
    seen.append(0)
    if len(seen) == 10: os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
arrays.resize = resize
arrays.decode(sys.argv[1], preprocessing=arrays.Preprocessing(8, 1), cache_dir=sys.argv[2])
"""


def test_a_run_killed_midway_leaves_nothing_that_counts(root, cache):
    killed = start(KILLED_MIDWAY, root, cache)
    killed.communicate()
    assert killed.returncode == -9
    assert len(list(cache.glob("*.part"))) == 1
    assert not list(cache.glob("*.npy"))
    assert len(quick(root, cache).images) == N
    assert not list(cache.glob("*.part"))


COUNTED = """
import sys
from alzgan.images import arrays
seen = []
def resize(*arguments, original=arrays.resize):
    seen.append(0)
    return original(*arguments)
arrays.resize = resize
decoded = arrays.decode(sys.argv[1], preprocessing=arrays.Preprocessing(8, 1), cache_dir=sys.argv[2])
print(len(seen), decoded.fingerprint, int(decoded.images.sum(dtype=int)))
"""


def test_runs_started_at_once_decode_once(root, cache):
    runs = [start(COUNTED, root, cache) for _ in range(3)]
    outputs = [run.communicate()[0].split() for run in runs]
    decoded = quick(root, cache)
    assert sorted(int(count) for count, _, _ in outputs) == [0, 0, N]
    assert {fingerprint for _, fingerprint, _ in outputs} == {decoded.fingerprint}
    assert {int(total) for _, _, total in outputs} == {int(decoded.images.sum(dtype=int))}
    assert not list(cache.glob("*.part"))


def test_a_file_system_without_locks_is_no_obstacle(root, cache, monkeypatch):
    def no_locks(*_):
        raise OSError("No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    cache.mkdir()
    assert len(quick(root, cache).images) == N


DISK_FULL = """
import resource, sys
from alzgan.images.arrays import decode
from alzgan.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try: decode(sys.argv[1], cache_dir=sys.argv[2])
except UserError as error: print(error)
"""


def test_a_cache_without_room_ends_in_one_line(root, cache):
    line = start(DISK_FULL, root, cache).communicate()[0]
    assert line == (
        f"cannot write the cache {cache}: File too large; "
        "set data.cache_dir or ALZGAN_CACHE to a folder that can be written and has room\n"
    )
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]


def test_a_cache_that_cannot_be_made_ends_in_one_line(root, cache):
    cache.touch()
    for folder in (cache, cache / "sub"):
        with pytest.raises(UserError) as caught:
            quick(root, folder)
        assert str(caught.value) == (
            f"cannot write the cache {folder}: {cache} is a file, not a folder; "
            "set data.cache_dir or ALZGAN_CACHE to a folder that can be written and has room"
        )


@pytest.fixture
def damaged(root):
    """Three of the twelve files unreadable; the first in order is a/04.png."""
    (root / "a" / "04.png").write_bytes(b"")
    (root / "b" / "07.png").write_text("no image")
    (root / "b" / "11.png").write_bytes((root / "b" / "11.png").read_bytes()[:100])
    return root


def test_bad_files_end_in_one_line_that_names_the_first_and_counts_them(damaged, cache):
    for _ in range(2):  # the second time from the cache
        with pytest.raises(UserError) as caught:
            quick(damaged, cache)
        assert str(caught.value) == (
            "3 of 12 images cannot be read, the first is a/04.png (the file is empty): "
            "mend or remove them, or set data.bad_files=skip"
        )


def test_skipped_files_are_listed_and_the_others_are_whole(damaged, cache):
    for _ in range(2):
        decoded = quick(damaged, cache, bad_files="skip")
        assert [path for path, _ in decoded.skipped] == ["a/04.png", "b/07.png", "b/11.png"]
        assert decoded.skipped[0] == ("a/04.png", "the file is empty")
        assert len(decoded.images) == len(decoded.files) == N - 3
        for file, image in zip(decoded.files, decoded.images, strict=True):
            np.testing.assert_array_equal(image, resize(read_image(damaged / file.path), 8, 1, "crop"))


def test_a_skipped_file_is_tried_again_at_each_start(root, cache, monkeypatch):
    def broken_network(path, original=arrays.read_bytes):
        if path.name == "00.png":
            raise arrays.BadImage(path, "Input/output error")
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(arrays, "read_bytes", broken_network)
        assert quick(root, cache, bad_files="skip").skipped == [("a/00.png", "Input/output error")]
    assert quick(root, cache).skipped == []


def test_a_folder_of_bad_files_only_is_an_error_even_when_skipping(damaged, cache):
    for path in damaged.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"^12 of 12 images cannot be read"):
        quick(damaged, cache, bad_files="skip")
    assert not list(cache.glob("*.npy"))


def test_names_of_any_bytes_are_cached(root, cache, monkeypatch):
    os.rename(root / "a" / "00.png", os.fsencode(root) + b"/a/\xff\n.png")
    first = quick(root, cache)
    assert ImageFile("a/\udcff\n.png", "a") in first.files
    forbid_decoding(monkeypatch)
    assert quick(root, cache).files == first.files


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"channels": 2},
            "channels=2 must be 1 (grey) or 3 (RGB); neighbouring slices as channels need "
            "data.slices_as_channels=true",
        ),
        ({"fit": "squash"}, "fit=squash must be one of crop, pad"),
        ({"image_size": 0}, "image_size=0 must be at least 1"),
    ],
)
def test_a_wrong_setting_is_named(settings, line):
    with pytest.raises(SettingError) as caught:
        Preprocessing(**settings)
    assert str(caught.value) == line


def test_the_cache_lies_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    for name in ("ALZGAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path("/home/someone/.cache/alzgan")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/xdg")
    assert cache_folder() == Path("/var/xdg/alzgan")
    monkeypatch.setenv("ALZGAN_CACHE", "~/fast")
    assert cache_folder() == Path("/home/someone/fast")
    assert cache_folder("/chosen") == Path("/chosen")


def test_only_a_few_images_are_held_at_a_time():
    started = []
    reading = in_threads(started.append, range(1000))
    next(reading)
    assert len(started) <= 8 * 8 + 1
    assert len(list(reading)) == 999


@pytest.mark.parametrize("disabled", [False, True])
def test_progress_is_shown_on_stderr_unless_tqdm_is_disabled(root, cache, monkeypatch, disabled):
    monkeypatch.setenv("TQDM_DISABLE", "1") if disabled else monkeypatch.delenv("TQDM_DISABLE", raising=False)
    script = """if True:
        import sys
        import numpy as np
        from alzgan.images.arrays import decode
        from alzgan.images.likeness import alike_others
        decode(sys.argv[1], cache_dir=sys.argv[2])
        alike_others(np.random.default_rng(0).integers(0, 256, (4, 48, 48), np.uint8), np.arange(4))
    """
    out, err = start(script, root, cache).communicate()
    assert out == ""
    assert ("12/12" in err) != disabled
    assert ("looking for copies: 100%" in err) != disabled


@pytest.mark.slow
@pytest.mark.skipif("ALZGAN_MRI_ROOT" not in os.environ, reason="ALZGAN_MRI_ROOT, the real slices, is unset")
def test_the_real_slices_are_decoded(cache):
    decoded = quick(os.environ["ALZGAN_MRI_ROOT"], cache, image_size=64)
    assert decoded.images.shape == (6400, 64, 64, 1)
    assert decoded.skipped == []
    for i in range(0, 6400, 640):
        image = read_image(Path(os.environ["ALZGAN_MRI_ROOT"], decoded.files[i].path))
        np.testing.assert_array_equal(decoded.images[i], resize(image, 64, 1, "crop"))
