"""What is known of each data set that has a name: counts, terms of use, where it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """A published data set: `classes` and `images` are the published counts of all of it.

    `home` is its page, `terms` one sentence on what it may be used for.
    """

    name: str
    title: str
    classes: int
    images: int
    home: str
    terms: str


_ALL = (
    Facts(
        name="cub200",
        title="CUB-200-2011 (birds)",
        classes=200,
        images=11_788,
        home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        terms="non-commercial research and education only; photos belong to their authors",
    ),
    Facts(
        name="cars196",
        title="Stanford Cars (CARS196)",
        classes=196,
        images=16_185,
        home="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        terms="non-commercial research only",
    ),
    Facts(
        name="sop",
        title="Stanford Online Products",
        classes=22_634,
        images=120_053,
        home="https://cvgl.stanford.edu/projects/lifted_struct/",
        terms="no licence stated; photos belong to their sellers, research use",
    ),
    Facts(
        name="inshop",
        title="In-Shop Clothes Retrieval (DeepFashion)",
        classes=7_982,
        images=52_712,
        home="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        terms="non-commercial research only, by agreement with its authors",
    ),
    Facts(
        name="omniglot",
        title="Omniglot (handwritten characters)",
        classes=1_623,
        images=32_460,
        home="https://github.com/brendenlake/omniglot",
        terms="MIT licence",
    ),
    Facts(
        name="mnist",
        title="MNIST (handwritten digits)",
        classes=10,
        images=70_000,
        home="https://yann.lecun.com/exdb/mnist/",
        terms="CC BY-SA 3.0",
    ),
    Facts(
        name="tiny_imagenet",
        title="Tiny ImageNet",
        classes=200,
        images=110_000,
        home="https://cs231n.stanford.edu/",
        terms="as ImageNet: non-commercial research and education only",
    ),
    Facts(
        name="isolet",
        title="ISOLET (spoken letters, features)",
        classes=26,
        images=7_797,
        home="https://archive.ics.uci.edu/dataset/54/isolet",
        terms="CC BY 4.0",
    ),
)
FACTS = {facts.name: facts for facts in _ALL}
