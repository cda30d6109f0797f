"""speaker-diarization-3.1's networks, random weights: who speaks when, beside the same algorithm written plainly.

python benchmarks/diarization.py [--repeats 3] [--seconds 20]

pyannote.audio needs torchaudio, torchcodec and lightning, which do not go with this project's torch; the plain version
does what it does, with the networks' operations as they are (peers/plain_diarization.py says how).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from measure import Contestant, arguments_of, begin, chosen, interleaved, median, ratios, summary, write
from recordings import recording

OURS, PLAIN = "auricle", "speaker-diarization-3.1, plainly"


def random_diarization(cache: Path) -> str:
    """A folder with networks of the published sizes, whose segmentation hears one speaker nearly all the time."""
    from auricle.checkpoints.diarization import DiarizationConfig
    from auricle.loading_diarization import save_diarization
    from auricle.models.pyannet import PyanNet, PyanNetConfig
    from auricle.models.wespeaker import WeSpeakerConfig, WeSpeakerResNet

    folder = cache / "random-diarization"
    if not (folder / "config.yaml").is_file():
        torch.manual_seed(0)
        segmentation = PyanNet(PyanNetConfig())
        with torch.no_grad():
            segmentation.classifier.weight.mul_(20)
            segmentation.classifier.bias.zero_()[1:4] = 0.5
        save_diarization(folder, DiarizationConfig("", ""), segmentation, WeSpeakerResNet(WeSpeakerConfig()))
    return str(folder)


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "diarization", repeats=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    begin(arguments)
    seconds = 12.0 if arguments.short else arguments.seconds
    given: dict[str, Any] = {
        "model": random_diarization(arguments.cache),
        "recording": str(recording(arguments.cache, seconds)),
    }
    contestants = [
        Contestant(OURS, "peers.ours:diarizer", given),
        Contestant(f"{OURS}, engine reference", "peers.ours:diarizer", {**given, "engine": "reference"}),
        Contestant(PLAIN, "peers.plain_diarization:diarizer", given),
    ]
    workers = interleaved(chosen(contestants, arguments), 1 if arguments.short else arguments.repeats, warm_ups=0)
    found = {name: summary(worker, 2) for name, worker in workers.items()}
    for name, worker in workers.items():
        if worker.seconds:
            found[name]["times_real_time"] = round(seconds / median(worker), 2)
            found[name]["turns"] = len(worker.output)
            found[name]["same_turns"] = worker.output == workers[OURS].output if OURS in workers else None
    write(
        arguments.out,
        "segmentation-3.0 and ResNet34 shapes, random: a recording from samples to turns",
        {"seconds": seconds},
        {"contestants": found, "times_as_long_as_ours": ratios(workers, OURS)},
    )


if __name__ == "__main__":
    main()
