import torch
import torch.nn.functional as F

from alzgan.networks.layers import UpsampledConvolution


def test_it_is_nearest_neighbour_upsampling_and_a_convolution():
    torch.manual_seed(0)
    layer, maps = UpsampledConvolution(3, 5).double(), torch.randn(2, 3, 6, 4, dtype=torch.double)
    # A transposed convolution turns its kernel by 180 degrees.
    kernel = layer.weight.transpose(0, 1).flip(2, 3)
    expected = F.conv2d(F.interpolate(maps, scale_factor=2), kernel, padding=1)
    torch.testing.assert_close(layer(maps), expected, rtol=0, atol=1e-12)


def test_a_constant_map_stays_constant_inside_where_a_transposed_convolution_makes_a_checkerboard():
    torch.manual_seed(0)
    maps = torch.ones(1, 1, 6, 6)
    smooth = UpsampledConvolution(1, 1)(maps)[0, 0, 2:-2, 2:-2]
    assert smooth.std() < 1e-6
    rough = torch.nn.ConvTranspose2d(1, 1, 4, 2, 1)(maps)[0, 0, 2:-2, 2:-2]
    assert rough.std() > 1e-2
