"""`oodml check`."""

from __future__ import annotations

import click

from oodml.cli.console import echo_json
from oodml.cli.inputs import json_option


@click.command("check")
@click.argument("encoder")
@json_option
@click.pass_context
def check_encoder(context: click.Context, encoder: str, as_json: bool) -> None:
    """Try ENCODER on a few handwritten digits; exits with 1 where it breaks a promise.

    Its spec, its transform and its vectors: shape, type, finite, the same in every call and in
    every batch, not all alike. Every fault is one line.

    \b
    Example:  oodml check py:mymodule:make_encoder
    """
    from oodml.embed.inspection import inspect_encoder

    found = inspect_encoder(encoder)
    spec = found.spec
    if as_json:
        record = {"encoder": encoder, "faults": list(found.faults), "ok": not found.faults}
        echo_json({**record, "spec": spec.to_json() if spec else None})
    else:
        for fault in found.faults:
            click.echo(f"{encoder}: {fault}")
        if spec and not found.faults:
            crop = f"shorter side {spec.resize}, centre" if spec.resize else "resized to"
            click.echo(
                f"{encoder}: {spec.dim} dimensions, {spec.mode} images {crop} {spec.size} x "
                f"{spec.size}, {spec.interpolation}; licence of the weights: "
                f"{spec.licence or 'not known'}. No faults."
            )
    context.exit(1 if found.faults else 0)
