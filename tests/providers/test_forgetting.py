"""The contract, forgetting: what the provider keeps of a batch is deleted, and what is gone already is no error."""

from typing import Any

import pytest

from providers.contract import Unavailable
from providers.emulator import RequestRecord
from tests.providers.bench import BASES, Bench
from tests.providers.kit import CASES, OPENAI_LIKE, SENT

pytestmark = pytest.mark.contract("forgotten when asked")

openai_only = pytest.mark.parametrize("case", CASES[:1], ids="-".join)


@pytest.fixture(params=SENT, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    chosen: tuple[str, str] = request.param
    return chosen


def delete_route(bench: Bench) -> str:
    return f"DELETE {bench.shelf}/*" if bench.name in BASES else bench.batch_route("DELETE")


def is_read(request: RequestRecord) -> bool:
    return request.path.endswith("/content")


def is_deleted(request: RequestRecord) -> bool:
    return request.method == "DELETE"


def test_what_is_forgotten_cannot_be_fetched_any_more(bench: Bench) -> None:
    ref = bench.finished()
    assert len(bench.lines(ref)) == 5
    bench.provider.forget(ref, "")
    with pytest.raises(Exception, match=r"deleted|unknown|gone"):
        bench.files(ref)


@openai_only
def test_openais_input_output_and_error_files_all_go(bench: Bench) -> None:
    """PROVIDERS §1.1: there is no batch delete, so every file is named (PROVIDERS §1.9)."""
    shard = bench.shard()
    staged = bench.provider.stage(shard)
    bench.fault("expire")
    ref = bench.provider.create(shard, staged, bench.tag())
    bench.emulator.advance(200_000)
    assert set(bench.files(ref)) == {"output", "error"}
    bench.provider.forget(ref, staged)
    read, deleted = ({one.path.split("/")[3] for one in bench.requests if fits(one)} for fits in (is_read, is_deleted))
    assert deleted == read | {staged}
    assert len(deleted) == 3


@pytest.mark.parametrize("case", OPENAI_LIKE, ids="-".join)
def test_a_staged_file_that_was_never_bought_from_goes(bench: Bench) -> None:
    staged = bench.provider.stage(bench.shard())
    bench.provider.forget("", staged)
    with pytest.raises(Unavailable, match="not ready"):
        bench.provider._seen(staged)  # type: ignore[attr-defined]


def test_forgetting_twice_is_no_error(bench: Bench) -> None:
    ref = bench.finished()
    bench.provider.forget(ref, "")
    bench.provider.forget(ref, "")


def test_forgetting_what_never_existed_is_no_error(bench: Bench) -> None:
    bench.provider.forget("msgbatch_none" if bench.name == "anthropic" else "batch_none", "")
    bench.provider.forget("", "")


def test_a_batch_that_has_not_ended_is_not_forgotten(bench: Bench) -> None:
    """PROVIDERS §2.1: Anthropic deletes only after the end; OpenAI would lose the results on their way."""
    ref = bench.buy()
    with pytest.raises(Unavailable, match="has not ended"):
        bench.provider.forget(ref, "")
    bench.emulator.advance(700)
    assert bench.outcomes(ref) == ["succeeded"] * 5


@pytest.mark.parametrize("how", [{"action": "status", "status": 503}, {"action": "drop_before"}])
def test_a_deletion_that_fails_in_passing_is_tried_again(bench: Bench, how: dict[str, Any]) -> None:
    ref = bench.finished()
    bench.fault(route=delete_route(bench), **how)
    bench.provider.forget(ref, "")
    with pytest.raises(Exception, match=r"deleted|unknown|gone"):
        bench.files(ref)


def test_one_404_is_not_taken_for_a_deletion(bench: Bench) -> None:
    """PROVIDERS §2.9"""
    ref = bench.finished()
    bench.fault("not_found", delete_route(bench))
    with pytest.raises(Unavailable):
        bench.provider.forget(ref, "")
    assert len(bench.lines(ref)) == 5


@pytest.mark.parametrize(("status", "kind"), [(401, "blocked"), (500, "later")])
def test_a_deletion_that_is_refused_is_an_error(bench: Bench, status: int, kind: str) -> None:
    ref = bench.finished()
    bench.fault("status", delete_route(bench), status=status, times=0)
    with pytest.raises(Unavailable) as caught:
        bench.provider.forget(ref, "")
    assert caught.value.kind == kind


def test_a_gateways_page_is_no_deletion(bench: Bench) -> None:
    ref = bench.finished()
    bench.fault("status", delete_route(bench), status=200, body="<html>fine</html>", times=0)
    with pytest.raises(Unavailable):
        bench.provider.forget(ref, "")
