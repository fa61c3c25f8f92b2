"""`oodml doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from oodml.cli.console import echo_json, echo_table, size_text
from oodml.cli.inputs import json_option

if TYPE_CHECKING:
    from oodml.doctor import Device, Health


@click.command()
@click.option("--verify", is_flag=True, help="Also read all cached vectors and compare digests.")
@click.option("--repair", is_flag=True, help="Also remove what is damaged; it is made anew later.")
@json_option
@click.pass_context
def doctor(context: click.Context, verify: bool, repair: bool, as_json: bool) -> None:
    """Say what this machine has: versions, devices, memory, places, extras.

    With --verify it exits with 1 where cached vectors are damaged and were not removed.

    \b
    Example:  oodml doctor --verify
    """
    from oodml.doctor import examine

    health = examine(verify=verify, repair=repair)
    if as_json:
        record: dict[str, Any] = asdict(health)
        for cache in record["caches"] or ():
            cache["folder"] = str(cache["folder"])
        echo_json(record)
    else:
        echo_table(["what", "note"], list(_rows(health)))
        for line in _cache_lines(health, repair=repair):
            click.echo(line)
    context.exit(1 if health.damaged and not repair else 0)


def _rows(health: Health) -> Iterator[list[str]]:
    yield ["Python", f"{health.python} on {health.platform}"]
    for name, version in health.versions.items():
        yield [name, version or "not installed"]
    for extra, packages in health.extras.items():
        parts = [f"{name} {version or 'not installed'}" for name, version in packages.items()]
        yield [f"extra {extra}", ", ".join(parts)]
    for device in health.devices:
        yield [device.device, _device_text(device)]
    yield ["threads of torch", str(health.threads)]
    yield ["OODML_OFFLINE", "set: nothing is downloaded" if health.offline else "not set"]
    for place in health.places:
        size = "not there" if place.bytes is None else size_text(place.bytes)
        yield [place.name, f"{place.path}: {size}"]


def _device_text(device: Device) -> str:
    memory = "memory unknown"
    if device.memory is not None:
        free = "" if device.free is None else f", {size_text(device.free)} free"
        memory = f"{size_text(device.memory)} of memory{free}"
    bf16 = {True: "bf16 in hardware", False: "bf16 only emulated", None: "bf16 unknown"}
    return "; ".join([device.name, memory, bf16[device.bf16], *device.facts])


def _cache_lines(health: Health, *, repair: bool) -> Iterator[str]:
    if health.caches is None:
        return
    shards = sum(cache.shards for cache in health.caches)
    yield f"Cached vectors: {shards} shards in {len(health.caches)} sets, {health.damaged} damaged."
    for cache in health.caches:
        if cache.damaged:
            numbers = ", ".join(map(str, cache.damaged))
            done = (
                "removed; the next use embeds these images again"
                if repair
                else "give oodml doctor --repair to remove them"
            )
            yield f"{cache.folder}: shards {numbers} are damaged; {done}."
