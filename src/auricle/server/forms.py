"""Forms (multipart/form-data) as they arrive: files to disk, whatever their size, and fields to memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from auricle.server.errors import Refused

# Parts that may hold the recording or image, also those that come without a file's name.
FILE_PARTS = ("file", "audio_file", "audio", "image", "inputs")
MAX_FIELDS = 200
MAX_FIELD_BYTES = 1 << 20
_MOST_OF_A_NAME = 100


class Sink(Protocol):
    """Where a file's bytes go."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        ...


class FormReader:
    """Takes a form piece by piece; blocks where its sink does."""

    def __init__(self, content_type: str, open_sink: Callable[[str], Sink]) -> None:
        """Take the Content-Type and a function that makes a sink for the file of a name.

        Raises:
            Refused: 400, the type names no boundary.
        """
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise _refuse("its Content-Type names no boundary; let the HTTP library write that header")
        self.fields: dict[str, list[str]] = {}
        self.is_complete = False
        self._open_sink = open_sink
        self._has_file = False
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._name = ""
        self._unwanted = ""  # why a file is not taken
        self._sink: Sink | None = None
        self._field: bytearray | None = None  # None in a file
        self._n_fields = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._take_header,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._open,
                "on_part_data": self._take,
                "on_part_end": self._end,
                "on_end": self._complete,
            },
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            Refused: 400, they are no form, or one with too many or too large fields, or with other files than one.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _refuse(f"{error}; let the HTTP library write it") from None

    def _begin(self) -> None:
        self._disposition = b""
        self._sink = self._field = None
        self._unwanted = ""

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise _refuse("a part of it has no name; give each as 'name=value'")
        self._name = options[b"name"].decode("utf-8", "replace")
        if b"filename" not in options and self._name not in FILE_PARTS:
            self._n_fields += 1
            if self._n_fields > MAX_FIELDS:
                raise _refuse(f"it has more than {MAX_FIELDS} fields")
            self._field = bytearray()
        elif not self._has_file and self._name in FILE_PARTS:
            self._has_file = True
            # The client's name for its file is told back in errors: only its last part, and not much of it.
            told = options.get(b"filename", b"").decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
            self._sink = self._open_sink(told[:_MOST_OF_A_NAME])
        elif self._name in FILE_PARTS:
            self._unwanted = f"'{self._name}' is its second file; send one in each request"
        else:
            self._unwanted = f"its part {self._name[:_MOST_OF_A_NAME]!r} is a file; send the file as 'file'"

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._sink is not None:
            self._sink.write(data[start:end])
        elif self._unwanted and start < end:  # browsers send empty parts for files that nobody chose
            raise Refused(400, f"the form cannot be taken: {self._unwanted}", code="invalid_form")
        elif self._field is not None:
            self._field += data[start:end]
            if len(self._field) > MAX_FIELD_BYTES:
                raise _refuse(f"its field {self._name[:_MOST_OF_A_NAME]!r} has more than {MAX_FIELD_BYTES} bytes")

    def _end(self) -> None:
        if self._field is not None:
            self.fields.setdefault(self._name, []).append(self._field.decode("utf-8", "replace"))

    def _complete(self) -> None:
        self.is_complete = True


def _refuse(what: str) -> Refused:
    return Refused(400, f"the form is damaged: {what}", code="invalid_form")
