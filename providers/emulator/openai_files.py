"""OpenAI's files and uploads: what batches read from and write to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from python_multipart.multipart import MultipartParser, parse_options_header

from providers.emulator import openai_replies as replies
from providers.emulator.openai_dialects import OPENAI, Dialect
from providers.emulator.wire import Call, Problem, Reply, Route, file_chunks
from providers.emulator.world import World, read_json

RETENTION_S = 30 * 86_400  # PROVIDERS §1.2
_UPLOAD_S = 3_600
BOM = b"\xef\xbb\xbf"
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file; `path` may be shared with nobody else and is removed with it."""

    id: str
    path: Path
    size: int
    filename: str
    purpose: str
    created: float
    expires: float
    timed: bool = False  # somebody said when it expires

    def document(self) -> dict[str, Any]:
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": self.size,
            "created_at": int(self.created),
            "expires_at": int(self.expires),
            "status": "processed",
            "status_details": None,
        }


@dataclass(slots=True)
class _Upload:
    id: str
    filename: str
    purpose: str
    bytes: int
    created: float
    status: str = "pending"
    parts: dict[str, Path] = field(default_factory=dict)
    file: StoredFile | None = None

    def document(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.bytes,
            "created_at": int(self.created),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "expires_at": int(self.created + _UPLOAD_S),
            "file": self.file.document() if self.file else None,
        }


def problem(status: int, message: str, **more: Any) -> Problem:
    """An error reply in OpenAI's words."""
    return Problem(Reply(status, replies.error(message, **more)))


def read_object(call: Call) -> dict[str, Any]:
    """The JSON object that the call's body must be."""
    asked = read_json(call.body.read())
    if not isinstance(asked, dict):
        raise problem(400, "We could not parse the JSON body of your request.")
    return asked


def page_size(call: Call, usual: int, most: int) -> int:
    """The `limit` of a listing."""
    asked = call.query.get("limit", str(usual))
    if not asked.isdigit() or not 1 <= int(asked) <= most:
        raise problem(400, f"Invalid 'limit': expected an integer from 1 to {most}, got {asked!r}.", param="limit")
    return int(asked)


