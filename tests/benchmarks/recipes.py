"""How far the samples of finished runs are from unseen real people, over what real people get in their place.

    python tests/benchmarks/recipes.py RUN [RUN ...]

For each run: the Fréchet distance in `random_conv` between 2,048 samples and all images of the people that
the run has held out (validation and test, read from its `split.csv`), divided by the distance between those
and all images of the people that it was trained on. 1 is what those real images get in place of the samples;
they are more than 2,048, which is to the samples' disadvantage, if slight. The README's runs are

    python -m alzgan.train model=RECIPE data=mri data.root=DIR data.channels=1 data.batch_size=64 trainer=fast
        model.generator.width=32 model.discriminator.width=32 trainer.max_steps=2344 trainer.max_epochs=-1
"""

import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

import alzgan
from alzgan.data.datamodule import MRIDataModule
from alzgan.metrics.distances import Moments, frechet, moments
from alzgan.metrics.features import RandomConvFeatures
from alzgan.people.subjects import PARTS

SAMPLES = 2048


def features(images: Tensor, batch: int = 256) -> Moments:
    """Moments of the features of uint8 images (N, C, H, W)."""
    extractor = RandomConvFeatures()
    return moments(torch.cat([extractor(part) for part in images.split(batch)]))


def main() -> None:
    """Print a line for each run."""
    for run in map(Path, sys.argv[1:]):
        settings = yaml.safe_load((run / "config.yaml").read_text())["data"]
        data = MRIDataModule(
            settings["root"],
            image_size=settings["image_size"],
            channels=settings["channels"],
            fit=settings["fit"],
            subjects=f"csv:{run / 'split.csv'}",
        )
        train, *held = (part[np.arange(len(part))][0] for part in map(data.part, PARTS))
        seen, unseen = features(train), features(torch.cat(held))
        floor = frechet(seen, unseen)
        generator = alzgan.load(run)
        found = frechet(features(generator.sample(SAMPLES, seed=0).cpu()), unseen)
        print(f"{run.name}: {found / floor:.2f} floors ({found:.4f} / {floor:.4f})", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main()
