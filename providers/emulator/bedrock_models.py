"""The models that the emulated Bedrock offers: which family an id belongs to, and one request to any of them."""

import re
from collections.abc import Callable, Mapping

from providers.emulator import bedrock_claude as claude
from providers.emulator import bedrock_converse as converse
from providers.emulator import bedrock_native as native
from providers.emulator.anthropic_items import Models as Claude
from providers.emulator.bedrock_words import Answer, Ask, Objection, Prompt, Target, object_of
from providers.emulator.spoken import digest_of, speak, tokens_of
from providers.emulator.world import Fate, World

_PART = r"[a-z0-9-]{1,63}"
_BASE = rf"{_PART}[.]{{1}}{_PART}([.]?{_PART})([:]{_PART}){{0,2}}"
_OTHER = r"(([0-9a-zA-Z][_-]?)+)"
_CUSTOM = rf"[0-9]{{12}}:custom-model/{_PART}[.]{{1}}[a-z0-9-:]{{1,63}}/[a-z0-9]{{12}}$"
_FOUNDATION = rf":foundation-model/({_BASE}|{_OTHER})$"
_PROFILE = r"[0-9]{12}:(inference-profile|application-inference-profile)/[a-zA-Z0-9-:.]+$"
MODEL_ID = (
    rf"(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{{1,20}}:(({_CUSTOM})|({_FOUNDATION})|({_PROFILE})))|({_BASE})|{_OTHER}"
)
_REGIONS = re.compile(r"^(us|us-gov|eu|apac|jp|au|ca|sa|global)\.(?=[a-z])")
_FAMILIES = {
    "anthropic": re.compile(r"anthropic\.claude-[a-z0-9.:-]+"),
    "nova": re.compile(r"amazon\.nova-[a-z0-9.:-]+"),
    "llama": re.compile(r"meta\.llama[a-z0-9.:-]+"),
    "mistral": re.compile(r"mistral\.[a-z0-9.:-]+"),
}
_READERS: Mapping[str, Callable[[Ask, Target], Prompt]] = {
    "nova": native.nova,
    "llama": native.llama,
    "mistral": native.mistral,
}
_ERRORS = {Fate.permanent, Fate.transient}


class Models:
    """Answers requests; every answer is a function of the prompt and the world's dice."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._claude = Claude(world)

    def target(self, model_id: str) -> Target | None:
        """The model that an id, a profile or an ARN means; None for one that is not offered."""
        name = model_id.rpartition(":custom-model/")[2].partition("/")[0] if ":custom-model/" in model_id else model_id
        name = name.rpartition("/")[2]
        base = _REGIONS.sub("", self._world.settings.bedrock.profiles.get(name, name))
        family = next((one for one, pattern in _FAMILIES.items() if pattern.fullmatch(base)), None)
        return None if family is None else Target(base, family)

    def serve(self, target: Target, body: bytes, *, chat: bool, batch: bool, forced: Fate | None = None) -> Answer:
        """Answer one body: a Converse one when `chat`, else one of the model's family. `forced` overrules the dice."""
        try:
            if target.family == "anthropic" and not chat:
                return claude.serve(self._claude, target, body, forced)
            ask = object_of(body)
            prompt = self._converse(ask, target, batch=batch) if chat else _READERS[target.family](ask, target)
        except Objection as wrong:
            return Answer(400, str(wrong))
        return self._answered(prompt, forced)

    def _converse(self, ask: Ask, target: Target, *, batch: bool) -> Prompt:
        settings = self._world.settings.bedrock
        if batch and "toolConfig" in ask and not settings.tools_in_converse:
            raise Objection("toolConfig: tool use is not supported by batch inference with Converse")
        return converse.read(ask, target, structured=target.family in settings.structured)

    def _answered(self, prompt: Prompt, forced: Fate | None) -> Answer:
        digest = digest_of(prompt.parts)
        fate = self._world.dice.fate(digest, prompt.limit) if forced is None else forced
        if fate in _ERRORS:
            status, message = failure(fate, digest)
            return Answer(status, message, digest=digest, struck=fate is Fate.transient)
        spoken = speak(prompt.make, digest, fate, prompt.limit)
        spent = tokens_of(prompt.parts)
        return Answer(200, "", prompt.render(digest, spoken, spent), digest, spent, spoken.tokens)


def failure(fate: Fate, digest: bytes) -> tuple[int, str]:
    """Status and message of a record, or of a call, that fails."""
    if fate is Fate.permanent:
        return 400, "The model could not process the input."
    kinds = (
        (429, "Too many requests, please wait before trying again."),
        (500, "The system encountered an unexpected error during processing. Try your request again."),
        (503, "The service is temporarily unavailable."),
    )
    return kinds[digest[4] % len(kinds)]
