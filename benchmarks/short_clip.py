"""One clip of 11 s with the model loaded: the time to its text, of the same libraries as in long_form.py.

python benchmarks/short_clip.py [--shape base] [--repeats 7] [--instructions avx2] [--short]
"""

from __future__ import annotations

from typing import Any

from long_form import WINDOW_S
from measure import Contestant, arguments_of, begin, chosen, interleaved, ratios, summary, texts, write
from recordings import sample, seconds_of
from scripted import CAVEAT, scripted_whisper

OURS = "auricle"
N_TOKENS = 30  # what a speaker says in 11 s


def contestants(model: str, recording: str) -> list[Contestant]:
    """All libraries, each at its best for a CPU, and transformers at its defaults, too."""
    given = {"model": model, "recording": recording}
    alone = {"condition_on_previous_text": False, "beam_size": 1}

    def contestant(name: str, work: str, **arguments: Any) -> Contestant:
        return Contestant(name, f"peers.{work}", {**given, **arguments})

    return [
        contestant(OURS, "ours:transcriber", parameters={"language": "en"}),
        contestant("faster-whisper int8", "faster_whisper:transcriber", parameters=alone),
        contestant(
            "faster-whisper int8, batched",
            "faster_whisper:batched",
            parameters={"batch_size": 1, "beam_size": 1},
            window_s=WINDOW_S,
        ),
        contestant("faster-whisper int8, its defaults (5 beams)", "faster_whisper:transcriber", parameters={}),
        contestant("transformers float32, greedy", "hugging_face:transcriber", generate={"num_beams": 1}),
        contestant("transformers float32, its defaults (5 beams)", "hugging_face:transcriber"),
        contestant("whisper.cpp q8_0", "whisper_cpp:transcriber", kind="q8_0", parameters={}),
        contestant("openvino-genai int8", "openvino_genai:transcriber", kind="int8"),
    ]


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "short-clip", repeats=7)
    parser.add_argument("--shape", choices=["tiny", "base", "small"], default="base")
    arguments = parser.parse_args()
    arguments.name += f"-{arguments.shape}"
    begin(arguments)
    repeats = 2 if arguments.short else arguments.repeats
    heard = sample(arguments.cache)
    seconds = seconds_of(heard)
    checkpoint = scripted_whisper(arguments.cache, arguments.shape, N_TOKENS, int(seconds))
    workers = interleaved(chosen(contestants(str(checkpoint.folder), str(heard)), arguments), repeats)
    same = texts(workers, checkpoint.text)
    write(
        arguments.out,
        f"a clip of {seconds:g} s, whisper-{arguments.shape} shape, {N_TOKENS} tokens, the checkpoint loaded",
        {"shape": arguments.shape, "seconds": seconds},
        {
            "caveat": CAVEAT,
            "contestants": {name: {**summary(worker), **same.get(name, {})} for name, worker in workers.items()},
            "times_as_long_as_ours": ratios(workers, OURS),
        },
    )


if __name__ == "__main__":
    main()
