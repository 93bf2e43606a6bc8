"""What alzgan is compared with: the tutorials' loop, the fastest loop without a framework, a product."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms
from torchvision.datasets import ImageFolder

from alzgan.benchmarks.contest import Pace, elapsed
from alzgan.losses import NonSaturatingLoss
from alzgan.runtime.graphs import CapturedStep
from alzgan.runtime.images import to_float
from alzgan.runtime.overhead import keep_freed_memory

TEXTBOOK_WORKERS = 2
ADAM = {"lr": 2e-4, "betas": (0.5, 0.999)}
PRODUCT_SIDE = 2048


@dataclass(frozen=True)
class LoopSettings:
    """What a loop needs to know.

    Attributes:
        training: a composed `conf/train.yaml`.
        folder: of the images; None: uint8 noise, resident on the device.
        precision: "32-true" or "bf16-mixed".
    """

    training: DictConfig
    folder: str | None = None
    precision: str = "32-true"

    @property
    def device(self) -> torch.device:
        """The one that a Trainer would choose."""
        cpu = self.training.trainer.accelerator == "cpu" or not torch.cuda.is_available()
        return torch.device("cpu" if cpu else "cuda")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        data = self.training.data
        return data.channels, data.image_size, data.image_size


def textbook(pace: Pace, settings: LoopSettings) -> None:
    """The DCGAN loop of the tutorials: each image decoded each time, each loss read and printed each step."""
    game = TextbookGame(settings)
    pace.wait()
    for step, real in enumerate(textbook_batches(settings)):
        print(step, *game.step(real.to(settings.device)), flush=True)
        pace.step_done()


class TextbookGame:
    """The two players as the tutorials have them: probabilities and BCELoss, float32, default layouts.

    Args:
        settings: see there.
    """

    def __init__(self, settings: LoopSettings):
        generator, discriminator = networks(settings)
        self.generator, self.discriminator = generator, nn.Sequential(discriminator, nn.Sigmoid())
        self.criterion = nn.BCELoss()
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), **ADAM)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), **ADAM)
        self.latent_dim = settings.training.model.latent_dim

    def step(self, real: Tensor) -> tuple[float, ...]:
        """One alternation; returns both losses, D(x), and D(G(z)) before and after D's step, all read."""
        ones, zeros = torch.ones(len(real), device=real.device), torch.zeros(len(real), device=real.device)
        self.discriminator.zero_grad()
        on_real = self.discriminator(real)
        loss_real = self.criterion(on_real, ones)
        loss_real.backward()
        fake = self.generator(torch.randn(len(real), self.latent_dim, device=real.device))
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


def textbook_batches(settings: LoopSettings) -> Iterator[Tensor]:
    """Batches of float images without end: from the files by workers, or always the same resident noise."""
    data = settings.training.data
    if settings.folder is None:
        noise = torch.rand(data.batch_size, *settings.image_shape, device=settings.device) * 2 - 1
        while True:
            yield noise
    channels = data.channels
    recipe = [
        *([transforms.Grayscale()] if channels == 1 else []),
        transforms.Resize(data.image_size),
        transforms.CenterCrop(data.image_size),
        transforms.ToTensor(),
        transforms.Normalize((0.5,) * channels, (0.5,) * channels),
    ]
    images = ImageFolder(settings.folder, transforms.Compose(recipe))
    loader = DataLoader(images, data.batch_size, shuffle=True, num_workers=TEXTBOOK_WORKERS)
    while True:
        for batch, _ in loader:
            if len(batch) == data.batch_size:
                yield batch


def bare(pace: Pace, settings: LoopSettings) -> None:
    """The same alternation as alzgan's with nothing around it, on data that lies on the device."""
    keep_freed_memory()
    game = BareGame(settings)
    images = resident_noise(settings)
    pace.facts["flops_a_step"] = game.flops(images)
    alternation = game.captured() if settings.device.type == "cuda" else game.alternation
    pace.wait()
    for _ in count():
        alternation(*game.inputs(images))
        pace.step_done()


