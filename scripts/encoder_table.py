"""The table of docs/encoders.md: dimension, parameters, input and time per image on this CPU.

Weights are random, which changes none of these. Time is the processor time of the network alone on
one thread, float32, in batches of 8: the fastest of `--repeats` calls, which other programs disturb
least, divided by 8. Run by hand: python scripts/encoder_table.py [NAME ...]
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import torch

from oodml.embed import open_encoder
from oodml.embed.network import Network

NAMES = (
    "tv:mobilenet_v3_small",
    "tv:mobilenet_v2",
    "tv:efficientnet_b0",
    "tv:resnet18",
    "tv:resnet50",
    "timm:resnet50.a1_in1k",
    "tv:convnext_tiny",
    "tv:swin_t",
    "tv:vit_b_16",
    "timm:vit_small_patch14_dinov2?size=224",
    "timm:vit_small_patch16_dinov3?size=224",
    "timm:vit_base_patch16_siglip_224.v2_webli",
    "open_clip:ViT-B-32/laion2b_s34b_b79k",
)
BATCH = 8


def processor() -> str:
    """The name of the CPU as Linux tells it, or of its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "CPU")


def row(name: str, repeats: int) -> str:
    """One line of the table, measured."""
    encoder = open_encoder(f"{name}{'&' if '?' in name else '?'}init=random")
    assert isinstance(encoder, Network)
    spec = encoder.spec
    batch = torch.randint(0, 256, (BATCH, 3, spec.size, spec.size), dtype=torch.uint8)
    encoder(batch)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        encoder(batch)
        times.append(time.process_time() - start)
    millions = sum(value.numel() for value in encoder.module.parameters()) / 1e6
    milliseconds = 1000 * min(times) / BATCH
    name = name.replace("|", "\\|")
    return f"| `{name}` | {spec.dim:,} | {millions:.1f} M | {spec.size} | {milliseconds:.0f} ms |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{processor()}, one thread, torch {torch.__version__}\n")
    print("| name | dimension | parameters | input | time per image |\n|---|---|---|---|---|")
    for name in options.names:
        print(row(name, options.repeats), flush=True)


if __name__ == "__main__":
    main()
