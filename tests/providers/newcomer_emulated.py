"""The same provider from the other side of the wire: its one module in the emulator."""

import json
from dataclasses import dataclass, field
from typing import Any

from providers.emulator.batches import Batch
from providers.emulator.faults import Fault
from providers.emulator.wire import Call, Problem, Reply, Route
from providers.emulator.world import Charge, World

VARIABLES = {"NEWCOMER_URL": "{url}", "NEWCOMER_KEY": "{key}"}


@dataclass
class _Order:
    tag: str
    lines: list[dict[str, Any]]
    ends: float


@dataclass
class Newcomer:
    world: World
    name: str = "newcomer"
    orders: dict[str, _Order] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/newcomer/batches", self._create),
            Route("GET", "/newcomer/batches", self._list),
            Route("GET", "/newcomer/batches/{}", self._look),
            Route("GET", "/newcomer/batches/{}/results", self._results),
        ]

    def claims(self, call: Call) -> bool:
        return call.path.startswith("/newcomer/")

    def check(self, call: Call) -> Reply | None:
        return None if call.headers.get("key") else self.sorry(401, Fault(action="status"))

    def sorry(self, status: int, fault: Fault) -> Reply:
        return Reply(status, {"error": fault.code or "sorry"})

    def not_found(self, _call: Call) -> Reply:
        return Reply(404, {"error": "unknown"})

    def headers(self) -> dict[str, str]:
        return {}

    def batches(self) -> list[Batch]:
        return []

    def word(self, *_: Any) -> str:
        raise LookupError

    def _create(self, call: Call) -> Reply:
        asked = [json.loads(line) for line in call.body.read().splitlines()]
        ref = self.world.new_id()
        ends = self.world.clock.now() + self.world.settings.batch_seconds
        self.orders[ref] = _Order(call.query_string, asked, ends)
        for one in asked:
            self.world.charge(Charge(self.name, ref, {}, one["custom_id"], json.dumps(one["ask"]), 5, 5))
        return Reply(document={"id": ref})

    def _list(self, _call: Call) -> Reply:
        return Reply(document={"batches": [{"id": ref, "tag": one.tag} for ref, one in self.orders.items()]})

    def _look(self, call: Call) -> Reply:
        order = self._order(call)
        done = self.world.clock.now() >= order.ends
        total = len(order.lines)
        return Reply(document={"word": "done" if done else "busy", "total": total, "done": total if done else 0})

    def _results(self, call: Call) -> Reply:
        answer = json.dumps({"label": "new", "score": 7})
        asked = self._order(call).lines
        return Reply(document=[{"custom_id": one["custom_id"], "answer": answer, "tokens": 5} for one in asked])

    def _order(self, call: Call) -> _Order:
        if call.args[0] not in self.orders:
            raise Problem(self.not_found(call))
        return self.orders[call.args[0]]