class BareGame:
    """The two players with every option of PyTorch that pays, and no Trainer.

    Args:
        settings: see there.
    """

    def __init__(self, settings: LoopSettings):
        players = networks(settings)
        self.generator, self.discriminator = (net.to(memory_format=torch.channels_last) for net in players)
        self.loss = NonSaturatingLoss()
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), **ADAM, fused=True)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), **ADAM, fused=True)
        self.latent_dim = settings.training.model.latent_dim
        self.batch_size = settings.training.data.batch_size
        self.autocast: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
        if settings.precision == "bf16-mixed":
            self.autocast = lambda: torch.autocast(settings.device.type, torch.bfloat16)

    def inputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A random batch of uint8 images as floats in [-1, 1], and latents."""
        chosen = torch.randint(len(images), (self.batch_size,), device=images.device)
        return to_float(images[chosen]), torch.randn(self.batch_size, self.latent_dim, device=images.device)

    def alternation(self, real: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """Both steps; returns both losses, unread."""
        with self.autocast():
            fake = self.generator(latents)
            real_logits, fake_logits = self.discriminator(real), self.discriminator(fake.detach())
            discriminator_loss = self.loss.discriminator(real_logits, fake_logits)
        self.discriminator_optimizer.zero_grad()
        discriminator_loss.backward()
        self.discriminator_optimizer.step()
        self.discriminator.requires_grad_(False)
        with self.autocast():
            generator_loss = self.loss.generator(self.discriminator(fake), real_logits)
        self.generator_optimizer.zero_grad()
        generator_loss.backward()
        self.generator_optimizer.step()
        self.discriminator.requires_grad_(True)
        return {"discriminator": discriminator_loss.detach(), "generator": generator_loss.detach()}

    def flops(self, images: Tensor) -> int:
        """Play one alternation; returns its floating-point operations, of which a multiply-add is two."""
        with FlopCounterMode(display=False) as counter:
            self.alternation(*self.inputs(images))
        return counter.get_total_flops()

    def captured(self) -> CapturedStep:
        """The alternation as one CUDA graph."""
        return CapturedStep(self.alternation, [self.generator_optimizer, self.discriminator_optimizer])


def product(pace: Pace, settings: LoopSettings) -> None:
    """A square matrix product: what the hardware gives at best, in the precision that is asked for."""
    kind = torch.bfloat16 if settings.precision == "bf16-mixed" else torch.float32
    left, right = (torch.randn(PRODUCT_SIDE, PRODUCT_SIDE, device=settings.device, dtype=kind) for _ in "ab")
    ways = products(left, right)
    pace.facts["flops_a_step"] = 2 * PRODUCT_SIDE**3
    pace.facts["computed_by"] = best = min(ways, key=lambda name: quickest(ways[name]))
    pace.wait()
    while True:
        ways[best]()
        pace.step_done()


def products(left: Tensor, right: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The product of two square matrices by each library there is, by the function that calls it."""
    # A CPU's convolutions are by another library than its products, which can be twice as fast.
    pixels = left.view(1, -1, 16, left.shape[1]).permute(0, 3, 1, 2)
    kernels = right.t().contiguous()[:, :, None, None]
    return {"torch.mm": lambda: torch.mm(left, right), "torch.conv2d": lambda: torch.conv2d(pixels, kernels)}


def quickest(action: Callable[[], object], tries: int = 5) -> float:
    """Seconds of the fastest try, the device included."""
    action()
    return min(elapsed(action) for _ in range(tries))


def networks(settings: LoopSettings) -> tuple[nn.Module, nn.Module]:
    """The model's generator and discriminator, on the device, in training mode."""
    model = settings.training.model
    return tuple(instantiate(node).to(settings.device) for node in (model.generator, model.discriminator))


def resident_noise(settings: LoopSettings, images: int = 1024) -> Tensor:
    """uint8 noise (images, C, H, W), channels last, on the device."""
    channels, height, width = settings.image_shape
    noise = torch.randint(256, (images, height, width, channels), dtype=torch.uint8)
    return noise.to(settings.device).permute(0, 3, 1, 2)


def flops_a_step(settings: LoopSettings) -> int:
    """Floating-point operations of one alternation, see `BareGame.flops`."""
    return BareGame(settings).flops(resident_noise(settings))
