"""How call parameters become the manner of writing, or are refused by name with a reason.

The names are those of transformers' pipeline and of its generate(), and what OpenAI's clients call the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from auricle.decoding.filters import Filter, suppress
from auricle.decoding.generate import GenerateOptions
from auricle.decoding.structured import Form
from auricle.errors import OptionError, nearest
from auricle.pipelines.base import unknown_parameter
from auricle.pipelines.text_names import NO_MATTER, ONE_MEANING
from auricle.pipelines.writer import Manner

# The parameters of generate() that are fields of the options, where the names differ.
RENAMED = {
    "num_beams": "n_beams",
    "num_beam_groups": "n_beam_groups",
    "renormalize_logits": "renormalize",
    "bad_words_ids": "bad_words",
}
_DECIDED_HERE = {"eos", "more_ends", "n_beams", "n_beam_groups", "renormalize", "patience"}
FIELDS = {one.name: one.name for one in fields(GenerateOptions) if one.name not in _DECIDED_HERE} | RENAMED
# What only draws depend on; a checkpoint's own values are left out where nothing is drawn.
SAMPLING = frozenset({"temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"})
# What only searches that draw nothing depend on, in the same way.
SEARCHING = frozenset({"penalty_alpha", "num_beam_groups", "diversity_penalty"})
# The pipeline's own parameters, beside those of generate().
OWN = frozenset(
    """
    add_generation_prompt add_special_tokens chat_template chat_template_kwargs clean_up_tokenization_spaces
    continue_final_message documents eos_token_id generate_kwargs generation_config handle_long_generation
    include_stop_string logprobs max_time num_return_sequences prefix prompt_logprobs response_format
    return_full_text return_tensors return_text seed skip_special_tokens stop stop_sequence stop_strings streamer
    suppress_tokens tokenizer_encode_kwargs tools top_logprobs truncation
    """.split()
)
# Of them, those that say how a chat becomes a prompt.
OF_CHATS = (
    *("tools", "documents", "chat_template", "chat_template_kwargs"),
    *("continue_final_message", "add_generation_prompt"),
)
ENCODING = ("truncation", "max_length", "padding", "add_special_tokens")  # what tokenizer_encode_kwargs has of texts
DEFAULTS = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7, "top_k": 50}


@dataclass(frozen=True)
class TextRequest:
    """One call's parameters, understood."""

    manner: Manner
    seed: int | None = None  # None: another text each time
    n_sequences: int = 1  # texts for each prompt
    returns: str = "full"  # "full" text, "new" text or "tensors"
    logprobs: bool = False
    prompt_logprobs: bool = False  # of the prompt's own tokens, too
    prefix: str = ""  # stands before a prompt that is text
    add_special_tokens: bool = True
    most_prompt: int | None = None  # tokens that a prompt is cut to
    leaves_hole: bool = False  # the beginning of a long prompt is cut so that the new tokens have room
    goes_on: bool | None = None  # with the last message; None: where that is the assistant's
    adds_prompt: bool | None = None  # whether the template begins an answer; None: unless a message is gone on with
    of_chats: tuple[str, ...] = ()  # parameters that were given and say nothing of a text
    chat_template: str | None = None
    tools: Sequence[Any] | None = None
    documents: Sequence[Any] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)  # what else the chat template reads
    streamer: Any = None  # transformers' own: has put() and end()
    form: Form | None = None  # what the text has to be


@dataclass(frozen=True)
class TextDefaults:
    """What a checkpoint decides where a caller does not."""

    generation: Mapping[str, Any]  # generation_config.json
    eos: tuple[int, ...]  # tokens that end a text
    truncates_at: int | None = None  # tokens of a prompt where it is to be cut and no length is given


def read_text_parameters(given: Mapping[str, Any], defaults: TextDefaults) -> TextRequest:
    """Turn call parameters into a request, or refuse the one that does not fit by its name."""
    flat = _flat(given)
    for name in flat:
        if name not in OWN and name not in FIELDS:
            raise unknown_parameter(name, OWN | FIELDS.keys(), "text generation")
    check_types(flat)
    returns, logprobs, n_best = _returns(flat), *_logprobs(flat)
    own = {name: flat[name] for name in flat if name in OWN}
    streamer = own.get("streamer")
    if streamer is not None and not (hasattr(streamer, "put") and hasattr(streamer, "end")):
        raise OptionError(f"streamer={streamer!r} has no put() and end(); or iterate over pipe.stream(prompt)")
    scores_prompt, writes = _scores_prompt(flat)
    manner = _manner(flat, own, defaults, 0 if scores_prompt and n_best is None else n_best)
    if manner.is_search:
        _refuse_of_one(flat, scores_prompt)
    manner = replace(manner, scores_prompt=scores_prompt, writes=writes)
    return TextRequest(
        manner=manner,
        seed=_seed(own),
        n_sequences=_n_sequences(flat, manner.options),
        returns=returns,
        logprobs=logprobs,
        prompt_logprobs=manner.scores_prompt,
        prefix=own.get("prefix", ""),
        add_special_tokens=own.get("add_special_tokens", True),
        most_prompt=_most_prompt(own, flat, defaults),
        leaves_hole=_one_of(own, "handle_long_generation", ("hole",)) is not None,
        goes_on=own.get("continue_final_message"),
        adds_prompt=own.get("add_generation_prompt"),
        of_chats=tuple(name for name in OF_CHATS if own.get(name)),
        chat_template=own.get("chat_template"),
        tools=own.get("tools"),
        documents=own.get("documents"),
        variables=_variables(own),
        streamer=streamer,
        form=_form(own, manner),
    )


