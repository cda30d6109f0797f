"""Chats as the text that a model was trained on: the checkpoint's own template, rendered in a sandbox.

Templates are programs of strangers. They see plain data only, change nothing, and call nothing but what is given here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from auricle.errors import ConfigError, MissingExtraError, OptionError
from auricle.text.characters import read_utf8

FILE = "chat_template.jinja"
FOLDER = "additional_chat_templates"  # each file a template by its name
# Stands behind the text that the model is to go on with, while it goes through the template.
MARK = "<auricle:the-answer-goes-on-here>"
# Names under which clients send what a model thought; templates read the first, some the second.
THOUGHTS = ("reasoning_content", "thinking", "reasoning")
GIVEN = ("messages", "tools", "documents", "add_generation_prompt")  # what `render` gives a template itself
# A template that knows contents of several parts goes through them, or asks what they are.
READS_PARTS = re.compile(
    r"\bfor\s+\w+\s+in\s+[\w.\[\]'\"]*content\b|content\s+is\s+(not\s+)?(string|iterable|sequence)"
)


@dataclass(frozen=True)
class ChatTemplates:
    """The templates of a checkpoint by name; most have one, "default"."""

    sources: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_folder(cls, folder: Path, settings: Mapping[str, Any]) -> ChatTemplates:
        """Read chat_template.jinja, else what tokenizer_config.json holds.

        Raises: ConfigError if that is neither a text nor a list of named ones.
        """
        files = {path.stem: path for path in sorted((folder / FOLDER).glob("*.jinja"))}
        if (folder / FILE).is_file():
            files["default"] = folder / FILE
        if files:
            return cls({name: read_utf8(path) for name, path in files.items()})
        given = settings.get("chat_template")
        if given is None:
            return cls()
        if isinstance(given, str):
            return cls({"default": given})
        try:
            named = given.items() if isinstance(given, dict) else ((one["name"], one["template"]) for one in given)
            return cls({str(name): str(source) for name, source in named})
        except (TypeError, KeyError) as error:
            raise ConfigError(
                f"{folder / 'tokenizer_config.json'}: chat_template is neither a text nor a list of objects with "
                f"name and template ({error!r}); fetch the file again"
            ) from error

    def choose(self, wanted: str | None, has_tools: bool) -> str:
        """Return the source of the template to use; `wanted` is a name or a template itself.

        Raises: OptionError if there is none.
        """
        if wanted is not None:
            is_source = "{" in wanted
            if wanted not in self.sources and not is_source:
                raise OptionError(f"chat_template {wanted!r} is none of {', '.join(self.sources) or 'none'}")
            return self.sources.get(wanted, wanted)
        if has_tools and "tool_use" in self.sources:
            return self.sources["tool_use"]
        if "default" in self.sources:
            return self.sources["default"]
        state = f"only templates named {', '.join(self.sources)}" if self.sources else "no chat template"
        raise OptionError(
            f"a chat arrived, and this checkpoint has {state}: it was not trained to chat, or lacks {FILE}. Give the "
            "prompt as text, or a template as chat_template="
        )


def is_chat(item: Any) -> bool:
    """Say whether an input is one chat: a list of messages, each with a role."""
    return isinstance(item, list | tuple) and bool(item) and all(_is_message(one) for one in item)


def _is_message(item: Any) -> bool:
    return isinstance(item, Mapping) and "role" in item and ("content" in item or len(item) > 1)


def render(
    source: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """Return a chat as the template writes it, ready for the answer.

    With `continue_final_message` the text ends where the last message does, for the model to go on with it.
    `variables` are what else the template may read: the special tokens by their roles, and the caller's own.

    Raises: OptionError if the template refuses the chat, or cannot be run.
    """
    chat = [_message(one, source) for one in messages]
    if not chat:
        raise OptionError("an empty chat arrived; give at least one message, {'role': 'user', 'content': ...}")
    if continue_final_message:
        _mark_the_end(chat[-1])
    hidden = [name for name in variables or {} if name in GIVEN]
    if hidden:
        raise OptionError(f"the template's variable {hidden[0]!r} has a parameter of its own; give it there")
    given = {**plain(variables or {}), "messages": chat, "tools": plain(tools), "documents": plain(documents)}
    text = _run(source, {**given, "add_generation_prompt": add_generation_prompt and not continue_final_message})
    return _until_the_mark(text) if continue_final_message else text


def _run(source: str, given: Mapping[str, Any]) -> str:
    from jinja2.exceptions import SecurityError, TemplateError

    template = _compiled(source)
    try:
        return str(template.render(given))
    except SecurityError as error:
        told = str(error).rstrip(".")
        raise OptionError(f"the chat template does what no template may do: {told}. Do not trust it.") from error
    except TemplateError as error:
        told = str(error).rstrip(".")
        raise OptionError(
            f"the chat template refuses this chat: {told}. Change the messages, or give another template as "
            "chat_template="
        ) from error
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise OptionError(
            f"the chat template cannot write this chat ({type(error).__name__}: {error}). Messages need the roles and "
            "contents that it was made for"
        ) from error


def _message(given: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a message as plain data without what is None; parts of text become one text for a template of texts."""
    message: dict[str, Any] = {key: value for key, value in plain(given).items() if value is not None}
    content = message.get("content")
    if isinstance(content, list) and not READS_PARTS.search(source):
        kinds = {str(part.get("type", "text")) if isinstance(part, dict) else "text" for part in content}
        if kinds - {"text"}:
            raise OptionError(f"a message has parts of {', '.join(sorted(kinds - {'text'}))}; this model reads text")
        texts = [part.get("text") if isinstance(part, dict) else part for part in content]
        if not all(isinstance(text, str) for text in texts):
            raise OptionError(
                f"a message has the part {str(content[[isinstance(text, str) for text in texts].index(False)])[:100]}; "
                "expected {'type': 'text', 'text': …}"
            )
        message["content"] = "".join(map(str, texts))
    thought = next((message[name] for name in THOUGHTS if message.get(name) is not None), None)
    if thought is not None:
        message = {"thinking": thought, **message, "reasoning_content": thought}
    return message


