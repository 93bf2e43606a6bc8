import torch

from alzgan.device.pixels import quantized, to_float, to_uint8


def test_every_uint8_value_survives_the_way_to_floats_and_back():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(values)), values)


def test_black_and_white_are_the_ends_of_the_range():
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
    assert to_uint8(torch.tensor([-1.0, 1.0, -7.0, 7.0])).tolist() == [0, 255, 0, 255]


def test_floats_are_rounded_to_the_nearest_value():
    step = 2 / 255
    assert to_uint8(torch.tensor([-1 + 0.49 * step, -1 + 0.51 * step])).tolist() == [0, 1]


def test_sixteen_bits_go_from_black_to_white_too():
    assert quantized(torch.tensor([-1.0, -1 + 2 / 65535, 1.0, -7.0, 7.0]), 65535).tolist() == [
        0,
        1,
        65535,
        0,
        65535,
    ]


def test_the_memory_format_is_kept():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8).to(memory_format=torch.channels_last)
    assert to_float(images).is_contiguous(memory_format=torch.channels_last)
