"""The fast way through a diarization's networks gives what the plain way gives."""

from __future__ import annotations

import pytest
import torch

from auricle.engines.cpu.diarization import FastNetworks
from auricle.engines.diarization import ReferenceNetworks, make_networks
from auricle.errors import OptionError
from auricle.models.pyannet import PyanNet
from auricle.models.wespeaker import WeSpeakerResNet

# float32 in another order: norms behind the filters instead of before them, and folded into convolutions.
TOLERANCE = 1e-4
CHUNK = 32000


def both() -> tuple[ReferenceNetworks, FastNetworks]:
    torch.manual_seed(0)
    segmentation, embedding = PyanNet(PyanNet.tiny()), WeSpeakerResNet(WeSpeakerResNet.tiny())
    for name, value in [*segmentation.state_dict().items(), *embedding.state_dict().items()]:
        if "norm" in name or "bn" in name or "shortcut.1" in name:
            value.copy_(0.5 + torch.rand(value.shape) if value.is_floating_point() else value)
    return ReferenceNetworks(segmentation, embedding), FastNetworks(segmentation, embedding)


# The last two do not fall on the filters' or the windows' grid.
@pytest.mark.parametrize("starts", [[0], [0, 3200, 6400], [1600, 1600, 9600], [5, 3205], [80, 3280]])
def test_both_ways_agree(starts: list[int]) -> None:
    plain, fast = both()
    stretch = torch.randn(CHUNK + 10000) * torch.linspace(0.01, 1, CHUNK + 10000) + 0.05
    found = fast.segment(stretch, starts)
    assert found.shape == (len(starts), plain.segmentation.n_frames(CHUNK), 7)
    assert torch.allclose(found, plain.segment(stretch, starts), atol=TOLERANCE)
    weights = (torch.rand(len(starts), 3, found.shape[1]) > 0.5).float()
    weights[0, 1] = 0
    vectors = fast.embed(stretch, starts, weights)
    assert torch.allclose(vectors, plain.embed(stretch, starts, weights), atol=TOLERANCE)
    assert torch.allclose(
        fast.voice(stretch[:9000], weights[0, 0]), plain.voice(stretch[:9000], weights[0, 0]), atol=TOLERANCE
    )


def test_digital_silence_is_heard_alike() -> None:
    plain, fast = both()
    silent = torch.zeros(CHUNK)
    assert torch.allclose(fast.segment(silent, [0]), plain.segment(silent, [0]), atol=TOLERANCE)
    weights = torch.ones(1, 3, plain.segmentation.n_frames(CHUNK))
    assert torch.allclose(fast.embed(silent, [0], weights), plain.embed(silent, [0], weights), atol=TOLERANCE)


def test_chooses_by_name() -> None:
    segmentation, embedding = PyanNet(PyanNet.tiny()), WeSpeakerResNet(WeSpeakerResNet.tiny())
    assert isinstance(make_networks(segmentation, embedding), FastNetworks)
    assert isinstance(make_networks(segmentation, embedding, "reference"), ReferenceNetworks)
    with pytest.raises(OptionError, match="engine 'fast' does not exist"):
        make_networks(segmentation, embedding, "fast")