def _mark_the_end(message: dict[str, Any]) -> None:
    content = message.get("content")
    if isinstance(content, str):
        message["content"] = content + MARK
        return
    parts = [part for part in content or [] if isinstance(part, dict) and isinstance(part.get("text"), str)]
    if not parts:
        raise OptionError(
            f"the last message is the {message.get('role', 'other')}'s, to be gone on with, and has no text; give it "
            "some, end with the user's or a tool's, or pass continue_final_message=False"
        )
    parts[-1]["text"] += MARK


def _until_the_mark(text: str) -> str:
    before, found, _ = text.rpartition(MARK)
    if not found:
        raise OptionError(
            "continue_final_message goes on with the last message, which the chat template leaves out or changes; "
            "leave the parameter out, or end with the user's message"
        )
    return before


def plain(value: Any) -> Any:
    """Return data as JSON has it: templates get no objects with methods of their own."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str | int | float):  # enumerations and the like
        base = next(kind for kind in (str, int, float) if isinstance(value, kind))
        return str.__str__(value) if base is str else base(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if callable(getattr(value, "model_dump", None)):  # pydantic
        return plain(value.model_dump())
    return f"<{type(value).__name__}>"


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Write JSON for a prompt: jinja2's own filter would escape it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


@lru_cache(maxsize=16)
def _compiled(source: str) -> Any:
    try:
        from jinja2 import Environment, nodes
        from jinja2.exceptions import TemplateError
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingExtraError("chat templates need jinja2, which comes with torch: pip install jinja2") from error

    class Generation(Extension):
        """`{% generation %}`, which marks for training what the model said; for a prompt it changes nothing."""

        tags = {"generation"}  # noqa: RUF012  # jinja2 reads the class attribute

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment: Environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": refuse, "strftime_now": _strftime_now}
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise ConfigError(f"the chat template is no template ({error}); correct it, or fetch {FILE} again") from error
