"""The views of a training image that go into the feature cache.

Each random view is drawn from a generator seeded by (seed, image hash, view number): the same image gives
the same views in any order, on any number of processes, and after any restart.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import v2
from transformers import BaseImageProcessor

VIEW_KINDS = ("full", "crop", "degraded", "centre_crop")


@dataclass(frozen=True)
class Views:
    """How many views of each kind: the whole image (always the first), random crops, degraded copies.

    Attributes:
        crops: random resized crops of 8 to 100 % of the area, flipped and colour-jittered (PVU, section 4).
        degraded: copies that lost information: a small crop, blur, noise, low resolution or JPEG artefacts.
        centre_crops: centre crops of 10 to 75 % of each side, as the crop test draws them.
        seed: of the random draws.
    """

    crops: int = 0
    degraded: int = 0
    centre_crops: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.crops, self.degraded, self.centre_crops) < 0:
            raise ValueError("views: crops, degraded and centre_crops cannot be negative")

    @property
    def count(self) -> int:
        """Views of one image."""
        return len(self.kinds)

    @property
    def kinds(self) -> list[str]:
        """Kind of each view: ``full``, then ``crop``, ``degraded`` and ``centre_crop``."""
        return (
            ["full"]
            + ["crop"] * self.crops
            + ["degraded"] * self.degraded
            + ["centre_crop"] * self.centre_crops
        )


class ViewMaker:
    """Makes model inputs of an image.

    Args:
        processor: the backbone's stock image processor; the full view goes through it unchanged.
        views: what to make.

    Attributes:
        size: height and width of every view.
    """

    def __init__(self, processor: BaseImageProcessor, views: Views) -> None:
        self.processor, self.views = processor, views
        size = getattr(processor, "crop_size", None) or processor.size
        self.size = (size["height"], size["width"])
        self._crop = v2.Compose(
            [
                v2.RandomResizedCrop(self.size, interpolation=v2.InterpolationMode.BICUBIC),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.4, 0.4, 0.4),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(processor.image_mean, processor.image_std),
            ]
        )

    def make(self, image: Image.Image, image_sha256: str, view: int) -> Tensor:
        """Input (3, H, W) of one view."""
        kind = self.views.kinds[view]
        if kind == "full":
            return self._whole(image)
        key = hashlib.sha256(f"{self.views.seed}:{image_sha256}:{view}".encode()).digest()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(key[:8], "little", signed=True))
            if kind == "crop":
                return self._crop(image)
            return self._whole(
                degrade(image) if kind == "degraded" else centre_crop(image, float(torch.rand(())))
            )

    def _whole(self, image: Image.Image) -> Tensor:
        pixels: Tensor = self.processor(image, return_tensors="pt")["pixel_values"][0]
        return pixels


def degrade(image: Image.Image) -> Image.Image:
    """One random loss of information, drawn from torch's global generator."""
    kinds = (centre_crop, blur, add_noise, lower_resolution, jpeg)
    severity = float(torch.rand(()))
    return kinds[int(torch.randint(len(kinds), ()))](image, severity)


def centre_crop(image: Image.Image, severity: float) -> Image.Image:
    """Keep the middle: 75 % of each side at severity 0, 10 % at 1 (the crop test's range)."""
    share = 0.75 - 0.65 * severity
    width, height = (min(side, max(8, round(side * share))) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height)).resize(image.size, Image.Resampling.BICUBIC)


def blur(image: Image.Image, severity: float) -> Image.Image:
    """Gaussian blur of 0.5 to 5 % of the short side."""
    return image.filter(ImageFilter.GaussianBlur((0.005 + 0.045 * severity) * min(image.size)))


def add_noise(image: Image.Image, severity: float) -> Image.Image:
    """Gaussian noise of 10 to 90 grey levels."""
    pixels = v2.functional.pil_to_tensor(image).float()
    noisy = pixels + torch.randn_like(pixels) * (10 + 80 * severity)
    return v2.functional.to_pil_image(noisy.clamp(0, 255).to(torch.uint8))


def lower_resolution(image: Image.Image, severity: float) -> Image.Image:
    """Shrink to 96 down to 16 pixels on the short side and enlarge again."""
    scale = min(1.0, (96 - 80 * severity) / min(image.size))
    small = image.resize((max(4, round(image.width * scale)), max(4, round(image.height * scale))))
    return small.resize(image.size, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, severity: float) -> Image.Image:
    """JPEG of quality 30 down to 3."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=round(30 - 27 * severity))
    return Image.open(buffer).convert("RGB")
