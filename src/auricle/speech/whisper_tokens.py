"""Which token means what in a Whisper checkpoint: read from generation_config.json, repaired where it is old.

Files written before 2023 lack most of these entries, and fine-tuned checkpoints lose some. Whatever the
file says wins; what it does not say is found by the tokens' names in the tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from auricle.errors import ConfigError, OptionError
from auricle.speech.languages import LANGUAGES, language_code

# <|endoftext|> of the GPT-2 vocabulary that English-only checkpoints use; the multilingual one's differs.
ENGLISH_ONLY_END = 50256

# Symbols that subtitles use for sounds which are no speech, and that speech never needs.
# Source: openai/whisper tokenizer.py, non_speech_tokens.
SYMBOLS = [
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *"<< >> <<< >>> -- --- -( -[ (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split(),
    "('",
    '("',
]
MUSIC = "♩♪♫♬♭♮♯"

# (decoder layers, heads, English-only) -> the layer.head pairs whose cross-attention follows the speech.
# Sizes that exist with different weights (large, large-v2, large-v3) cannot be told apart by shape and are
# not here. Source: openai/whisper __init__.py, _ALIGNMENT_HEADS.
ALIGNMENT_HEADS: dict[tuple[int, int, bool], str] = {
    (4, 6, True): "1.0 2.0 2.5 3.0 3.1 3.2 3.3 3.4",
    (4, 6, False): "2.2 3.0 3.2 3.3 3.4 3.5",
    (6, 8, True): "3.3 4.7 5.1 5.5 5.7",
    (6, 8, False): "3.1 4.2 4.3 4.7 5.1 5.2 5.4 5.6",
    (12, 12, True): "6.6 7.0 7.3 7.8 8.2 8.5 8.7 9.0 9.4 9.8 9.10 10.0 10.1 10.2 10.3 10.6 10.11 11.2 11.4",
    (12, 12, False): "5.3 5.9 8.0 8.4 8.7 8.8 9.0 9.7 9.9 10.5",
    (24, 16, True): (
        "11.4 14.1 14.12 14.14 15.4 16.0 16.4 16.9 17.12 17.14 18.7 18.10 18.15 20.0 20.3 20.9 20.14 21.12"
    ),
    (24, 16, False): "13.15 15.4 15.15 16.1 20.0 23.4",
}


class WhisperTokenizer(Protocol):
    """What this needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text` with no special tokens around them."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens; an unfinished character becomes U+FFFD."""
        ...

    def special(self, token: str) -> int:
        """The id of a named token; ConfigError if there is none."""
        ...

    def has_special(self, token: str) -> bool:
        """Whether a token of this name exists."""
        ...


@dataclass(frozen=True)
class WhisperTokens:
    """The special tokens of one checkpoint; `languages` and `tasks` are empty if it knows English only."""

    eos: int
    start: int
    previous: int
    no_speech: int
    no_timestamps: int
    timestamp_begin: int  # 0.00 s; auricle.text.tokenizer.N_TIMESTAMPS from it on are timestamps
    multilingual: bool  # whether prompts name a language and a task
    languages: dict[str, int]  # code -> token
    tasks: dict[str, int]
    language: str | None  # what the checkpoint itself fixes, if it does
    task: str | None
    suppressed: tuple[int, ...]  # never chosen, by the checkpoint's own list
    blank: tuple[int, ...]  # not chosen first
    control: tuple[int, ...]  # never chosen, whatever the list says: they only belong into prompts

    def check_size(self, vocab_size: int) -> None:
        """Refuse tokens that a model of so many does not have.

        Raises:
            ConfigError: naming the first of them.
        """
        named = {name: getattr(self, name) for name in ("eos", "start", "previous", "no_speech", "no_timestamps")}
        for name, token in {**named, **self.languages, **self.tasks}.items():
            if not token < vocab_size:
                raise ConfigError(
                    f"the token of {name} is {token}, but the model has {vocab_size} tokens; generation_config.json "
                    "or the tokenizer belongs to another checkpoint: take both from the one that the weights are of"
                )


def read_tokens(generation: dict[str, Any], tokenizer: WhisperTokenizer) -> WhisperTokens:
    """Find all special tokens in generation_config.json, then in the tokenizer.

    Raises:
        ConfigError: if a token that every Whisper needs is in neither, or an entry is not what it should be.
    """
    _check_shapes(generation)
    eos = _stated(generation, "eos_token_id", tokenizer, "<|endoftext|>")
    no_timestamps = _stated(generation, "no_timestamps_token_id", tokenizer, "<|notimestamps|>")
    languages, tasks = _languages(generation, tokenizer), _tasks(generation, tokenizer)
    if not _is_multilingual(generation, eos, languages, tasks):
        languages, tasks = {}, {}
    elif not languages or "transcribe" not in tasks:
        raise ConfigError(
            "generation_config.json says is_multilingual, but neither it (lang_to_id, task_to_id) nor the "
            "tokenizer has language and task tokens; copy generation_config.json from the checkpoint "
            "this one was made of"
        )
    if not eos < no_timestamps:
        raise ConfigError(
            f"generation_config.json: no_timestamps_token_id is {no_timestamps} and eos_token_id is {eos}; Whisper's "
            "timestamps come behind all other tokens: copy both from the checkpoint that this one was made of"
        )
    start = _stated(generation, "decoder_start_token_id", tokenizer, "<|startoftranscript|>")
    previous = _stated(generation, "prev_sot_token_id", tokenizer, "<|startofprev|>")
    names = [name for name in ("<|nospeech|>", "<|nocaptions|>") if tokenizer.has_special(name)]
    # Old and new vocabularies name it differently, and both place it just before <|notimestamps|>.
    no_speech = tokenizer.special(names[0]) if names else no_timestamps - 1
    model_start = [tokenizer.special("<|startoflm|>")] if tokenizer.has_special("<|startoflm|>") else []
    blank = generation.get("begin_suppress_tokens")
    language, task = _fixed(generation, languages, tasks)
    return WhisperTokens(
        eos=eos,
        start=start,
        previous=previous,
        no_speech=no_speech,
        no_timestamps=no_timestamps,
        timestamp_begin=no_timestamps + 1,
        multilingual=bool(languages),
        languages=languages,
        tasks=tasks,
        language=language,
        task=task,
        suppressed=tuple(generation.get("suppress_tokens") or ()),
        blank=tuple(blank if blank is not None else [*tokenizer.encode(" "), eos]),
        control=tuple(sorted({start, previous, no_speech, *model_start, *tasks.values()})),
    )


def non_speech_tokens(tokenizer: WhisperTokenizer) -> tuple[int, ...]:
    """The tokens of symbols that stand for sounds, not for speech; what OpenAI's suppress_tokens=-1 means."""
    # A hyphen or an apostrophe within a word stays possible; one at its start is a stage direction.
    found = {tokenizer.encode(" -")[0], tokenizer.encode(" '")[0]}
    for symbol in [*SYMBOLS, *MUSIC]:
        for ids in (tokenizer.encode(symbol), tokenizer.encode(" " + symbol)):
            # Musical signs share the first of their bytes' tokens with nothing else that is spoken.
            if len(ids) == 1 or symbol in MUSIC:
                found.add(ids[0])
    return tuple(sorted(found))


def alignment_heads(
    generation: dict[str, Any], n_layers: int, n_heads: int, multilingual: bool
) -> list[tuple[int, int]]:
    """The (layer, head) pairs for word times: the checkpoint's, those of its size, or the upper half."""
    stated = [(int(layer), int(head)) for layer, head in generation.get("alignment_heads") or ()]
    # Distilled checkpoints often keep the file of their teacher, whose decoder has layers that theirs lacks.
    # None of such a list is theirs: what the teacher's head learnt is not in the student's of the same number.
    if stated and all(0 <= layer < n_layers and 0 <= head < n_heads for layer, head in stated):
        return stated
    known = ALIGNMENT_HEADS.get((n_layers, n_heads, not multilingual))
    if known is not None:
        pairs = (pair.split(".") for pair in known.split())
        return [(int(layer), int(head)) for layer, head in pairs]
    return [(layer, head) for layer in range(n_layers // 2, n_layers) for head in range(n_heads)]


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_id, value))


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, list | tuple) and len(one) == 2 for one in value)


def _is_vocabulary(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_id, value.values()))


# What entries of generation_config.json must be where they are not null, and how it is said.
_SHAPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "eos_token_id": (lambda value: _is_id(value) or _are_ids(value), "the number of a token, or a list of numbers"),
    **dict.fromkeys(
        ("no_timestamps_token_id", "decoder_start_token_id", "prev_sot_token_id"), (_is_id, "the number of a token")
    ),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), (_are_ids, "a list of numbers of tokens")),
    **dict.fromkeys(("lang_to_id", "task_to_id"), (_is_vocabulary, "an object that gives names numbers of tokens")),
    "forced_decoder_ids": (_are_pairs, "a list of pairs [place, token]"),
    "alignment_heads": (_are_pairs, "a list of pairs [layer, head]"),
    "language": (lambda value: isinstance(value, str), "a language's code or name"),
}


def _check_shapes(generation: dict[str, Any]) -> None:
    for key, (fits, expected) in _SHAPES.items():
        if generation.get(key) is not None and not fits(generation[key]):
            raise ConfigError(
                f"generation_config.json: {key} is {generation[key]!r}; expected {expected}, or no such entry"
            )


def _stated(generation: dict[str, Any], key: str, tokenizer: WhisperTokenizer, name: str) -> int:
    value = generation.get(key)
    if isinstance(value, list):  # eos_token_id may be a list; Whisper ends with its first
        value = value[0] if value else None
    return int(value) if value is not None else tokenizer.special(name)


def _languages(generation: dict[str, Any], tokenizer: WhisperTokenizer) -> dict[str, int]:
    stated = generation.get("lang_to_id")
    if stated:
        return {str(name).removeprefix("<|").removesuffix("|>"): int(id) for name, id in stated.items()}
    tokens = {code: f"<|{code}|>" for code in LANGUAGES}
    return {code: tokenizer.special(token) for code, token in tokens.items() if tokenizer.has_special(token)}


def _tasks(generation: dict[str, Any], tokenizer: WhisperTokenizer) -> dict[str, int]:
    stated = generation.get("task_to_id")
    if stated:
        return {str(name): int(id) for name, id in stated.items()}
    tokens = {name: f"<|{name}|>" for name in ("transcribe", "translate")}
    return {name: tokenizer.special(token) for name, token in tokens.items() if tokenizer.has_special(token)}


def _is_multilingual(generation: dict[str, Any], eos: int, languages: dict[str, int], tasks: dict[str, int]) -> bool:
    """English-only vocabularies have the language tokens too, so that their presence proves nothing."""
    stated = generation.get("is_multilingual")
    if stated is not None:
        return bool(stated)
    forced = generation.get("forced_decoder_ids")
    if forced:
        # A null forces the position without saying what stands there: the language, to be detected.
        prompts = {*languages.values(), *tasks.values(), None}
        return any(id in prompts for _, id in forced)
    return eos != ENGLISH_ONLY_END and bool(languages)


def _fixed(
    generation: dict[str, Any], languages: dict[str, int], tasks: dict[str, int]
) -> tuple[str | None, str | None]:
    """The language and task a checkpoint was tuned for, by today's entries or by forced_decoder_ids."""
    forced = {id for _, id in generation.get("forced_decoder_ids") or ()}
    language = next((code for code, id in languages.items() if id in forced), None)
    task = next((name for name, id in tasks.items() if id in forced), None)
    if generation.get("language") and languages:
        try:
            language = language_code(generation["language"], languages)
        except OptionError as error:
            raise ConfigError(f"generation_config.json: {error}") from error
    if generation.get("task") and tasks:
        task = str(generation["task"])
        if task not in tasks:
            raise ConfigError(
                f"generation_config.json: task is {task!r}; expected {' or '.join(tasks)}, or no such entry"
            )
    return language, task
