"""What the Space does, without its widgets: look at a photo; answer with neighbours, a credible set, or not at all."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

import hub_models
from hub_models.errors import HubModelsError
from hub_models.image_sources import ImageSource, read_source_image
from hub_models.named_files import NamedFilesSource
from hub_models.paths import cache_dir
from hub_models.prediction import Prediction, Skipped, predict
from hub_models.retrieval import (
    AbstentionPolicy,
    CredibleRetriever,
    CredibleSet,
    Gallery,
    Neighbour,
    Neighbours,
    SafeRetriever,
    build_gallery,
    model_identity,
)
from hub_models.thumbnails import data_uri

NEIGHBOURS = 6
SHOWN_OF_SET = 12
TOP_LABELS = 5
THUMBNAIL_SIDE = 320


@dataclass(frozen=True)
class Look:
    """What the model sees in a photo: its prediction, and the likeliest labels with their probabilities."""

    prediction: Prediction
    labels: list[tuple[str, float]]


@dataclass(frozen=True)
class CredibleAnswer:
    """A credible set, the photos of it that are shown, and how many there are in the gallery."""

    found: CredibleSet
    shown: list[Neighbour]
    gallery_size: int


class SafeSearch:
    """A model and a gallery of photos that it has seen.

    Args:
        model_name: as `hub_models.load` takes it.
        photos: what the gallery is made of. It is kept in the cache, so that a large one is built once, and
            goes on after an interruption.

    Raises:
        HubModelsError: model or gallery cannot be had; the message says why.
    """

    def __init__(self, model_name: str, photos: ImageSource) -> None:
        self.model = hub_models.load(model_name)
        self.processor = hub_models.load_image_processor(model_name)
        self.photos = photos
        identity = model_identity(self.model, self.processor)
        directory = cache_dir() / "galleries" / _key(identity, photos)
        self.gallery: Gallery = build_gallery(
            self.model, self.processor, photos, directory, model_name=model_name
        )
        self.thumbnail = lru_cache(maxsize=1024)(self._thumbnail)
        self._index = self.gallery.index()
        self._position = {name: index for index, name in enumerate(photos.names)}

    def look(self, path: str, name: str) -> Look | Skipped:
        """Look at one photo.

        Args:
            path: of the uploaded file, whatever it is.
            name: what to call it.

        Returns:
            A `Look`, or why there is none, in words for the person who uploaded it.
        """
        try:
            [seen] = predict(self.model, self.processor, NamedFilesSource({name: Path(path)}))
        except HubModelsError as error:
            return Skipped(name, str(error))
        return seen if isinstance(seen, Skipped) else Look(seen, self._labels(seen))

    def answer(self, look: Look, percent: float) -> Neighbours:
        """The nearest photos, without what is more uncertain than ``percent`` of the reference images."""
        retriever = SafeRetriever(self.gallery, self._index, AbstentionPolicy(percent / 100))
        return retriever.query([look.prediction], NEIGHBOURS)[0]

    def credible(self, look: Look, percent: float) -> CredibleAnswer:
        """All photos in the photo's credible region of this probability.

        Raises:
            GalleryError: the model gives no concentration.
        """
        retriever = CredibleRetriever(self.gallery, self._index, percent / 100)
        [answer] = retriever.query([look.prediction])
        return CredibleAnswer(
            answer.found, retriever.neighbours(answer.found, SHOWN_OF_SET), len(self.gallery)
        )

    @torch.inference_mode()
    def _labels(self, prediction: Prediction) -> list[tuple[str, float]]:
        if prediction.label is None:
            return []
        logits = self.model.classify(torch.from_numpy(prediction.embedding)[None])
        best = logits[0].softmax(dim=0).topk(min(TOP_LABELS, logits.shape[1]))
        names = self.model.config.id2label
        return [
            (names[index], probability)
            for index, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _thumbnail(self, item: int) -> str:
        """For ``<img src=...>``; empty if the photo is gone since the gallery was built."""
        try:
            photo = read_source_image(self.photos, self._position[self.gallery.names[item]])
        except HubModelsError:
            return ""
        return data_uri(photo, THUMBNAIL_SIDE)


def _key(identity: str, photos: ImageSource) -> str:
    """Another model or other names make another gallery; a changed photo is found when it is opened."""
    return hashlib.sha256(json.dumps([identity, list(photos.names)]).encode()).hexdigest()[:16]


class Later:
    """A search that is made when it is first asked for; of several who ask at once, one makes it and the rest wait."""

    def __init__(self, model_name: str, photos: ImageSource) -> None:
        self._made_of = (model_name, photos)
        self._lock = threading.Lock()
        self._search: SafeSearch | None = None

    def get(self) -> SafeSearch:
        """The search.

        Raises:
            HubModelsError: as `SafeSearch`; the next call tries again.
        """
        with self._lock:
            if self._search is None:
                self._search = SafeSearch(*self._made_of)
        return self._search
