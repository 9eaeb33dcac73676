"""How a task is asked of a provider: by which endpoint, and with what in every request; words and vectors differ."""

from batchjobs.answers import Embedding
from batchjobs.errors import UsageError
from batchjobs.settings import Settings
from batchjobs.tasks import Task
from providers.contract import EMBEDDINGS, RequestTemplate


def endpoint_for(settings: Settings, task: Task) -> str:
    """The one that the person names, or the one that the task needs; "" is the provider's first. Raises UsageError."""
    embeds = issubclass(task.result, Embedding)
    endpoint = settings.endpoint or (EMBEDDINGS if embeds else "")
    if embeds != (endpoint == EMBEDDINGS):
        asks = "asks for embeddings" if embeds else "asks for no embeddings"
        raise UsageError(f"Task {task.name} {asks}, which endpoint {endpoint!r} does not suit: leave the endpoint out.")
    return endpoint


def template_for(settings: Settings, task: Task, model: str) -> RequestTemplate:
    """What all requests of a job have in common."""
    if issubclass(task.result, Embedding):  # nothing is written, so nothing limits or shapes it but its length
        length = task.result.dimensions
        return RequestTemplate(model, max_output_tokens=0, extra={} if length is None else {"dimensions": length})
    return RequestTemplate(
        model=model,
        max_output_tokens=settings.max_output_tokens or task.max_output_tokens,
        schema_name=task.name.replace("-", "_"),
        schema=task.result.model_json_schema(),
        temperature=task.temperature if settings.temperature is None else settings.temperature,
    )
