"""Folders of synthetic images from a trained generator, and the export of the generator itself."""
