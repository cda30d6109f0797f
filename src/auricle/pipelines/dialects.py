"""The call parameters of CTC models, of Whisper and of other encoder-decoders: three tables to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from auricle.pipelines.speech_parameters import Dialect, Meanings
from auricle.speech.ctc import CTCOptions
from auricle.speech.languages import LANGUAGES
from auricle.speech.seq2seq import Seq2SeqOptions
from auricle.speech.whisper_options import WhisperOptions

# generate() of transformers has these, and nothing here does.
_GENERATION_REFUSED = {
    "generation_config": "give its values as parameters of their own names",
    "logits_processor": "functions cannot be passed through; options are named",
    "stopping_criteria": "functions cannot be passed through; options are named",
    "assistant_model": "speculative decoding is not there yet",
    "streamer": "results come per recording; transcripts(progress=...) says how far the work is",
    "attention_mask": "recordings are padded and masked inside",
    "return_dict_in_generate": "transcripts() gives everything that is known of a recording",
    "output_scores": "transcripts() gives confidences",
    "forced_decoder_ids": "give language and task",
    "fp16": "numbers have the dtype that pipeline() was given",
    "vad_parameters": "give vad_threshold, min_silence_s and speech_pad_s",
    "temperature_increment_on_fallback": "give all temperatures, such as temperature=(0.0, 0.2, 0.4)",
    "prompt": "give initial_prompt",
}
_REPORTS = "nothing is printed; transcripts(progress=...) says how far the work is"
_EVERYWHERE_FIXED: dict[str, tuple[tuple[Any, ...], str]] = {
    "ignore_warning": ((False, True), "it is True or False"),
    "num_workers": ((0,), "recordings are read in the calling thread; use batch_size"),
    "num_return_sequences": ((1,), "the best hypothesis is returned"),
    "verbose": ((False,), _REPORTS),
    "log_progress": ((False,), _REPORTS),
}
# The names that transformers and faster-whisper have for what GenerateOptions calls differently.
_SEARCH_NAMES = {"num_beams": "n_beams", "num_beam_groups": "n_beam_groups", "beam_size": "n_beams"}
# Values that clients write as text.
_WRITTEN: dict[str, Callable[[str], Any]] = {
    "early_stopping": lambda text: {"true": True, "false": False}.get(text.lower(), text)
}
# Of faster-whisper and openai/whisper.
_WORD_TIMES: dict[str, Meanings] = {
    "word_timestamps": ({True: {"return_timestamps": "word"}, False: {}}, "it is True or False")
}
_PUNCTUATES: dict[str, tuple[tuple[Any, ...], str]] = {
    "punctuate": ((True,), "it writes as it was trained to, with punctuation or without; leave it out")
}
# What model cards write out although it is how it is.
_PLAIN_SEARCH_FIXED: dict[str, tuple[tuple[Any, ...], str]] = {
    "do_sample": ((False,), "it draws no samples; give num_beams"),
    "num_beam_groups": ((1,), "plain beams are all there is; give num_beams"),
    "use_cache": ((True,), "nothing is computed twice"),
}
_CTC_SEARCH = "it reads every frame once and generates nothing token by token; its search has beam_width"
_CTC_LENGTH = "its text is as long as what is said: at most one token for every frame of sound"


# Of faster-whisper, and of Whisper's loop, for models that hear every stretch alone.
_STRETCHES_REFUSED = {
    "schedule": "stretches do not depend on each other",
    "condition_on_prev_tokens": "stretches do not depend on each other",
    "condition_on_previous_text": "stretches do not depend on each other",
}


def _own_names(options: type) -> dict[str, str]:
    # batch_size is the pipeline's own parameter, which it hands on; the checkpoint's own are no caller's to give.
    own = ("batch_size", "own_lm", "own_weights")
    return {one.name: one.name for one in fields(options) if one.name not in own}


def _numbers(text: str) -> tuple[int, ...] | str:
    """Numbers with commas between, as openai/whisper writes them; what is none stays as it is, to be refused."""
    try:
        return tuple(int(one) for one in text.split(",") if one.strip())
    except ValueError:
        return text


# Scripts that are written for several models say that these are off, and off they are.
_CTC_NEUTRAL: dict[str, tuple[tuple[Any, ...], str]] = {
    **dict.fromkeys(("min_length", "min_new_tokens"), ((0,), _CTC_LENGTH)),
    **dict.fromkeys(("temperature", "top_k", "epsilon_cutoff", "eta_cutoff", "penalty_alpha"), ((0,), _CTC_SEARCH)),
    **dict.fromkeys(("diversity_penalty", "no_repeat_ngram_size"), ((0,), _CTC_SEARCH)),
    **dict.fromkeys(("top_p", "typical_p", "best_of", "patience", "repetition_penalty"), ((1,), _CTC_SEARCH)),
    "length_penalty": ((1,), _CTC_LENGTH),
}
CTC = Dialect(
    model="a CTC model",
    options=CTCOptions,
    fields={
        **_own_names(CTCOptions),
        "num_beams": "beam_width",
        "beam_size": "beam_width",
        "vad_filter": "vad",
    },
    refused={
        **_GENERATION_REFUSED,
        **_STRETCHES_REFUSED,
        "language": "it writes the language it was trained on; an MMS model is loaded with target_lang",
        "task": "it writes what it hears and cannot translate; use a Whisper model",
        "initial_prompt": "it has no prompt; give hotwords",
        "prompt_ids": "it has no prompt; give hotwords",
        **dict.fromkeys(("max_length", "max_new_tokens"), _CTC_LENGTH),
        **dict.fromkeys(("seed", "early_stopping"), _CTC_SEARCH),
        "beam_prune_logp": "how far a beam may fall behind is fixed; give beam_width",
        "token_min_logp": "how rare a token may be is fixed; give beam_width",
        "prune_history": "beams with the same text are always one; give beam_width",
        "lm_start_state": "every recording begins a sentence",
        "unk_score_offset": "give unknown_penalty",
    },
    times={None: None, False: None, True: "word", "word": "word", "char": "char", "segment": "segment"},
    fixed={**_EVERYWHERE_FIXED, **_PLAIN_SEARCH_FIXED, **_CTC_NEUTRAL},
    meant=_WORD_TIMES,
    has_windows=True,
)

WHISPER = Dialect(
    model="Whisper",
    options=WhisperOptions,
    fields={
        **_own_names(WhisperOptions),
        **_SEARCH_NAMES,
        "condition_on_prev_tokens": "condition_on_previous_text",
        "log_prob_threshold": "logprob_threshold",
        "sample_len": "max_new_tokens",
        "vad_filter": "vad",
    },
    refused={
        **_GENERATION_REFUSED,
        "stride_length_s": "windows of 30 s begin where the last one's text ended, so they need no overlap",
        "hotword_weight": "its decoder is told the words and weighs them itself; leave it out",
        "lm": "a language model joins the search of CTC models; Whisper's decoder is one",
        "beam_width": "give num_beams",
        "return_token_timestamps": "give return_timestamps='word'",
        "return_segments": "transcripts() gives segments with all that is known of them",
        "num_segment_frames": "windows are 30 s, as Whisper was trained",
        "is_multilingual": "the checkpoint says it",
        "monitor_progress": "give transcripts() a progress function",
    },
    times={None: None, False: None, True: "segment", "segment": "segment", "word": "word"},
    fixed={
        **_EVERYWHERE_FIXED,
        "chunk_length": ((30,), "it reads windows of 30 s; leave it out"),
        **_PUNCTUATES,
    },
    meant={
        **_WORD_TIMES,
        "prompt_condition_type": (
            {"first-segment": {}, "all-segments": {"carry_initial_prompt": True}},
            "it is 'first-segment' or 'all-segments'",
        ),
    },
    written={
        **_WRITTEN,
        "hotwords": lambda text: (text,),
        "suppress_tokens": _numbers,
    },
    has_windows=True,
    off=frozenset(
        {
            "compression_ratio_threshold",
            "language_detection_threshold",
            "log_prob_threshold",
            "logprob_threshold",
            "max_initial_timestamp",
            "no_speech_threshold",
        }
    ),
    languages=LANGUAGES,
)

SEQ2SEQ = Dialect(
    model="a model that writes text without times",
    options=Seq2SeqOptions,
    fields={**_own_names(Seq2SeqOptions), **_SEARCH_NAMES, "vad_filter": "vad"},
    refused={
        **_GENERATION_REFUSED,
        **_STRETCHES_REFUSED,
        "language": "it writes the language it was trained on",
        "task": "it writes what it hears and cannot translate; use a Whisper model",
        "initial_prompt": "it has no prompt",
        "prompt_ids": "it has no prompt",
        "hotwords": "its search takes none; use a CTC model",
        "hotword_weight": "its search takes no hot words; use a CTC model",
        "lm": "a language model joins the search of CTC models; its decoder is one",
        "beam_width": "give num_beams",
        "stride_length_s": "a long recording is cut in pauses, without overlap",
    },
    times={None: None, False: None, True: "segment", "segment": "segment"},
    fixed={
        **_EVERYWHERE_FIXED,
        **_PUNCTUATES,
        "word_timestamps": ((False,), "it writes text without times; use Whisper or CTC"),
    },
    written=_WRITTEN,
    off=frozenset({"compression_ratio_threshold"}),
)


def _refusing_whispers(dialect: Dialect) -> Dialect:
    """The same, with a reason for every other option of Whisper's instead of "unknown"."""
    known = {*dialect.fields, *dialect.refused, *dialect.fixed, *dialect.meant, "return_timestamps"}
    reason = "it is an option of Whisper's decoding; leave it out, or use a Whisper model"
    refused = {name: reason for name in _own_names(WhisperOptions) if name not in known}
    return replace(dialect, refused={**dialect.refused, **refused})


CTC, SEQ2SEQ = _refusing_whispers(CTC), _refusing_whispers(SEQ2SEQ)
