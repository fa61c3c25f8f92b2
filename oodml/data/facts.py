"""What is known of each data set that has a name: counts, terms of use, where it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Archive:
    """A published file: an archive by its suffix (.zip, .tar, .tar.gz, .tgz, .gz), else used as is.

    `urls` are its mirrors in the order in which they are tried; where there is none, the file must
    be got by hand. `bytes`, `sha256` and `md5` are None where nobody published them. Unpacked, it
    holds at most `members` members and `expands` times its own size.
    """

    file: str
    urls: tuple[str, ...] = ()
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    members: int = 1000
    expands: float = 4.0


@dataclass(frozen=True, slots=True)
class Facts:
    """A published data set: `classes` and `images` are the published counts of all of it.

    `home` is its page, `terms` one sentence on what it may be used for. `ways` are the sets of
    archives that it can be had from, the best one first; `by_hand` says why it cannot be fetched,
    and where people find it.
    """

    name: str
    title: str
    classes: int
    images: int
    home: str
    terms: str
    ways: tuple[tuple[Archive, ...], ...] = ()
    by_hand: str = ""


def _drive(key: str) -> str:
    """A large file on Google Drive, without the page that warns of its size."""
    return f"https://drive.usercontent.google.com/download?id={key}&export=download&confirm=t"


def _omniglot(file: str, size: int, sha256: str) -> Archive:
    home = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
    mirror = "https://github.com/brendenlake/omniglot/raw/master/python"
    urls = (f"{home}/{file}", f"{mirror}/{file}")
    return Archive(file, urls, size, sha256, members=40_000)


def _mnist(file: str, size: int, sha256: str) -> Archive:
    # yann.lecun.com itself answers 403 since 2024.
    urls = (
        f"https://ossci-datasets.s3.amazonaws.com/mnist/{file}",
        f"https://storage.googleapis.com/cvdf-datasets/mnist/{file}",
    )
    return Archive(file, urls, size, sha256, expands=8)


# Sizes and sha256: the url_checksums of tensorflow/datasets; the md5 of car_ims.tgz and
# cars_annos.mat: the data sets of pytorch-metric-learning's benchmarks. The sha256 of the two
# small Omniglot archives there is that of the real files.
_CARS_IMS = (
    Archive("car_ims.tgz", md5="d5c8f0aa497503f355e17dc7886c3f14", members=17_000, expands=2),
    Archive("cars_annos.mat", md5="b407c6086d669747186bd1d764ff9dbc"),
)
_CARS_HALVES = (
    Archive(
        "cars_train.tgz",
        bytes=979_269_282,
        sha256="512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
        members=9_000,
        expands=2,
    ),
    Archive(
        "cars_test.tgz",
        bytes=977_350_468,
        sha256="bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
        members=9_000,
        expands=2,
    ),
    Archive(
        "car_devkit.tgz",
        bytes=330_960,
        sha256="b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
        expands=20,
    ),
    Archive(
        "cars_test_annos_withlabels.mat",
        bytes=185_758,
        sha256="790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
    ),
)


_ALL = (
    Facts(
        name="cub200",
        title="CUB-200-2011 (birds)",
        classes=200,
        images=11_788,
        home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        terms="non-commercial research and education only; photos belong to their authors",
        ways=(
            (
                Archive(
                    "CUB_200_2011.tgz",
                    (
                        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                        _drive("1hbzc_P1FuxMkcabkgn9ZKinBwW683j45"),
                    ),
                    1_150_585_339,
                    "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                    members=13_000,
                    expands=2,
                ),
            ),
        ),
    ),
    Facts(
        name="cars196",
        title="Stanford Cars (CARS196)",
        classes=196,
        images=16_185,
        home="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        terms="non-commercial research only",
        ways=(_CARS_IMS, _CARS_HALVES),
        by_hand=(
            "its official links have been dead since 2023; copies are on Kaggle "
            "(jessicali9530/stanford-cars-dataset), see also github.com/pytorch/vision/issues/7545"
        ),
    ),
    Facts(
        name="sop",
        title="Stanford Online Products",
        classes=22_634,
        images=120_053,
        home="https://cvgl.stanford.edu/projects/lifted_struct/",
        terms="no licence stated; photos belong to their sellers, research use",
        ways=(
            (
                Archive(
                    "Stanford_Online_Products.zip",
                    (
                        "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
                        _drive("1TclrpQOF_ullUP99wk_gjGN8pKvtErG8"),
                    ),
                    3_083_860_082,
                    "b04fa78210e69fab050ce73939550e1cd0f96890bdd98ec9fee732c3b756ef48",
                    members=250_000,  # with those that macOS adds
                    expands=2,
                ),
            ),
        ),
    ),
    Facts(
        name="inshop",
        title="In-Shop Clothes Retrieval (DeepFashion)",
        classes=7_982,
        images=52_712,
        home="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        terms="non-commercial research only, by agreement with its authors",
        ways=(
            (
                Archive("img.zip", members=60_000, expands=2),
                Archive("list_eval_partition.txt"),
            ),
        ),
        by_hand="its authors give it by agreement; ask for it on its page (Img/img.zip, Eval/)",
    ),
    Facts(
        name="omniglot",
        title="Omniglot (handwritten characters)",
        classes=1_623,
        images=32_460,
        home="https://github.com/brendenlake/omniglot",
        terms="MIT licence",
        ways=(
            (
                _omniglot(
                    "images_background.zip",
                    9_464_212,
                    "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
                ),
                _omniglot(
                    "images_evaluation.zip",
                    6_462_886,
                    "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
                ),
            ),
        ),
    ),
    Facts(
        name="mnist",
        title="MNIST (handwritten digits)",
        classes=10,
        images=70_000,
        home="https://yann.lecun.com/exdb/mnist/",
        terms="CC BY-SA 3.0",
        ways=(
            (
                _mnist(
                    "train-images-idx3-ubyte.gz",
                    9_912_422,
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                _mnist(
                    "train-labels-idx1-ubyte.gz",
                    28_881,
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                _mnist(
                    "t10k-images-idx3-ubyte.gz",
                    1_648_877,
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                _mnist(
                    "t10k-labels-idx1-ubyte.gz",
                    4_542,
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            ),
        ),
    ),
    Facts(
        name="tiny_imagenet",
        title="Tiny ImageNet",
        classes=200,
        images=110_000,
        home="https://cs231n.stanford.edu/",
        terms="as ImageNet: non-commercial research and education only",
        ways=(
            (
                Archive(
                    "tiny-imagenet-200.zip",
                    ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
                    248_100_043,
                    "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
                    members=125_000,
                ),
            ),
        ),
    ),
    Facts(
        name="isolet",
        title="ISOLET (spoken letters, features)",
        classes=26,
        images=7_797,
        home="https://archive.ics.uci.edu/dataset/54/isolet",
        terms="CC BY 4.0",
        ways=(
            (
                Archive(
                    "isolet.zip",
                    ("https://archive.ics.uci.edu/static/public/54/isolet.zip",),
                    expands=10,
                ),
            ),
        ),
    ),
)
FACTS = {facts.name: facts for facts in _ALL}
