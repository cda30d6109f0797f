"""The stacked optimizer makes the updates of torch's own."""

from __future__ import annotations

import pytest
import torch

from auricle.training.muon import StackedMuon

# Theirs orthogonalises in bfloat16, and ours may in another order of sums: 2 % of an update.
TOLERANCE = 4e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_updates_equal_torch_muon(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    start = [torch.randn(24, 64), torch.randn(64, 24), torch.randn(24, 24), torch.randn(24, 64)]
    ours = [torch.nn.Parameter(matrix.clone()) for matrix in start]
    theirs = [torch.nn.Parameter(matrix.clone()) for matrix in start]
    stacked = StackedMuon(ours, lr=0.01, weight_decay=0.1, dtype=dtype)
    single = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        stacked.step()
        single.step()
    for mine, other, before in zip(ours, theirs, start, strict=True):
        assert (mine - before).abs().max() > 10 * TOLERANCE
        torch.testing.assert_close(mine, other, atol=TOLERANCE, rtol=0)
