"""A laboratory for small-data medical image GANs."""

__version__ = "0.2.0"
