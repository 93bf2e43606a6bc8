"""Bad and odd files in an image folder, and exactly what becomes of each.

Each row of the tables is one input: what it is, how it is made, and either the pixels that it must give or
the reason in the line that names it. No input crashes, and none gives other pixels than a viewer shows.
"""

import io
import os
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from alzgan.errors import UserError
from alzgan.images.arrays import Preprocessing, decode
from alzgan.images.decoding import MAX_BYTES, BadImage, read_image

GREY = np.array([[0, 80, 160], [255, 200, 120]], np.uint8)
COLOUR = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 8, 7], [200, 100, 50], [255, 255, 255]]], np.uint8
)
SMOOTH = np.kron(GREY, np.ones((16, 16), np.uint8))  # JPEG keeps it to a few grey levels


def saved(image, form="PNG", **options):
    """The bytes of an image file."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width, height, depth, kind, pixels=b""):
    """A PNG by hand, for what Pillow does not write."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def with_alpha(image, alpha):
    image = Image.fromarray(image)
    image.putalpha(Image.fromarray(np.array(alpha, np.uint8)))
    return image


def palette(indices, colours, mode="RGB"):
    image = Image.fromarray(np.array(indices, np.uint8), "L")
    image.putpalette(colours, mode)
    return image


def two_frames(form):
    first, second = Image.fromarray(SMOOTH), Image.fromarray(255 - SMOOTH)
    return saved(first, form, save_all=True, append_images=[second])


HALF = [[255, 128, 0], [255, 255, 128]]
PALETTE = [0, 0, 0, 10, 20, 30, 200, 100, 50]
BW = np.array([[True, False, True]])
WINDOWED = [[0, 0, 85, 255]]  # the background, then what lies at 0, 1/3 and 1 of the foreground

READ = {  # name of the input: (file name, content, pixels it must give, tolerance)
    "8-bit grey PNG": ("x.png", saved(GREY), GREY, 0),
    "colour PNG": ("x.png", saved(COLOUR), COLOUR, 0),
    "upper-case suffix": ("X.PNG", saved(GREY), GREY, 0),
    "JPEG called PNG": ("x.png", saved(SMOOTH, "JPEG", quality=95), SMOOTH, 4),
    "PNG called JPEG": ("x.jpg", saved(GREY), GREY, 0),
    "bytes after the end": ("x.png", saved(GREY) + b"<?php evil" * 100, GREY, 0),
    "progressive JPEG": ("x.jpg", saved(SMOOTH, "JPEG", quality=95, progressive=True), SMOOTH, 4),
    "CMYK JPEG": ("x.jpg", saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "JPEG"), [[[255, 0, 0]]], 2),
    "CMYK TIFF": ("x.tif", saved(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "TIFF"), [[[0, 255, 255]]], 0),
    "palette PNG": (
        "x.png",
        saved(palette([[0, 1, 2]], PALETTE)),
        [[[0, 0, 0], [10, 20, 30], [200, 100, 50]]],
        0,
    ),
    "palette PNG, one entry transparent": (
        "x.png",
        saved(palette([[0, 1, 2]], PALETTE), transparency=2),
        [[[0, 0, 0], [10, 20, 30], [0, 0, 0]]],
        0,
    ),
    "palette PNG, entries half transparent": (
        "x.png",
        saved(palette([[1, 2]], PALETTE), transparency=bytes([255, 128, 0])),
        [[[5, 10, 15], [0, 0, 0]]],
        0,
    ),
    "GIF of one frame": (
        "x.gif",
        saved(palette([[2, 1]], PALETTE), "GIF"),
        [[[200, 100, 50], [10, 20, 30]]],
        0,
    ),
    "RGBA with transparency": (
        "x.png",
        saved(with_alpha(COLOUR, HALF)),
        [[[255, 0, 0], [0, 128, 0], [0, 0, 0]], [[9, 8, 7], [200, 100, 50], [128, 128, 128]]],
        0,
    ),
    "grey with transparency": ("x.png", saved(with_alpha(GREY, HALF)), [[0, 40, 0], [255, 200, 60]], 0),
    "grey with a transparent value": (
        "x.png",
        saved(GREY, transparency=255),
        [[0, 80, 160], [0, 200, 120]],
        0,
    ),
    "1-bit PNG": ("x.png", saved(BW), [[255, 0, 255]], 0),
    "1-bit TIFF": ("x.tif", saved(BW, "TIFF"), [[255, 0, 255]], 0),
    "2-bit PNG": ("x.png", png(4, 1, 2, 0, b"\0\x1b"), [[0, 85, 170, 255]], 0),
    "16-bit PNG": ("x.png", saved(np.array([[0, 1000, 2000, 4000]], np.uint16)), WINDOWED, 0),
    "16-bit TIFF": ("x.tif", saved(np.array([[500, 501, 502, 504]], np.uint16), "TIFF"), WINDOWED, 0),
    "32-bit TIFF": ("x.tif", saved(np.array([[-1000, 0, 1000, 3000]], np.int32), "TIFF"), WINDOWED, 0),
    "float TIFF": ("x.tif", saved(np.array([[-1e-9, 0, 1e-9, 3e-9]], np.float32), "TIFF"), WINDOWED, 0),
    "float TIFF with NaN": ("x.tif", saved(np.array([[np.nan, 0, 2]], np.float32), "TIFF"), [[0, 0, 255]], 0),
    "16-bit PGM": ("x.pgm", saved(np.array([[0, 1000, 2000, 4000]], np.uint16), "PPM"), WINDOWED, 0),
    "LZW TIFF": ("x.tif", saved(GREY, "TIFF", compression="tiff_lzw"), GREY, 0),
    "EXIF-rotated PNG": ("x.png", saved(GREY, exif=exif(6)), [[255, 0], [200, 80], [120, 160]], 0),
    "EXIF-mirrored TIFF": ("x.tif", saved(GREY, "TIFF", exif=exif(2)), [[160, 80, 0], [120, 200, 255]], 0),
    "EXIF of an orientation that is none": ("x.png", saved(GREY, exif=exif(77)), GREY, 0),
    "EXIF of rubbish": (
        "x.jpg",
        saved(SMOOTH, "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\5xx"),
        SMOOTH,
        4,
    ),
    "1 x 1 image": ("x.png", saved(np.array([[7]], np.uint8)), [[7]], 0),
    "1 x 5000 image": ("x.png", saved(np.full((5000, 1), 9, np.uint8)), np.full((5000, 1), 9), 0),
    "WebP": ("x.webp", saved(COLOUR, "WEBP", lossless=True), COLOUR, 0),
    "BMP": ("x.bmp", saved(COLOUR, "BMP"), COLOUR, 0),
    "name with spaces": ("  a b .png", saved(GREY), GREY, 0),
    "name with a newline": ("a\nb.png", saved(GREY), GREY, 0),
    "name that is no UTF-8": (b"\xff\xfe.png", saved(GREY), GREY, 0),
    "name with a quote, a bracket and a percent sign": ("'[%s]\".png", saved(GREY), GREY, 0),
}

