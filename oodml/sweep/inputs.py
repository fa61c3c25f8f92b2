"""What a job is given: features, and the images behind them where the network is trained too."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from oodml.data import Dataset
from oodml.embed import EmbeddingSet, open_encoder
from oodml.embed.architectures import find_architecture
from oodml.embed.decode import image_pixels
from oodml.embed.network import Network
from oodml.embed.prepared import prepare_images
from oodml.embed.reading import batches
from oodml.embed.worker import start_worker
from oodml.errors import RunError, UnknownNameError
from oodml.methods import Budget, Course, FitContext
from oodml.methods.pictures import Pictures, Read, pictures_of
from oodml.split import SplitSequence
from oodml.sweep.spec import RunSpec

Array = np.ndarray[Any, Any]
SHORTER = 256  # pixels of the shorter side of pictures that are kept for training


def fit_context(
    embeddings: EmbeddingSet,
    sequence: SplitSequence,
    spec: RunSpec,
    *,
    data: Dataset | None = None,
    encoder: str | None = None,
    course: Course = Course(),  # noqa: B008 - it is frozen
) -> FitContext:
    """What a method may see: copies of the train classes' features, nothing of the test side.

    Where the protocol trains the network, also `encoder`, and the images of the same classes.
    """
    split = sequence.part(spec.part)
    apart = spec.selection == "val"
    train = split.train if apart else split.train_side
    context = FitContext(
        train=embeddings.of(train),
        val=embeddings.of(split.val) if apart else None,
        protocol=spec.protocol,  # type: ignore[arg-type]
        budget=Budget(**spec.budget),
        selection=spec.selection,  # type: ignore[arg-type]
        seed=spec.seed or 0,
        precision=spec.precision,
        course=course,
    )
    if spec.protocol == "head" or not spec.budget:
        return context
    data, network = require_images(spec.protocol, data, encoder)
    read = _whole(data) if spec.protocol == "paper" else prepare_images(data, SHORTER).__getitem__
    return replace(
        context,
        network=network,
        images=_pictures(embeddings, data, network, train, read),
        val_images=_pictures(embeddings, data, network, split.val, read) if apart else None,
    )


def require_images(
    protocol: str, data: Dataset | None, encoder: str | None
) -> tuple[Dataset, Network]:
    """What a protocol that trains the network needs; raises `RunError` where it is not there."""
    network = network_of(encoder)
    if data is None or network is None:
        raise RunError(
            f"Protocol {protocol} trains the network, and so takes images and a network whose "
            "architecture has a name; give --dataset and an --encoder such as tv:resnet50."
        )
    return data, network


def prepare_training(spec: RunSpec, data: Dataset | None, encoder: str | None) -> None:
    """Make what many jobs need once, before they start; raises where a job could not run."""
    if spec.protocol != "head" and spec.budget:
        data, _ = require_images(spec.protocol, data, encoder)
        if spec.protocol == "full":
            prepare_images(data, SHORTER)


@lru_cache(maxsize=1)
def network_of(encoder: str | None) -> Network | None:
    """The network of an encoder's name, if a head can be put on it and the whole be named.

    None for what is no network, as `oodml:hog`, for networks of one's own code, and for those that
    have a head already.
    """
    found = open_encoder(encoder) if encoder else None
    if not isinstance(found, Network) or "+" in found.spec.arch:
        return None
    try:
        find_architecture(found.spec.arch)
    except UnknownNameError:
        return None
    return found


def embedded(
    embeddings: EmbeddingSet,
    data: Dataset | None,
    network: Network,
    classes: tuple[str, ...],
    device: str,
) -> EmbeddingSet:
    """The same images by another network; those of other classes are left at zero."""
    if data is None:
        raise RunError(f"{network.spec.name} takes images; give --dataset and --encoder.")
    rows = rows_of(embeddings, classes)
    vectors = np.zeros((len(embeddings), network.spec.dim), dtype=np.float32)
    worker = start_worker(network, device, None)
    blocks = batches(data, worker.encoder, rows.tolist(), worker.block)
    vectors[rows] = np.concatenate([worker(block) for block in blocks])
    return replace(embeddings, vectors=vectors)


def rows_of(embeddings: EmbeddingSet, classes: tuple[str, ...]) -> np.ndarray:
    """The rows of these classes, in the order of `embeddings.of`."""
    index = {name: at for at, name in enumerate(embeddings.classes)}
    return np.flatnonzero(np.isin(embeddings.labels, [index[name] for name in classes]))


def _pictures(
    embeddings: EmbeddingSet, data: Dataset, network: Network, classes: tuple[str, ...], read: Read
) -> Pictures:
    return pictures_of(data, rows_of(embeddings, classes), network, read)


def _whole(data: Dataset) -> Read:
    """Images at their own size, read anew every time."""

    def read(row: int) -> Array:
        pixels = image_pixels(data, row, "RGB")
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))

    return read
