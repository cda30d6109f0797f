"""How probable a voice is in every 32 ms of sound: Silero's detector, which knows about 6000 languages.

The weights are those of the `silero-vad` package. The package itself is never imported, since importing it
sets the number of threads of torch for the whole process; its network is small and written out here, so that
many frames are computed in one call (the published script takes one frame a call, eight times slower).

Dimension key: `N` detector frames of 32 ms, `S` samples, `F` frequencies, `T` spectra of a frame, `D` width.

Source: https://github.com/snakers4/silero-vad (MIT), the 16 kHz network of version 6.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import MissingExtraError

DETECTOR_RATE = 16000  # hertz
FRAME_SAMPLES = 512  # 32 ms at 16 kHz
CONTEXT_SAMPLES = 64  # of the frame before, which the network hears again
WIDTH = 128
N_SPECTRA = 4  # of a frame with its context, half a window apart

# The detector misses speech far below full scale, so that it hears quiet recordings louder. A level is what the
# loudest sound of late had; it falls slowly, so that pauses are not blown up at once.
TARGET_LEVEL = 0.1  # root mean square of loud vowels, -20 dB
MOST_GAIN = 200.0  # 46 dB: speech 40 dB down is found; dither and digital silence stay quiet
LEVEL_SMOOTHING = 0.3  # of a frame's power into the running mean, against clicks
LEVEL_FALL = 10 ** (-2.0 * FRAME_SAMPLES / DETECTOR_RATE / 20)  # 2 dB a second


class Network(nn.Module):
    """Spectra of a frame, four convolutions over them, one recurrent layer over frames.

    The published network's numbers, by fewer operations: its first convolution is a Fourier transform, and the others
    have four spectra of a frame or fewer to pass over, so that all of a frame is a product or two.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.window = _window_of(weights["_model.stft.forward_basis_buffer"][:, 0])
        convolutions = [
            tuple(weights[f"_model.encoder.{place}.reparam_conv.{name}"] for name in ("weight", "bias"))
            for place in range(4)
        ]
        first, self.first_bias = convolutions[0]  # (D, F, 3)
        self.first_weight = first.transpose(1, 2).flatten(1).contiguous()  # (D, 3 F)
        n_spectra = N_SPECTRA
        self.layers = []
        for (weight, bias), stride in zip(convolutions[1:], (2, 2, 1), strict=True):
            self.layers.append(_as_product(weight, bias, stride, n_spectra))
            n_spectra = (n_spectra - 1) // stride + 1
        self.recurrent = nn.LSTM(WIDTH, WIDTH)
        self.recurrent.load_state_dict(
            {
                f"{name}_l0": weights[f"_model.decoder.rnn.{name}"]
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
        )
        self.out_weight, self.out_bias = (weights[f"_model.decoder.decoder.2.{name}"] for name in ("weight", "bias"))

    def forward(self, frames: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return (N,) probabilities of (N, S) frames with their context, and the state (1, D) twice after them."""
        padded = F.pad(frames, (0, CONTEXT_SAMPLES), mode="reflect")  # (N, S)
        spectra = torch.fft.rfft(padded.unfold(1, len(self.window), len(self.window) // 2) * self.window)  # (N, T, F)
        real, imaginary = spectra.real, spectra.imag
        n_frames, n_spectra, n_bins = spectra.shape
        framed = torch.zeros(n_frames, n_spectra + 2, n_bins)  # between two of zeros
        framed[:, 1:-1] = real.square().add_(imaginary.square()).sqrt_()
        neighbours = framed.as_strided((n_frames, n_spectra, 3 * n_bins), (*framed.stride()[:2], 1))  # (N, T, 3 F)
        hidden = F.linear(neighbours.flatten(0, 1), self.first_weight, self.first_bias).relu_().view(n_frames, -1)
        for weight, bias in self.layers:
            hidden = F.linear(hidden, weight, bias).relu_()  # (N, T D), at last T = 1
        hidden, state = self.recurrent(hidden, state)  # (N, D)
        return F.linear(hidden.relu(), self.out_weight[..., 0], self.out_bias)[:, 0].sigmoid(), state


def _window_of(basis: Tensor) -> Tensor:
    """Return the window (K,) of a basis (2 F, K) of windowed cosines and, negative, sines.

    Raises: MissingExtraError, where the basis is another one.
    """
    length = basis.shape[1]
    window = torch.hann_window(length, periodic=True, dtype=torch.float64)
    spectra = torch.fft.rfft(torch.diag(window)).T  # (F, K)
    if not torch.allclose(basis.double(), torch.cat([spectra.real, spectra.imag]), atol=1e-6):
        raise MissingExtraError(
            "the silero-vad package here has another network than this version of auricle knows; install one that it "
            "knows: pip install 'silero-vad>=6.2,<7'"
        )
    return window.float()


def _as_product(weight: Tensor, bias: Tensor, stride: int, n_spectra: int) -> tuple[Tensor, Tensor]:
    """Return what a padded convolution of three taps (D', D, 3) is to a whole frame: (T' D', T D), and (T' D',)."""
    units = torch.eye(n_spectra * weight.shape[1]).unflatten(1, (n_spectra, -1)).transpose(1, 2)  # (T D, D, T)
    made = F.conv1d(units, weight, stride=stride, padding=1)  # (T D, D', T')
    return made.transpose(1, 2).flatten(1).T.contiguous(), bias.repeat(made.shape[2])


@cache
def network() -> Network:
    """Read the weights, once; they are only read after that, by all threads."""
    # find_spec imports no package without a dot in its name.
    spec = find_spec("silero_vad")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = Path(folder) / "data" / "silero_vad.jit"
        if path.is_file():
            with warnings.catch_warnings():
                # torch is leaving scripts behind, but only this file holds the published detector's weights: those
                # of silero_vad_16k.safetensors are of another training.
                warnings.simplefilter("ignore", DeprecationWarning)
                weights = torch.jit.load(path, map_location="cpu").state_dict()
            return Network(weights).eval().requires_grad_(False)
    raise MissingExtraError(
        f"detecting voice needs the package silero-vad from 6.2 on, with its weights; found {folders or 'none'}; "
        "install it with: pip install 'silero-vad>=6.2', or give vad=False"
    )


class FastFrames(Protocol):
    """Computes frames in another way than this module, with the same results but for rounding."""

    def __call__(
        self,
        samples: np.ndarray,
        n_frames: int,
        is_loudness_aware: bool,
        loudness: np.ndarray,
        memory: np.ndarray,
        found: np.ndarray,
    ) -> None:
        """Fill `found` (N,) with the probabilities of the N frames in `samples` (S,), which begin with a context.

        `loudness` (2,) holds the mean power and the level, `memory` (2, D) the state; both go on. float32, `loudness`
        float64.
        """


class VoiceProbabilities:
    """A stream of mono float32 samples in, the probability of voice of every 32 ms out.

    Frame n covers the seconds from 0.032 n to 0.032 (n + 1), whatever the sample rate. Each object holds the
    state of one stream; all share the weights. How the samples are cut into calls changes probabilities by
    rounding only (below 1e-5).

    Raises: MissingExtraError, where the weights are not installed.
    """

    fast_frames: ClassVar[Any] = None  # a function that gives FastFrames, or None where there are none

    def __init__(self, sample_rate: int = DETECTOR_RATE, loudness_aware: bool = True) -> None:
        self.loudness_aware = loudness_aware
        self._network = network()
        self._resampler = (
            None
            if sample_rate == DETECTOR_RATE
            else soxr.ResampleStream(sample_rate, DETECTOR_RATE, 1, "float32", "HQ")
        )
        # The context of the next frame, then the samples of it that are there.
        self._held = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._state = (torch.zeros(1, WIDTH), torch.zeros(1, WIDTH))
        self._power = self._level = 0.0
        self._fast: FastFrames | None = self.fast_frames() if self.fast_frames is not None else None
        self._loudness, self._memory = np.zeros(2), np.zeros((2, WIDTH), np.float32)  # in place of these

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Append samples; return the probability of each frame that is now complete (n,)."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.asarray(samples, np.float32), last=False)
        return self._probabilities(samples)

    def end(self) -> np.ndarray:
        """Return what is still to come: the last frame's, filled up with zeros, if one is open."""
        found = []
        if self._resampler is not None:
            found.append(self._probabilities(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
        missing = -(len(self._held) - CONTEXT_SAMPLES) % FRAME_SAMPLES
        if missing:
            found.append(self._probabilities(np.zeros(missing, np.float32)))
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def _probabilities(self, samples: np.ndarray) -> np.ndarray:
        self._held = np.concatenate((self._held, np.asarray(samples, np.float32)))
        n_frames = (len(self._held) - CONTEXT_SAMPLES) // FRAME_SAMPLES
        if n_frames < 1:
            return np.zeros(0, np.float32)
        found = np.empty(n_frames, np.float32)
        if self._fast is None:
            found[:] = self._heard(self._held, n_frames)
        else:
            self._fast(self._held, n_frames, self.loudness_aware, self._loudness, self._memory, found)
        # A copy: a view would keep the whole call in memory.
        self._held = self._held[n_frames * FRAME_SAMPLES :].copy()
        return found

    def _heard(self, samples: np.ndarray, n_frames: int) -> np.ndarray:
        """Return the probabilities (N,) of N frames in samples (S,) that begin with the first one's context."""
        # What is no number would stay in the recurrent state for ever.
        held = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        windows = np.lib.stride_tricks.sliding_window_view(held, CONTEXT_SAMPLES + FRAME_SAMPLES)
        frames = windows[: n_frames * FRAME_SAMPLES : FRAME_SAMPLES]  # (N, S)
        frames = np.clip(frames * self._gains(frames)[:, None], -1.0, 1.0)
        with torch.inference_mode():
            found, self._state = self._network(torch.from_numpy(frames), self._state)
        return found.numpy()

    def _gains(self, frames: np.ndarray) -> np.ndarray:
        """Return what to multiply each frame (N, S) with, (N,), by the level of all sound up to it."""
        gains = np.ones(len(frames), np.float32)
        if not self.loudness_aware:
            return gains
        powers = np.square(frames[:, CONTEXT_SAMPLES:], dtype=np.float64).mean(axis=1)  # (N,)
        for place, power in enumerate(powers.tolist()):
            self._power += LEVEL_SMOOTHING * (power - self._power)
            self._level = max(self._level * LEVEL_FALL, self._power**0.5)
            gains[place] = min(MOST_GAIN, max(1.0, TARGET_LEVEL / max(self._level, 1e-9)))
        return gains
