"""Reads a task from a task.toml: prompts, a Jinja2 template over the item's fields, and a result schema."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from batchjobs.answers import Embedding, embedding_of
from batchjobs.errors import UsageError
from batchjobs.fields import ItemId
from batchjobs.importing import imported
from batchjobs.schema_models import model_from_schema, type_from_schema
from batchjobs.tasks import ItemTooLarge, Rendered, Task
from providers.contract import Prompt

EMBEDDING = "embedding"  # as a result
_NOT_TO_EMBEDDINGS = {"max_output_tokens", "temperature", "prompt.system", "prompt.system_file"}
_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_ADVICE = {
    "missing": "is missing: add it",
    "extra_forbidden": "is not a setting of a task: remove it or check the spelling",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _PromptTable(_Strict):
    """Each text is given here or in a file beside the task.toml."""

    system: str | None = None
    system_file: str | None = None
    user: str | None = None
    user_file: str | None = None


class TaskFile(_Strict):
    """A task.toml as written."""

    name: str = Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=40)
    version: str = Field(min_length=1, max_length=40)
    id: str = Field("id", min_length=1)
    prompt: _PromptTable
    result: dict[str, Any] | str
    input: dict[str, Any] | None = None
    models: dict[str, str] = {}
    max_output_tokens: int = Field(2048, ge=16)
    temperature: float | None = Field(None, ge=0, le=2)
    dimensions: int | None = Field(None, ge=1)

    @field_validator("version", mode="before")
    @classmethod
    def _number_or_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class _Environment(ImmutableSandboxedEnvironment):
    """`order.items` is the item's field of that name, where it has one, and not a method of Python's dict."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _shown(value: Any) -> Any:
    """Null is shown as nothing; methods and generators would be shown with an address that differs every night."""
    if value is None:
        return ""
    if isinstance(value, str | int | float | list | tuple | dict | jinja2.Undefined):
        return value
    raise TypeError(type(value).__name__)


class Template:
    """A user prompt with holes. Filling it in is pure: no clock, no chance, no files, nothing but the item."""

    def __init__(self, source: str, where: str) -> None:
        # Prompts are plain text, so nothing is escaped; items are values and never become template code.
        environment = _Environment(
            undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=_shown
        )
        environment.globals.pop("lipsum")
        environment.filters.pop("random")
        try:
            syntax = environment.parse(source)
            self._template = environment.from_string(syntax)
        except jinja2.TemplateSyntaxError as error:
            raise UsageError(f"{where}: line {error.lineno} of the template is wrong ({error.message}).") from None
        if list(jinja2.meta.find_referenced_templates(syntax)):
            raise UsageError(f"{where}: the template includes another one: write it out, as one template is the task.")
        self.names = jinja2.meta.find_undeclared_variables(syntax) - {"item"}
        self.source = source

    def fill(self, fields: Mapping[str, Any]) -> str:
        """Raises PydanticCustomError when the item does not suit the template; it may name a field, never a value."""
        try:
            return self._template.render({**fields, "item": fields}).strip()
        except jinja2.UndefinedError as error:
            missing = re.search(r"'(\w+)'(?: is undefined|$)", error.message or "")
            name = missing[1] if missing and missing[1] in self.source else "a field"
            raise PydanticCustomError(
                "template", "the template needs {name}, which is absent", {"name": name}
            ) from None
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            kind = type(error).__name__
            raise PydanticCustomError(
                "template", "the template cannot use this item ({kind})", {"kind": kind}
            ) from None


