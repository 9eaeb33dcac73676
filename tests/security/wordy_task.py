"""The small task, whose own code stumbles over an item and says what it held."""

from dataclasses import replace

from batchjobs.tasks import Rendered
from tests import small_task


class Stumbled(Exception):
    pass


def render(document: small_task.Document, room_bytes: int) -> Rendered:
    secret = document.text
    raise Stumbled(f"cannot render {secret}")


TASK = replace(small_task.TASK, render=render)