NOISE = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)

REFUSED = {  # name of the input: (file name, content, the reason in the line)
    "zero bytes": ("x.png", b"", "the file is empty"),
    "truncated JPEG": ("x.jpg", saved(NOISE, "JPEG")[:-200], "damaged (image file is truncated"),
    "JPEG of a header only": ("x.jpg", saved(NOISE, "JPEG")[:4], "its content is not an image"),
    "truncated PNG": ("x.png", saved(NOISE)[:-200], "damaged (image file is truncated"),
    "truncated TIFF": ("x.tif", saved(NOISE, "TIFF")[:-200], "damaged (image file is truncated"),
    "truncated GIF": ("x.gif", saved(NOISE, "GIF")[:-200], "damaged (image file is truncated"),
    "PNG with a damaged block": ("x.png", saved(NOISE)[:100] + bytes(20) + saved(NOISE)[120:], "damaged ("),
    "text called PNG": ("x.png", b"not an image", "its content is not an image"),
    "zip called JPEG": ("x.jpg", b"PK\3\4" + bytes(100), "its content is not an image"),
    "SVG called PNG": ("x.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "its content is not an image"),
    "EPS called PNG": ("x.png", saved(COLOUR, "EPS"), "its content is not an image"),
    "zeros called TIFF": ("x.tif", bytes(5000), "its content is not an image"),
    "PNG 0 pixels wide": ("x.png", png(0, 5, 8, 0), "its content is not an image"),
    "animated GIF": ("x.gif", two_frames("GIF"), "several frames in one file"),
    "animated PNG": ("x.png", two_frames("PNG"), "several frames in one file"),
    "animated WebP": ("x.webp", two_frames("WEBP"), "several frames in one file"),
    "TIFF stack": ("x.tif", two_frames("TIFF"), "several frames in one file"),
    "16-bit colour PNG": ("x.png", png(1, 1, 16, 2, bytes(7)), "16 bits a colour channel"),
    "16-bit grey PNG with transparency": ("x.png", png(1, 1, 16, 4, bytes(5)), "16 bits a colour channel"),
    "decompression bomb": ("x.png", png(60000, 60000, 8, 0), "more pixels than the limit of 33554432"),
    "smaller bomb": ("x.png", png(6000, 6000, 8, 0), "6000 x 6000 pixels, more than the limit of 33554432"),
}


def place(folder, name, content):
    """Write a file under a name of any bytes and return its path as Python spells it."""
    path = os.path.join(os.fsencode(folder), os.fsencode(name))
    with open(path, "wb") as file:
        file.write(content)
    return os.fsdecode(path)


@pytest.fixture
def root(tmp_path):
    """A folder with one good image in a class of its own."""
    for label in ("good", "odd"):
        (tmp_path / "root" / label).mkdir(parents=True)
    place(tmp_path / "root" / "good", "good.png", saved(GREY))
    return tmp_path / "root"


def decoded(root, **settings):
    return decode(root, preprocessing=Preprocessing(8), cache_dir=root.parent / "cache", **settings)


def check_refused(root, name, reason):
    """The file alone, the whole folder, and the folder with bad files skipped all name file and reason."""
    with pytest.raises(BadImage) as alone:
        read_image(root / "odd" / name)
    with pytest.raises(UserError) as whole:
        decoded(root)
    for line in (str(alone.value), str(whole.value)):
        assert f"odd/{name}" in line
        assert reason in line
        assert "\n" not in line
    ((path, why),) = decoded(root, bad_files="skip").skipped
    assert path == f"odd/{name}"
    assert why.startswith(reason)


@pytest.mark.parametrize("case", READ)
def test_is_read_as_a_viewer_shows_it(root, case):
    name, content, pixels, tolerance = READ[case]
    image = read_image(place(root / "odd", name, content))
    assert image.dtype == np.uint8
    assert image.shape == np.shape(pixels)
    assert np.abs(image.astype(int) - pixels).max() <= tolerance
    assert [os.fsencode(file.path) for file in decoded(root).files] == [
        b"good/good.png",
        b"odd/" + os.fsencode(name),
    ]


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_in_a_line_that_names_it(root, case):
    name, content, reason = REFUSED[case]
    place(root / "odd", name, content)
    check_refused(root, name, reason)


def pipe(path):
    os.mkfifo(path)


def plug(path):
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(path))  # a socket's path may have no more than 107 bytes


