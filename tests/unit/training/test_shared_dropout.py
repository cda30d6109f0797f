"""Dropout by one mask for all rows: what it zeroes, what it keeps of the mean, and that it is of training alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from auricle.models.parakeet import ParakeetConfig, ParakeetCTC
from auricle.training.pretrain_ctc import BLANK, TrainOptions, start_run
from auricle.training.shared_dropout import SharedDropout, drop_branches


def test_rows_share_a_mask_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    module = nn.Identity()
    module.register_forward_hook(SharedDropout(0.25))
    given = torch.ones(4, 50, 40)
    dropped = module.train()(given)
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.04)
    assert not torch.equal(dropped, module(given))
    assert torch.equal(module.eval()(given), given)


def test_a_run_drops_in_its_model_and_not_in_its_average() -> None:
    encoder = ParakeetCTC.tiny(subsampling_factor=4, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
    config = ParakeetConfig(BLANK + 1, BLANK, encoder.encoder_config)
    values, lengths = torch.randn(2, 80, 80), torch.tensor([80, 80])
    answers = {}
    for share in (0.0, 0.3):
        run = start_run(TrainOptions(minutes=1.0, dropout=share), config)
        run.model.train()
        for block in run.model.modules():
            if isinstance(block, nn.BatchNorm1d):
                block.eval()
        answers[share] = [run.model(values, lengths)[0] for _ in range(2)]
        kept = run.average.train()
        for block in kept.modules():
            if isinstance(block, nn.BatchNorm1d):
                block.eval()
        torch.testing.assert_close(kept(values, lengths)[0], answers[0.0][0])
    assert torch.equal(*answers[0.0])
    assert not torch.equal(*answers[0.3])


def test_other_blocks_are_refused() -> None:
    with pytest.raises(TypeError, match="ConformerBlock"):
        drop_branches([nn.Identity()], 0.1)
    drop_branches([nn.Identity()], 0.0)
