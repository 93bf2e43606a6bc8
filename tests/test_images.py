"""One image file to pixels, and pixels to the network's square."""

import io
import os
import struct
import threading

import numpy as np
import pytest
from PIL import Image

from alzgan.images.decoding import MAX_BYTES, BadImage, decode_image, quiet, read_image, resize

ramp = np.arange(0, 256, 5, dtype=np.uint8).reshape(4, 13)


def write(path, image, **options):
    """Write an array or a Pillow image and return its path."""
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def deep_tiff(values, white_is_zero=False, sample_format=1):
    """An uncompressed TIFF of one deep channel, which Pillow writes only in some layouts."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 8 * values.itemsize), (259, 1)]
    tags += [(262, 0 if white_is_zero else 1), (273, 8 + 2 + 10 * 12 + 4), (277, 1), (278, height)]
    tags += [(279, values.nbytes), (339, sample_format)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values.tobytes()


def test_grey_is_two_dimensional_and_colour_three(tmp_path):
    colour = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=2)
    np.testing.assert_array_equal(read_image(write(tmp_path / "g.png", ramp)), ramp)
    np.testing.assert_array_equal(read_image(write(tmp_path / "c.png", colour)), colour)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpg"])
def test_exif_orientation_is_honoured_once(tmp_path, orientation, suffix):
    upright = np.kron([[0, 80, 160], [255, 200, 120]], np.ones((16, 16))).astype(np.uint8)
    as_stored = {  # the stored pixels that, turned as EXIF says, are upright
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if suffix == "webp" else {}
    path = write(tmp_path / f"x.{suffix}", np.ascontiguousarray(as_stored), exif=exif, **lossless)
    seen = read_image(path)
    seen = seen[..., 0] if seen.ndim == 3 else seen
    assert np.abs(seen.astype(int) - upright).max() <= (6 if suffix == "jpg" else 0)


def framed(low: float, high: float, kind: str) -> np.ndarray:
    """(20, 22) values in a frame of `low`: 360 steps up to `high` in its inside."""
    values = np.full((20, 22), float(low))
    values[1:-1, 1:-1] = np.linspace(low, high, 361)[1:].reshape(18, 20)
    return (values if kind == "f4" else np.rint(values)).astype(kind)


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (0, 4000, "u2"),
        (1000, 65000, "u2"),
        (-7000, -5000, "i4"),
        (2**31 - 2000, 2**31 - 1, "i4"),
        (0, 1, "f4"),
    ],
)
@pytest.mark.parametrize("hot", [False, True])
def test_deep_grey_is_shown_through_the_window_of_its_foreground(tmp_path, low, high, kind, hot):
    values = framed(low, high, kind)
    expected = np.clip((np.linspace(0, 1, 361)[1:] - 0.0075) / 0.99 * 255, 0, 255).reshape(18, 20)
    if hot:  # one pixel far above the rest must not blacken the slice
        values = framed(low, low + (high - low) / 10, kind)
        values[10, 10] = high
    seen = read_image(write(tmp_path / "x.tif", values))
    assert (seen[[0, -1]] == 0).all()
    assert (seen[:, [0, -1]] == 0).all()
    different = np.abs(seen[1:-1, 1:-1].astype(float) - expected)
    different[9, 9] = 0
    assert different.max() <= 3
    assert seen[10, 10] == 255 or not hot


def test_a_16_bit_png_is_shown_as_the_same_tiff(tmp_path):
    values = framed(0, 4000, "u2")
    as_png, as_tiff = (read_image(write(tmp_path / f"x.{suffix}", values)) for suffix in ("png", "tif"))
    assert as_png.max() == 255
    np.testing.assert_array_equal(as_png, as_tiff)


def test_deep_grey_of_two_values_stays_of_two_values(tmp_path):
    values = np.zeros((6, 6), np.uint16)
    values[2:4, 2:4] = 7
    assert read_image(write(tmp_path / "x.tif", values)).tolist() == (values.astype(int) // 7 * 255).tolist()


def test_a_deep_tiff_whose_zero_is_white_is_inverted():
    values = framed(0, 4000, "<u2")
    upright = decode_image(deep_tiff(values), "x").pixels
    as_stored = decode_image(deep_tiff(4000 - values, white_is_zero=True), "x").pixels
    assert upright.max() == 255
    assert upright[0, 0] == 0
    np.testing.assert_array_equal(upright, as_stored)


def test_a_light_background_stays_light():
    seen = decode_image(deep_tiff(4000 - framed(0, 4000, "<u2")), "x").pixels
    assert seen[0, 0] == 255
    assert seen[-2, -2] == 0


def test_a_signed_8_bit_tiff_is_refused_where_it_would_be_misread():
    values = np.array([[-5, 0, 100]], np.int8)
    with pytest.raises(BadImage, match="signed 8-bit pixels"):
        decode_image(deep_tiff(values, sample_format=2), "x")


def test_values_that_are_no_numbers_become_black_and_do_not_spoil_the_scale(tmp_path):
    values = framed(0, 1, "f4")
    expected = read_image(write(tmp_path / "x.tif", values)).astype(int)
    values[5, 5:8] = np.nan, np.inf, -np.inf
    seen = read_image(write(tmp_path / "x.tif", values)).astype(int)
    assert seen[5, 5:8].tolist() == [0, 0, 0]
    expected[5, 5:8] = 0
    assert np.abs(seen - expected).max() <= 2


@pytest.mark.parametrize("value", [7.0, np.nan, np.inf])
def test_a_constant_deep_image_is_black(tmp_path, value):
    path = write(tmp_path / "x.tif", np.full((2, 3), value, np.float32))
    assert read_image(path).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_photo_with_an_embedded_preview_is_read_as_the_photo(tmp_path):
    photo, preview = Image.new("L", (8, 8), 200), Image.new("L", (8, 8), 10)
    path = write(tmp_path / "x.jpg", photo, format="MPO", save_all=True, append_images=[preview])
    assert np.abs(read_image(path).astype(int) - 200).max() <= 1


def test_a_5_6_5_bit_bmp_is_not_taken_for_16_bits_a_channel():
    header = (
        b"BM"
        + struct.pack("<IHHI", 0, 0, 0, 66)
        + struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    )
    content = header + struct.pack("<III", 0xF800, 0x07E0, 0x001F) + struct.pack("<HH", 0xF800, 0x001F)
    assert decode_image(content, "x").pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_a_bad_image_gives_path_and_reason(tmp_path):
    path = tmp_path / "x\n.png"
    path.touch()
    with pytest.raises(BadImage) as caught:
        read_image(path)
    assert (
        str(caught.value)
        == f"cannot read the image {tmp_path}/x\\n.png: the file is empty; mend or remove it"
    )
    assert caught.value.reason == "the file is empty"


def test_a_huge_file_is_refused_unread(tmp_path):
    with (tmp_path / "x.png").open("wb") as sparse:
        sparse.truncate(MAX_BYTES + 1)
    with pytest.raises(BadImage, match="more than the limit of 268435456"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(40, 40), (50, 30), (30, 50), (1, 1), (1, 500), (40, 60, 3), (7, 5, 3)])
def test_every_image_becomes_the_square_asked_for(shape, channels, fit):
    result = resize(np.full(shape, 77, np.uint8), 16, channels, fit)
    assert result.shape == (16, 16, channels)
    assert result.dtype == np.uint8
    assert result.max() == 77


def test_an_image_of_the_right_size_is_not_touched():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for fit in ("crop", "pad"):
        np.testing.assert_array_equal(resize(image, 16, 3, fit), image)


def test_crop_keeps_the_centre_of_the_longer_side():
    image = np.zeros((16, 32), np.uint8)
    image[:, 8:24] = np.arange(16) * 10 + 50
    np.testing.assert_array_equal(resize(image, 16, 1, "crop")[..., 0], image[:, 8:24])
    np.testing.assert_array_equal(resize(image.T, 16, 1, "crop")[..., 0], image.T[8:24])


def test_pad_keeps_all_and_centres_it_on_black():
    image = np.full((8, 16), 90, np.uint8)
    expected = np.zeros((16, 16), np.uint8)
    expected[4:12] = 90
    np.testing.assert_array_equal(resize(image, 16, 1, "pad")[..., 0], expected)
    np.testing.assert_array_equal(resize(image.T, 16, 1, "pad")[..., 0], expected.T)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_circle_stays_a_circle(fit):
    y, x = np.mgrid[:120, :200]
    disc = (((y - 59.5) ** 2 + (x - 99.5) ** 2) < 40**2).astype(np.uint8) * 255
    small = resize(disc, 60, 1, fit)[..., 0] > 127
    height, width = small.any(axis=1).sum(), small.any(axis=0).sum()
    assert height == width == {"crop": 40, "pad": 24}[fit]


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255  # beyond what 16 pixels can show: grey, not a moiré of black and white
    assert np.abs(resize(stripes, 16, 1, "crop")[:, 1:-1].astype(int) - 127).max() <= 3


def test_colour_becomes_grey_by_luma_and_grey_is_repeated():
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]] * 3, np.uint8)
    assert resize(primaries, 3, 1, "crop")[0, :, 0].tolist() == [76, 150, 29]
    grey = np.arange(9, dtype=np.uint8).reshape(3, 3)
    np.testing.assert_array_equal(resize(grey, 3, 3, "crop"), np.stack([grey] * 3, axis=2))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    outcome = []

    def read():
        try:
            read_image(tmp_path / "x.png")
        except BadImage as error:
            outcome.append(error.reason)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(5)
    assert outcome == ["not a regular file"]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "TGA", "JPEG2000"])
def test_random_damage_gives_pixels_or_a_bad_image_of_one_line(form):
    random = np.random.default_rng(1)
    buffer = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(buffer, form)
    outcomes = []
    for _ in range(60):
        content = bytearray(buffer.getvalue())
        for position in random.integers(0, min(len(content), 400), 4):
            content[position] = random.integers(256)
        outcomes.append(outcome_of(bytes(content)))
    assert all(outcome.count("\n") == 0 for outcome in outcomes if isinstance(outcome, str))
    assert all(outcome.dtype == np.uint8 for outcome in outcomes if not isinstance(outcome, str))


def outcome_of(content):
    """The pixels, or the line of the error."""
    try:
        with quiet():
            return decode_image(content, "x").pixels
    except BadImage as error:
        return str(error)