def huge(path):
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


SPECIAL = {
    "pipe": (pipe, "not a regular file"),
    "socket": (plug, "not a regular file"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
    "link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "sparse file of many bytes": (huge, "268435457 bytes, more than the limit of 268435456"),
}


@pytest.mark.parametrize("case", SPECIAL)
def test_what_is_no_ordinary_file_is_refused(root, case, monkeypatch):
    make, reason = SPECIAL[case]
    monkeypatch.chdir(root / "odd")
    make(root / "odd" / "x.png")
    check_refused(root, "x.png", reason)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(root):
    (root / "odd" / "x.png").write_bytes(saved(GREY))
    (root / "odd" / "x.png").chmod(0)
    check_refused(root, "x.png", "Permission denied")


IGNORED = [
    "odd/.hidden.png",
    "odd/._x.png",
    "odd/.DS_Store",
    "odd/Thumbs.db",
    "odd/desktop.ini",
    "odd/notes.txt",
    "odd/no_suffix",
    "odd/script.py",
    "odd/model.pkl",
    "overview.png",
    "manifest.csv",
]


@pytest.mark.parametrize("path", IGNORED)
def test_is_ignored_without_being_opened(root, path):
    os.mkfifo(root / path)  # whoever opens it waits for ever
    assert [file.path for file in decoded(root).files] == ["good/good.png"]


def test_an_empty_class_folder_is_no_class(root):
    assert {file.label for file in decoded(root).files} == {"good"}


def test_a_folder_named_like_an_image_is_a_folder(root):
    (root / "odd" / "x.png").mkdir()
    place(root / "odd" / "x.png", "y.png", saved(GREY))
    assert [file.path for file in decoded(root).files] == ["good/good.png", "odd/x.png/y.png"]


def test_the_same_image_in_two_classes_is_kept_under_both(root):
    place(root / "odd", "x.png", saved(GREY))
    result = decoded(root)
    assert [file.label for file in result.files] == ["good", "odd"]
    np.testing.assert_array_equal(result.images[0], result.images[1])


def test_link_loops_change_nothing(root):
    before = decoded(root).fingerprint
    (root / "odd" / "loop").symlink_to(root)
    (root / "good" / "loop").symlink_to(root / "odd")
    assert decoded(root).fingerprint == before
