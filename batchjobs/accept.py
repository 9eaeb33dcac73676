"""Accepting jobs one after the other, so that no two machines pack the same items and both buy them.

    last number n ─► every job up to n is known ─► pack ─► draft ─► accepted/<n+1> ─► plan.json
                            ▲                                        │ taken by another machine
                            └────────────────────────────────────────┘

A number is taken once, so a job is accepted only if nobody was since its items were compared with what is bought.
Whoever reads the last number puts the plan of its job in place, should its writer have died before it could.
"""

from datetime import datetime

import msgspec

from batchjobs.desk import Desk
from batchjobs.plan import Plan, dump
from storage.content import intact, is_sealed, sealed, sha8
from storage.contract import Conflict, Damaged, Missing, ObjectStore
from storage.layout import accepted_key, accepted_prefix, draft_key, plan_key


class Acceptance(msgspec.Struct, frozen=True):
    """One place in the order of all jobs of a store; `nonce` makes it its writer's own."""

    job: str
    draft: str
    at: datetime
    by: str
    nonce: str


_decoder = msgspec.json.Decoder(Acceptance)


def last_accepted(desk: Desk) -> int:
    """How many jobs were accepted so far; the last one's plan is in place afterwards. Raises Damaged."""
    keys = list(desk.store.keys(accepted_prefix()))
    if keys and keys[-1] != accepted_key(len(keys)):
        raise Damaged(f"{accepted_prefix()} holds {len(keys)} records and ends with {keys[-1]}: restore the lost ones.")
    if keys:
        _put_in_place(desk, _read(desk.store, keys[-1]))
    return len(keys)


def accept(desk: Desk, plan: Plan, after: int) -> bool:
    """Accept a job as number `after` + 1: durable when True, and of no effect when another job took the number."""
    data = dump(plan)
    draft = draft_key(plan.job, sha8(data))
    desk.store.create(draft, data)
    acceptance = Acceptance(plan.job, draft, desk.env.now(), desk.env.by, desk.env.new_id())
    try:
        desk.store.create(accepted_key(after + 1), sealed(msgspec.json.encode(acceptance)))
    except Conflict:
        return False
    _put_in_place(desk, acceptance)
    return True


def order_faults(store: ObjectStore) -> list[str]:
    """What is wrong with the order of acceptances, in sentences: for `verify`."""
    faults: list[str] = []
    keys = list(store.keys(accepted_prefix()))
    for number, key in enumerate(keys, start=1):
        if key != accepted_key(number):
            return [*faults, f"{accepted_key(number)} is gone: {key} stands in its place; restore it."]
        try:
            acceptance = _read(store, key)
        except Damaged as error:
            faults.append(str(error))
            continue
        try:
            with intact(store, acceptance.draft):
                pass
        except (Damaged, Missing) as error:
            faults.append(str(error))
        if number < len(keys) and not _exists(store, plan_key(acceptance.job)):  # the last may still be on its way
            faults.append(f"{plan_key(acceptance.job)} is gone: its job was accepted as number {number}; restore it.")
    return faults


def _put_in_place(desk: Desk, acceptance: Acceptance) -> None:
    key = plan_key(acceptance.job)
    if not _exists(desk.store, key):
        desk.store.create(key, desk.store.read(acceptance.draft))


def _exists(store: ObjectStore, key: str) -> bool:
    return next(iter(store.keys(key)), None) is not None


def _read(store: ObjectStore, key: str) -> Acceptance:
    data = store.read(key)
    if not is_sealed(data):
        raise Damaged(f"{key} is not what was written: its checksum does not fit; restore the object.")
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise Damaged(f"{key} cannot be read ({error}): restore the object.") from None
