"""What OpenAI checks of a batch's input file before it runs, and the lines its result files consist of."""

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from providers.emulator.openai_dialects import Dialect
from providers.emulator.openai_files import BOM
from providers.emulator.openai_models import Models, canonical
from providers.emulator.spoken import ABSENT, given
from providers.emulator.work import Done, Sheet, common_prefix
from providers.emulator.world import Fate, Settings

_NEEDS = {"/v1/chat/completions": "messages", "/v1/responses": "input", "/v1/embeddings": "input"}


class _Body(msgspec.Struct):
    model: str
    messages: Raw = ABSENT
    input: Raw = ABSENT
    instructions: Raw = ABSENT
    stream: bool | None = None


class _Line(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: _Body


class _Request(msgspec.Struct):
    custom_id: str
    body: Raw


_quick = msgspec.json.Decoder(_Line).decode
_request = msgspec.json.Decoder(_Request).decode


def complaint(code: str, message: str, line: int | None = None, param: str | None = None) -> dict[str, Any]:
    """One entry of a failed batch's `errors.data`."""
    return {"code": code, "line": line, "message": message, "param": param}


class Scan:
    """Reads an input file once: where its lines are, what they come to, and what is wrong with each."""

    def __init__(self, path: Path, endpoint: str, dialect: Dialect, settings: Settings) -> None:
        self._endpoint = endpoint
        self._dialect = dialect
        self._settings = settings
        self._seen: set[str] = set()
        self._model = ""
        self._tokens = 0
        self.complaints: list[dict[str, Any]] = []
        offsets = array("Q", [0])
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                offsets.append(offsets[-1] + len(line))
                self._check(number, line)
        if dialect.takes_bom and _begins_with_bom(path):
            text = "No deployment name could be read from the input file: name the same one on every line."
            self.complaints = [complaint("invalid_request", text)]
        if len(offsets) == 1:
            text = "The input file is empty. Please ensure that the batch contains at least one request."
            self.complaints.append(complaint("empty_file", text))
        if len(offsets) - 1 > dialect.most_requests:
            text = f"The batch contains {len(offsets) - 1} requests; the limit is {dialect.most_requests}."
            self.complaints.append(complaint("too_many_requests", text))
        self.complaints = [{**one, "code": dialect.codes.get(one["code"], one["code"])} for one in self.complaints]
        self.sheet = Sheet(path, offsets, self._tokens, self._model, common_prefix(self._seen))

    def _check(self, number: int, line: bytes) -> None:
        try:
            request = _quick(line)
        except msgspec.DecodeError:
            self.complaints += _faults_of(number, line, self._endpoint)
            return
        self._tokens += _prompt_size(request.body) // 4
        if request.custom_id in self._seen:
            text = f"The custom_id '{request.custom_id}' is used more than once in the input file."
            self.complaints.append(complaint("duplicate_custom_id", text, number, "custom_id"))
        self._seen.add(request.custom_id)
        if (
            request.url != self._endpoint
            or request.method != "POST"
            or request.body.stream
            or not self._complete(request)
        ):
            self.complaints += _faults_of(number, line, self._endpoint)
        self._check_model(number, request.body.model)

    def _complete(self, request: _Line) -> bool:
        return given(getattr(request.body, _NEEDS.get(canonical(self._endpoint), "input"))) != b""

    def _check_model(self, number: int, model: str) -> None:
        if model == self._model:
            return
        if self._dialect.model(model, self._settings) is None:
            text = f"The provided model '{model}' is not supported by the Batch API."
            self.complaints.append(complaint("model_not_found", text, number, "body.model"))
        elif self._model:
            text = f"The model '{model}' differs from '{self._model}' in the lines before; a batch has one model."
            self.complaints.append(complaint("mismatched_model", text, number, "body.model"))
        else:
            self._model = model


def _begins_with_bom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(BOM)) == BOM


def _prompt_size(body: _Body) -> int:
    return sum(len(given(part)) for part in (body.messages, body.input, body.instructions))


def _faults_of(number: int, line: bytes, endpoint: str) -> Iterator[dict[str, Any]]:
    """Everything that is wrong with one line but its model's name."""
    try:
        parsed = msgspec.json.decode(line)
    except msgspec.DecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        yield complaint("invalid_json_line", "This line is not parseable as valid JSON.", number)
        return
    missing = [name for name in ("custom_id", "method", "url", "body") if parsed.get(name) is None]
    for name in missing:
        yield complaint("missing_required_parameter", f"Missing required parameter: '{name}'.", number, name)
    if "url" not in missing and parsed["url"] != endpoint:
        text = "The URL provided for this request does not match the batch endpoint."
        yield complaint("invalid_url", text, number, "url")
    if "method" not in missing and parsed["method"] != "POST":
        yield complaint("invalid_method", "The method of every request must be POST.", number, "method")
    if "body" not in missing:
        yield from _faults_of_body(number, parsed["body"], endpoint)


def _faults_of_body(number: int, body: Any, endpoint: str) -> Iterator[dict[str, Any]]:
    if not isinstance(body, dict):
        yield complaint("invalid_request", "The body of a request must be an object.", number, "body")
        return
    if not isinstance(body.get("model"), str):
        yield complaint("invalid_request", "Model parameter is required.", number, "body.model")
    need = _NEEDS.get(canonical(endpoint), "input")
    if body.get(need) is None:
        yield complaint("invalid_request", f"{need.capitalize()} parameter is required.", number, f"body.{need}")
    if body.get("stream"):
        text = "Chat Completions: Streaming is not supported in the Batch API."
        yield complaint("streaming_unsupported", text, number, "body.stream")


def executed(served: Models, endpoint: str, batch_id: str, forced: Fate | None, line: bytes) -> Done:
    """Execute one input line: the line of the output or the error file (PROVIDERS §1.4)."""
    request = _request(line)
    answer = served.serve(canonical(endpoint), bytes(request.body), forced)
    mark = _mark(batch_id, request.custom_id)
    response = {"status_code": answer.status, "request_id": mark, "body": answer.document}
    return Done(
        line=_result(mark, request.custom_id, response, None),
        failed=answer.status != 200,
        custom_id=request.custom_id,
        prompt_hash=answer.digest.hex(),
        input_tokens=answer.spent.total,
        cached_tokens=answer.spent.cached_tokens,
        output_tokens=answer.output_tokens,
        struck=answer.digest if answer.struck else b"",
    )


def unexecuted(batch_id: str, code: str, line: bytes) -> bytes:
    """The error line of an item that expired or was cancelled: no response, a top-level error."""
    texts = {
        "batch_expired": "This request could not be executed before the completion window expired.",
        "batch_cancelled": "This request was not executed because the batch was cancelled.",
    }
    custom_id = _request(line).custom_id
    return _result(_mark(batch_id, custom_id), custom_id, None, {"code": code, "message": texts[code]})


def _mark(batch_id: str, custom_id: str) -> str:
    return blake2b(f"{batch_id}/{custom_id}".encode(), digest_size=16).hexdigest()


def _result(mark: str, custom_id: str, response: Any, error: Any) -> bytes:
    whole = {"id": f"batch_req_{mark}", "custom_id": custom_id, "response": response, "error": error}
    return msgspec.json.encode(whole) + b"\n"
