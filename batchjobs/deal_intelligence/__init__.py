"""The built-in task: an assessment of every sales deal from its CRM facts and its correspondence."""

from importlib.resources import files

from batchjobs.deal_intelligence.assessment import DealAssessment
from batchjobs.deal_intelligence.deal import Deal
from batchjobs.deal_intelligence.prompt import SUMMARY_FIELDS, SYSTEM, render
from batchjobs.tasks import Task

__all__ = ["TASK", "Deal", "DealAssessment", "render"]


def _view(name: str) -> str:
    return files(__package__).joinpath("views", f"{name}.sql").read_text(encoding="utf-8")


TASK = Task(
    name="deal-intelligence",
    version="1",  # one higher with every change of system.md, prompt.py or the meaning of a result field
    item=Deal,
    result=DealAssessment,
    item_id=lambda deal: deal.deal_id,
    render=render,
    max_output_tokens=4096,  # an answer takes 700 to 1,200; models that think first count that as output too
    id_column="deal_id",
    summary_fields=SUMMARY_FIELDS,
    views={name: _view(name) for name in ("deals_at_risk", "deal_priorities", "deal_clusters")},
    models={"openai": "gpt-5.4-mini", "anthropic": "claude-haiku-4-5"},
    prompt_text=SYSTEM,
)
