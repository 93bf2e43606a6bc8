"""The DCGAN loop of the tutorials. The default model must be equal to it, and is timed against it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

WORKERS = 2
ADAM: dict[str, Any] = {"lr": 2e-4, "betas": (0.5, 0.999)}


class TextbookGame:
    """The training step of the tutorials: BCELoss on probabilities, with separate passes for real and fake.

    Args:
        generator: latents (N, L) to images (N, C, H, W).
        discriminator: images to probabilities (N,).
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module):
        self.generator, self.discriminator = generator, discriminator
        self.criterion = nn.BCELoss()
        self.generator_optimizer = torch.optim.Adam(generator.parameters(), **ADAM)
        self.discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), **ADAM)

    def step(self, real: Tensor, latents: Tensor) -> tuple[float, ...]:
        """One step; returns both losses, D(x), and D(G(z)) before and after D's step, as numbers."""
        ones, zeros = real.new_ones(len(real)), real.new_zeros(len(real))
        self.discriminator.zero_grad()
        on_real = self.discriminator(real)
        loss_real = self.criterion(on_real, ones)
        loss_real.backward()
        fake = self.generator(latents)
        before = self.discriminator(fake.detach())
        loss_fake = self.criterion(before, zeros)
        loss_fake.backward()
        self.discriminator_optimizer.step()

        self.generator.zero_grad()
        after = self.discriminator(fake)
        loss = self.criterion(after, ones)
        loss.backward()
        self.generator_optimizer.step()
        values = (loss_real + loss_fake, loss, on_real.mean(), before.mean(), after.mean())
        return tuple(value.item() for value in values)


def batches(folder: str, image_size: int, channels: int, batch_size: int) -> Iterator[Tensor]:
    """Endless full batches of float images in [-1, 1]. Workers decode each image every time."""
    recipe = [
        *([transforms.Grayscale()] if channels == 1 else []),
        transforms.Resize(image_size),
        transforms.CenterCrop(image_size),
        transforms.ToTensor(),
        transforms.Normalize((0.5,) * channels, (0.5,) * channels),
    ]
    images = ImageFolder(folder, transforms.Compose(recipe))
    loader = DataLoader(images, batch_size, shuffle=True, num_workers=WORKERS, drop_last=True)
    while True:
        for batch, _ in loader:
            yield batch