class Files:
    """The file shelf of the emulated organisation."""

    def __init__(self, world: World, dialect: Dialect = OPENAI) -> None:
        self._world = world
        self._dialect = dialect
        self._files: dict[str, StoredFile] = {}
        self._uploads: dict[str, _Upload] = {}

    def routes(self) -> list[Route]:
        """Below the beginning that a server's paths have."""
        return [
            Route("POST", "/files", self._create),
            Route("GET", "/files", self._list),
            Route("GET", "/files/{}", lambda call: Reply(document=self._live(call.args[0]).document())),
            Route("DELETE", "/files/{}", self._delete),
            Route("GET", "/files/{}/content", self._content),
            Route("POST", "/uploads", self._start_upload),
            Route("POST", "/uploads/{}/parts", self._add_part),
            Route("POST", "/uploads/{}/complete", self._complete_upload),
            Route("POST", "/uploads/{}/cancel", self._cancel_upload),
        ]

    def find(self, file_id: str) -> StoredFile | None:
        """The file, unless it is gone or past its time."""
        stored = self._files.get(file_id)
        return stored if stored and self._world.clock.now() < stored.expires else None

    def put(
        self, path: Path, filename: str, purpose: str, created: float, kept_s: float = RETENTION_S, timed: bool = False
    ) -> StoredFile:
        """Keep a file that lies at `path`."""
        file_id, size = self._dialect.file_id(self._world), path.stat().st_size
        stored = StoredFile(file_id, path, size, filename, purpose, created, created + kept_s, timed)
        with self._world.lock:
            self._files[stored.id] = stored
        return stored

    def _live(self, file_id: str) -> StoredFile:
        stored = self.find(file_id)
        if stored is None:
            raise problem(404, f"No such File object: {file_id}", param="id")
        return stored

    def _create(self, call: Call) -> Reply:
        path = self._world.folder / f"{self._world.new_id()}.upload"
        try:
            fields, filename = _received(call, path)
            kept_s = self._checked(fields, filename, path)
            timed = "expires_after[seconds]" in fields
            self._count(timed)
        except Problem:
            path.unlink(missing_ok=True)
            raise
        stored = self.put(path, filename, fields["purpose"], self._world.clock.now(), kept_s, timed)
        return Reply(document=stored.document())

    def _count(self, timed: bool) -> None:
        """A resource at Azure holds so many files, and many more of those that will go by themselves (PROVIDERS §6)."""
        if self._dialect.most_files is None:
            return
        with self._world.lock:
            held = sum(one.timed == timed and self.find(one.id) is not None for one in self._files.values())
        if held >= self._dialect.most_files[timed]:
            raise problem(400, f"The resource holds {held} files and takes no more: delete some.", code="BadRequest")

    def _checked(self, fields: Mapping[str, str], filename: str, path: Path) -> float:
        """Refuse what OpenAI refuses at upload (PROVIDERS §1.3); how long the file is kept."""
        dialect, purpose = self._dialect, fields.get("purpose")
        if purpose is None:
            text = "Missing required parameter: 'purpose'."
            raise problem(400, text, param="purpose", code="missing_required_parameter")
        if purpose not in _PURPOSES:
            raise problem(400, f"'{purpose}' is not one of {list(_PURPOSES)} - 'purpose'")
        if purpose == "batch":
            limit = dialect.file_bytes or self._world.settings.file_bytes
            _check_batch_file(filename, path, limit, takes_bom=dialect.takes_bom)
        return _kept(fields, dialect.kept_s)

    def _list(self, call: Call) -> Reply:
        wanted = call.query.get("purpose")
        limit = page_size(call, 10_000, 10_000)
        with self._world.lock:
            live = [one for one in self._files.values() if self.find(one.id) and wanted in {None, one.purpose}]
        if call.query.get("order", "desc") == "desc":
            live.reverse()
        ids = [one.id for one in live]
        start = ids.index(call.query["after"]) + 1 if call.query.get("after") in ids else 0
        page = [one.document() for one in live[start : start + limit]]
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return Reply(document={"object": "list", "data": page, **ends, "has_more": start + limit < len(live)})

    def _delete(self, call: Call) -> Reply:
        stored = self._live(call.args[0])
        with self._world.lock:
            self._files.pop(stored.id, None)
        stored.path.unlink(missing_ok=True)
        return Reply(document={"id": stored.id, "object": "file", "deleted": True})

    def _content(self, call: Call) -> Reply:
        stored = self._live(call.args[0])
        headers = {
            "content-type": "application/octet-stream",
            "content-disposition": f'attachment; filename="{stored.filename}"',
        }
        return Reply(chunks=file_chunks(str(stored.path)), headers=headers)

    def _start_upload(self, call: Call) -> Reply:
        asked = read_object(call)
        for name in ("bytes", "filename", "mime_type", "purpose"):
            if name not in asked:
                raise problem(
                    400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
                )
        upload = _Upload(
            f"upload_{self._world.new_id()}",
            asked["filename"],
            asked["purpose"],
            asked["bytes"],
            self._world.clock.now(),
        )
        self._uploads[upload.id] = upload
        return Reply(document=upload.document())

    def _add_part(self, call: Call) -> Reply:
        upload = self._pending(call.args[0])
        part_id = f"part_{self._world.new_id()}"
        path = self._world.folder / f"{part_id}.part"
        _received(call, path, "data")
        upload.parts[part_id] = path
        created = int(self._world.clock.now())
        return Reply(document={"id": part_id, "object": "upload.part", "created_at": created, "upload_id": upload.id})

    def _complete_upload(self, call: Call) -> Reply:
        upload = self._pending(call.args[0])
        paths = [upload.parts.get(part) for part in read_object(call).get("part_ids", ())]
        if None in paths:
            raise problem(400, "Some of the part ids are not parts of this upload.", param="part_ids")
        whole = self._world.folder / f"{upload.id}.upload"
        with whole.open("wb") as file:
            for path in paths:
                file.writelines(file_chunks(str(path)))
        if whole.stat().st_size != upload.bytes:
            raise problem(400, "The number of bytes uploaded differs from the number promised.", param="bytes")
        self._checked({"purpose": upload.purpose}, upload.filename, whole)
        upload.file = self.put(whole, upload.filename, upload.purpose, self._world.clock.now())
        upload.status = "completed"
        self._drop_parts(upload)
        return Reply(document=upload.document())

    def _cancel_upload(self, call: Call) -> Reply:
        upload = self._pending(call.args[0])
        upload.status = "cancelled"
        self._drop_parts(upload)
        return Reply(document=upload.document())

    def _drop_parts(self, upload: _Upload) -> None:
        for path in upload.parts.values():
            path.unlink(missing_ok=True)

    def _pending(self, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None:
            raise problem(404, f"No such Upload object: {upload_id}", param="id")
        if upload.status == "pending" and self._world.clock.now() >= upload.created + _UPLOAD_S:
            upload.status = "expired"
        if upload.status != "pending":
            raise problem(400, f"Upload '{upload_id}' is {upload.status}.")
        return upload


def _received(call: Call, path: Path, wanted: str = "file") -> tuple[dict[str, str], str]:
    """Spool the file part of a multipart body to `path`; the other fields and the file's name."""
    kind, options = parse_options_header(call.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise problem(400, "Expected a multipart/form-data body.")
    with path.open("wb") as file:
        form = _Form(file.write, wanted)
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        for chunk in call.body.chunks():
            parser.write(chunk)
        parser.finalize()
    if form.filename is None:
        raise problem(400, f"Missing required parameter: '{wanted}'.", param=wanted, code="missing_required_parameter")
    return form.fields, form.filename


class _Form:
    """Collects the parts of a multipart body; the wanted file goes to `sink` as it arrives."""

    def __init__(self, sink: Any, wanted: str) -> None:
        self._sink = sink
        self._wanted = wanted
        self._header = b""
        self._value = b""
        self._name = ""
        self._in_file = False
        self._text = bytearray()
        self.fields: dict[str, str] = {}
        self.filename: str | None = None

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._text_of_header,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        self._name, self._in_file = "", False
        self._text.clear()

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _text_of_header(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode()
            if self._name == self._wanted:
                self._in_file = True
                self.filename = options.get(b"filename", b"upload").decode()
        self._header = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._sink(memoryview(data)[start:end])
        else:
            self._text += data[start:end]

    def _end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._text.decode()


def _check_batch_file(filename: str, path: Path, limit: int, *, takes_bom: bool) -> None:
    if not filename.endswith(".jsonl"):
        raise problem(400, "Invalid file format for Batch API. Must be .jsonl")
    if path.stat().st_size > limit:
        raise problem(413, f"The file exceeds the maximum size of {limit} bytes.", code="file_too_large")
    with path.open("rb") as file:
        first = file.readline()
    if takes_bom:
        first = first.removeprefix(BOM)
    if not first.strip() or not isinstance(read_json(first), dict):
        raise problem(400, "Invalid file format for Batch API. Must be .jsonl")


def _kept(fields: Mapping[str, str], allowed: range) -> float:
    asked = fields.get("expires_after[seconds]")
    if asked is None:
        return RETENTION_S
    if (
        fields.get("expires_after[anchor]") != "created_at"
        or not re.fullmatch(r"\d+", asked)
        or int(asked) not in allowed
    ):
        raise problem(400, "Invalid value for 'expires_after'.", param="expires_after", code="invalid_value")
    return float(asked)
