"""The file of a linear head: exactly what was written comes back, and nothing else is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from oodml.errors import WeightsError
from oodml.methods import read_head, write_head
from oodml.methods.heads import Head


def linear_head(dim: int, d: int) -> Head:
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(rng.standard_normal((dim, d), dtype=np.float32))
    return Head.of((weight, torch.zeros(dim)))


def test_a_head_comes_back_and_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    given = linear_head(3, 5)
    write_head(path, given)
    again = read_head(path, 5)
    assert again.spec == given.spec
    assert all(again.state()[key].equal(value) for key, value in given.state().items())

    def refused(match: str, arch: str | None = given.spec.arch, **changes: torch.Tensor) -> None:
        state = {**given.state(), **{k.replace("_", "."): v for k, v in changes.items()}}
        save_file(state, path, metadata=None if arch is None else {"arch": arch})
        with pytest.raises(WeightsError, match=match):
            read_head(path, 5)

    refused("expected vectors:5.linear:DIM", arch=None)
    refused("has arch 'vectors:5'", arch="vectors:5")
    refused("has arch 'vectors:4.linear:3'", arch="vectors:4+linear:3")
    refused("has arch 'vectors:5.linear:3.mlp:2'", arch="vectors:5+linear:3+mlp:2")
    refused("holds .*expected .*as its arch says", arch="vectors:5+linear:4")
    refused("as its arch says", head_bias=torch.zeros(4))
    refused("as its arch says", head_bias=torch.zeros(3, dtype=torch.float64))
    refused("as its arch says", head_more=torch.zeros(3))
    refused("not finite", head_bias=torch.tensor([0.0, torch.nan, 0.0]))
    save_file(
        {"head.weight": given.state()["head.weight"]}, path, metadata={"arch": given.spec.arch}
    )
    with pytest.raises(WeightsError, match="as its arch says"):
        read_head(path, 5)
    path.write_bytes(b"x")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        read_head(path, 5)
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        read_head(tmp_path / "none", 5)