def _flat(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are given, nested ones as if each were given by itself."""
    loose = {name: value for name, value in given.items() if value is not None and name not in NO_MATTER}
    nested = loose.pop("generate_kwargs", {})
    config = loose.pop("generation_config", {})
    config = config.to_diff_dict() if hasattr(config, "to_diff_dict") else config
    for name, values in (("generate_kwargs", nested), ("generation_config", config)):
        if not isinstance(values, Mapping):
            raise OptionError(f"{name}={values!r} must be a dictionary of parameters")
        for inner, value in values.items():
            if inner in loose and name == "generate_kwargs" and loose[inner] != value:
                raise OptionError(f"{inner} is given twice, {loose[inner]!r} and in {name} {value!r}; give one of them")
            if value is not None and inner not in NO_MATTER:
                loose.setdefault(inner, value)
    for name, (values, reason) in ONE_MEANING.items():
        if name in loose:
            if not any(loose[name] is value or loose[name] == value for value in values):
                raise OptionError(f"{name}={loose[name]!r} is refused: {reason}")
            del loose[name]
    return loose


_BOOLEANS = frozenset(
    """
    add_generation_prompt add_special_tokens clean_up_tokenization_spaces continue_final_message do_sample
    include_stop_string prompt_logprobs renormalize_logits return_full_text return_text skip_special_tokens
    truncation
    """.split()
)
_WHOLE = frozenset(
    """
    best_of max_length max_new_tokens min_length min_new_tokens no_repeat_ngram_size num_beam_groups num_beams
    num_return_sequences seed top_k top_logprobs
    """.split()
)
_TEXTS = frozenset({"chat_template", "prefix"})
_MAPPINGS = frozenset({"chat_template_kwargs", "tokenizer_encode_kwargs"})
_LISTS = frozenset({"tools", "documents"})
_NUMBERS = SAMPLING - {"top_k"} | frozenset(
    """
    diversity_penalty frequency_penalty length_penalty max_time penalty_alpha presence_penalty repetition_penalty
    """.split()
)


def check_types(flat: Mapping[str, Any]) -> None:
    """Refuse a value that is of another type than its parameter."""
    for name, value in flat.items():
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        for names, fits, expected in (
            (_BOOLEANS, isinstance(value, bool), "True or False"),
            (_WHOLE, is_whole, "a whole number"),
            (_NUMBERS, is_whole or isinstance(value, float), "a number"),
            (_TEXTS, isinstance(value, str), "a text"),
            (_MAPPINGS, isinstance(value, Mapping), "a dictionary"),
            (_LISTS, isinstance(value, list | tuple), "a list"),
        ):
            if name in names and not fits:
                raise OptionError(f"{name} is {value!r}; expected {expected}")


def _returns(flat: Mapping[str, Any]) -> str:
    """Say what is returned; two flags that both say it are refused, as transformers does."""
    names = [name for name in ("return_full_text", "return_text", "return_tensors") if name in flat]
    if len(names) > 1:
        raise OptionError(f"`{names[1]}` is mutually exclusive with `{names[0]}`; give one of them")
    if flat.get("return_tensors"):
        return "tensors"
    return "new" if flat.get("return_full_text") is False else "full"


def _logprobs(flat: Mapping[str, Any]) -> tuple[bool, int | None]:
    """Return whether log-probabilities are wanted, and of how many other tokens besides."""
    wanted, best = flat.get("logprobs", False), flat.get("top_logprobs", 0)
    if not isinstance(wanted, bool | int) or wanted < 0 or not 0 <= best <= 100:
        raise OptionError(f"logprobs={wanted!r} and top_logprobs={best!r}; expected True or a number, and 0 to 100")
    if wanted is False and "logprobs" in flat and best:
        raise OptionError(f"top_logprobs={best} tells more about logprobs, which is False; set it to True")
    n_best = max(best, 0 if isinstance(wanted, bool) else wanted)
    is_wanted = wanted is not False or best > 0
    return is_wanted, n_best if is_wanted else None


def _scores_prompt(flat: dict[str, Any]) -> tuple[bool, bool]:
    """Return whether the prompt's tokens are scored, and whether anything is written; then a limit of 0 is one of 1."""
    scores = flat.get("prompt_logprobs", False)
    writes = not (scores and flat.get("max_new_tokens") == 0)
    if not writes:
        flat["max_new_tokens"] = 1
    return scores, writes


def _refuse_of_one(flat: Mapping[str, Any], scores_prompt: bool) -> None:
    """Refuse, beside a search that follows several texts, what is told or decided of one while it is written."""
    given = {"prompt_logprobs": scores_prompt, **{name: flat.get(name) for name in ("top_logprobs", "max_time")}}
    name = next((name for name, value in given.items() if value), None)
    if name is not None:
        raise OptionError(f"{name} is told of one text and a search follows several; leave one of them out")


def _n_sequences(flat: Mapping[str, Any], options: GenerateOptions) -> int:
    n = int(flat.get("num_return_sequences", 1))
    if n < 1:
        raise OptionError(f"num_return_sequences is {n}; expected 1 or more")
    if n > 1 and options.n_beams > 1:
        most = round(options.n_beams * options.patience)
        if n > most:
            raise OptionError(
                f"num_return_sequences={n}, and num_beams={options.n_beams} finish {most}; raise num_beams"
            )
    elif n > 1 and options.sampling_temperature == 0:
        raise OptionError(
            f"num_return_sequences={n} draws so many texts, and this search finds one: sample, or give num_beams"
        )
    return n


def _most_prompt(own: Mapping[str, Any], flat: Mapping[str, Any], defaults: TextDefaults) -> int | None:
    encode = own.get("tokenizer_encode_kwargs", {})
    if not encode.get("truncation", own.get("truncation", False)):
        return None
    limit = encode.get("max_length", flat.get("max_length", defaults.truncates_at))
    if limit is None:
        raise OptionError("truncation=True cuts a prompt at a length that nobody states; give max_length")
    return int(limit)


def _variables(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else a chat template reads; transformers' pipeline has it among tokenizer_encode_kwargs."""
    encode = own.get("tokenizer_encode_kwargs", {})
    found = {name: value for name, value in encode.items() if name not in ENCODING}
    for name in found:
        if nearest(name, ENCODING):
            raise unknown_parameter(name, ENCODING, "tokenizer_encode_kwargs")
    return {**found, **own.get("chat_template_kwargs", {})}


def _one_of(own: Mapping[str, Any], name: str, values: Sequence[Any]) -> Any:
    value = own.get(name)
    if value is not None and value not in values:
        raise OptionError(f"{name} is {value!r}; expected None or {' or '.join(map(repr, values))}")
    return value


def _seed(own: Mapping[str, Any]) -> int | None:
    seed = own.get("seed")
    if seed is not None and not 0 <= seed < 2**63:
        raise OptionError(f"seed is {seed}; expected a whole number of 0 or more, below 2 to the 63")
    return seed


def _max_time(own: Mapping[str, Any]) -> float | None:
    seconds: float | None = own.get("max_time")
    if seconds is not None and not seconds > 0:
        raise OptionError(f"max_time is {seconds}; expected a number of seconds above 0")
    return seconds


def _form(own: Mapping[str, Any], manner: Manner) -> Form | None:
    """Return the form that a text is to have, as OpenAI's API and text-generation-inference write it."""
    given = own.get("response_format")
    if given is None:
        return None
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind == "text":
        return None
    if kind not in ("json_object", "json_schema", "json", "regex"):
        raise OptionError(
            f"response_format is {given!r}; expected {{'type': 'text'}}, {{'type': 'json_object'}}, "
            "{'type': 'json_schema', 'json_schema': {'name': …, 'schema': …}} or {'type': 'regex', 'value': …}"
        )
    if manner.is_search:
        raise OptionError("response_format follows one text and a search follows several; leave one of them out")
    if kind == "regex":
        return Form.of_regex(given.get("value"))
    schema = given.get("value", {"type": "object"})
    if kind == "json_schema":
        named = given.get("json_schema", given)
        if not isinstance(named, Mapping) or not ("schema" in named or "value" in given):
            raise OptionError("response_format has no schema; give it as json_schema={'name': …, 'schema': …}")
        schema = named.get("schema", given.get("value"))
        # As text-generation-inference has it since its version 3: the name stands in the value, too.
        if "schema" not in named and isinstance(schema, Mapping) and set(schema) <= {"name", "schema", "strict"}:
            schema = schema.get("schema", {})
    return Form.of_schema(schema)


def _strings(own: Mapping[str, Any], stated: Any) -> tuple[str, ...]:
    given = [own[name] for name in ("stop_sequence", "stop_strings", "stop") if name in own]
    given = given or ([stated] if stated else [])
    if len(given) > 1:
        raise OptionError("stop_sequence, stop_strings and stop are one parameter; give one of them")
    strings = given[0] if given else ()
    found = (strings,) if isinstance(strings, str) else tuple(strings) if isinstance(strings, list | tuple) else (None,)
    if not all(isinstance(one, str) and one for one in found):
        raise OptionError(f"stop strings are {strings!r}; expected texts that are not empty")
    return found


def _manner(flat: dict[str, Any], own: Mapping[str, Any], defaults: TextDefaults, n_best: int | None) -> Manner:
    eos = _ids("eos_token_id", own["eos_token_id"]) if "eos_token_id" in own else defaults.eos
    filters: list[Filter] = []
    suppressed = own.get("suppress_tokens", defaults.generation.get("suppress_tokens"))
    if suppressed:
        filters.append(suppress(_ids("suppress_tokens", suppressed)))
    return Manner(
        options=_options(flat, defaults.generation, eos),
        stops=_strings(own, defaults.generation.get("stop_strings")),
        keeps_stop=own.get("include_stop_string", True),
        skip_special_tokens=own.get("skip_special_tokens", True),
        clean_up=own.get("clean_up_tokenization_spaces"),
        n_best=n_best,
        max_time=_max_time(own),
        filters=tuple(filters),
    )


def _options(flat: Mapping[str, Any], generation: Mapping[str, Any], eos: Sequence[int]) -> GenerateOptions:
    """Return the options: the caller's, else the checkpoint's, else the pipeline's, as transformers has it."""
    chosen = {name: flat[name] for name in flat if name in FIELDS}
    stated = {name: value for name, value in generation.items() if name in FIELDS and value is not None}
    samples = _samples(chosen, stated)
    length = {} if "max_length" in chosen or "max_length" in stated else {"max_new_tokens": DEFAULTS["max_new_tokens"]}
    sampling = {"temperature": DEFAULTS["temperature"], "top_k": DEFAULTS["top_k"]} if samples else {}
    excluded = SEARCHING if samples else SAMPLING
    stated = {name: value for name, value in stated.items() if name not in excluded}
    if not samples and chosen.get("penalty_alpha", stated.get("penalty_alpha", 0)):
        sampling = {"top_k": generation.get("top_k", DEFAULTS["top_k"])}
    merged = {**length, **sampling, **stated, **chosen, "do_sample": samples}
    if not samples and chosen.get("temperature") == 0:
        merged = {name: value for name, value in merged.items() if name not in SAMPLING}
    values = {FIELDS[name]: _value(name, value) for name, value in merged.items()}
    return GenerateOptions(eos=eos[0] if eos else -1, more_ends=tuple(eos[1:]), **values)


def _samples(chosen: Mapping[str, Any], stated: Mapping[str, Any]) -> bool:
    """Say whether tokens are drawn; a search that cannot be drawn from, and a temperature of 0, decide themselves."""
    if "do_sample" in chosen:
        return bool(chosen["do_sample"])
    if chosen.get("temperature") == 0 or chosen.get("num_beam_groups", 1) > 1 or chosen.get("penalty_alpha"):
        return False
    if "do_sample" in stated:
        return bool(stated["do_sample"])
    searches = stated.get("penalty_alpha", 0) > 0 or stated.get("num_beam_groups", 1) > 1
    return not searches or any(name in chosen for name in SAMPLING - {"top_k"})


def _value(name: str, value: Any) -> Any:
    if name == "logit_bias":
        pairs = value.items() if isinstance(value, Mapping) else value
        try:
            biases = tuple((int(id), float(bias)) for id, bias in pairs)
            if not all(bias < math.inf for _, bias in biases):  # NaN, too
                raise ValueError("no number can be added to others")
            return biases
        except (TypeError, ValueError) as error:
            raise OptionError(f"logit_bias is {value!r}; expected a dictionary of token ids to numbers") from error
    if name in ("bad_words_ids", "bad_words"):
        try:
            return tuple(tuple(int(id) for id in word) for word in value)
        except (TypeError, ValueError) as error:
            raise OptionError(f"{name} is {value!r}; expected a list of lists of token ids") from error
    return value


def _ids(name: str, value: Any) -> tuple[int, ...]:
    ids = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in ids):
        raise OptionError(f"{name} is {value!r}; expected a token's id, or a list of them")
    return tuple(ids)