class TemplateItem(BaseModel):
    """One item that suits its template: filling it in is the last step of validation, so rendering cannot fail."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, coerce_numbers_to_str=True)
    template: ClassVar[Template]
    item_id: ItemId
    _user: str = PrivateAttr("")

    @model_validator(mode="after")
    def _suits_the_template(self) -> Self:
        named = {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}
        self._user = self.template.fill({**(self.model_extra or {}), **named})
        if not self._user:
            raise PydanticCustomError("template", "the template makes no text of this item")
        return self

    @property
    def user(self) -> str:
        return self._user


def read_task(path: Path) -> Task:
    """The task that the file describes. Raises UsageError: file, field, and what to do."""
    written = _parsed(path)
    system = "" if _embeds(path, written) else _prompt_text(path, written.prompt, "system")
    template = Template(_prompt_text(path, written.prompt, "user"), f"{path}: prompt.user")

    def render(item: TemplateItem, room_bytes: int) -> Rendered:
        size = len(system.encode()) + len(item.user.encode())
        if size > room_bytes:
            raise ItemTooLarge(f"the prompt needs {size:,} bytes, a request has room for {room_bytes:,}")
        return Rendered(Prompt(system, item.user))

    return Task(
        name=written.name,
        version=written.version,
        item=_item_model(path, written, template),
        result=_result_model(path, written),
        item_id=lambda item: item.item_id,
        render=render,
        max_output_tokens=written.max_output_tokens,
        temperature=written.temperature,
        id_column=written.id if _COLUMN.fullmatch(written.id) else "item_id",
        models=written.models,
        prompt_text=f"{system}\0{template.source}",
    )


def _parsed(path: Path) -> TaskFile:
    try:
        return TaskFile.model_validate(tomllib.loads(_read(path)))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML ({error}): correct it.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        problem = _ADVICE.get(first["type"], f"is wrong ({first['msg']}): correct it")
        raise UsageError(f"{path}: {field} {problem}.") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}): check the path.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8: save it as UTF-8.") from None


def _prompt_text(path: Path, prompt: _PromptTable, role: str) -> str:
    inline, file = getattr(prompt, role), getattr(prompt, f"{role}_file")
    if (inline is None) == (file is None):
        raise UsageError(f"{path}: [prompt] needs either {role} or {role}_file: give exactly one of them.")
    text: str = inline if file is None else _read(path.parent / file)
    if not text.strip():
        raise UsageError(f"{path}: prompt.{role} is empty: say what the model should do.")
    return text.strip()


def _embeds(path: Path, written: TaskFile) -> bool:
    """Whether the task asks for vectors. Raises UsageError for what the other kind of task has alone."""
    if written.result != EMBEDDING:
        if written.dimensions is not None:
            raise UsageError(f'{path}: dimensions are those of an embedding: remove them, or set result = "embedding".')
        return False
    given = written.model_fields_set | {f"prompt.{name}" for name in written.prompt.model_fields_set}
    for name in sorted(given & _NOT_TO_EMBEDDINGS):
        raise UsageError(
            f"{path}: {name} means nothing to an embedding, which is made of prompt.user alone: remove it."
        )
    return True


def _result_model(path: Path, written: TaskFile) -> type[BaseModel]:
    where, result = f"{path}: result", written.result
    if result == EMBEDDING:
        return Embedding if written.dimensions is None else embedding_of(written.dimensions)
    if isinstance(result, dict):
        fields = {"type": "object", "properties": result, "required": list(result)}
        return model_from_schema(fields, where, "Answer")
    if result.endswith(".json"):
        return _schema_file(path.parent / result)
    model = imported(result, path.parent, where)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise UsageError(f"{where}: {result} is not a pydantic model: make it a subclass of BaseModel.")
    return model


def _schema_file(path: Path) -> type[BaseModel]:
    try:
        schema = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: not valid JSON ({error}): correct it.") from None
    if not isinstance(schema, dict):
        raise UsageError(f"{path}: not a JSON schema: it must be an object with properties.")
    return model_from_schema(schema, str(path), "Answer")


def _item_model(path: Path, written: TaskFile, template: Template) -> type[TemplateItem]:
    declared = {name: schema for name, schema in (written.input or {}).items() if name != written.id}
    if written.input is not None and (unknown := sorted(template.names - declared.keys() - {written.id})):
        raise UsageError(f"{path}: the template uses {unknown[0]!r}, which [input] does not have: declare it there.")
    fields: dict[str, Any] = {"item_id": (ItemId, Field(alias=written.id))}
    for number, (name, schema) in enumerate(declared.items()):
        kind = type_from_schema(schema, f"{path}: input.{name}")
        default: Any = None if schema.get("nullable") is True else ...
        fields[f"field_{number}"] = (kind, Field(default, alias=name))
    model = create_model("Item", __base__=TemplateItem, **fields)
    model.template = template
    return model
