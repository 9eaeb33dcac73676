"""What a good answer about a deal looks like; the descriptions instruct the model and label the analysts' columns."""

from typing import Annotated, Literal

from pydantic import Field

from batchjobs.answers import Answer, Listed, Once, Percent, Texts, Whole, spelled

RiskLevel = Literal["low", "medium", "high", "critical"]
ChampionStrength = Literal["none", "weak", "moderate", "strong"]
EngagementQuality = Literal["none", "low", "medium", "high"]
ConfidenceLevel = Literal["low", "medium", "high"]
RiskSignal = Literal[
    "single_threaded",
    "no_decision_maker",
    "champion_lost",
    "gone_silent",
    "competitor",
    "budget",
    "price",
    "timeline_slip",
    "no_urgency",
    "procurement_or_legal",
    "security_or_compliance",
    "technical_fit",
    "reorganisation",
    "dissatisfied",
    "other",
]


class DealAssessment(Answer):
    """An assessment of one sales opportunity, drawn from its CRM facts and correspondence alone."""

    # Observations come before the judgements that rest on them: a model writes its answer in this order.
    pain_points_identified: Texts = Field(
        description="Problems the customer says they have, in their words, each with its cost if they gave one."
    )
    buying_signals: Texts = Field(
        description="What the customer did or said that moves towards a purchase, each with who and when."
    )
    objections_raised: Texts = Field(
        description="Reservations the customer voiced about us, our price or the project; say if one was resolved."
    )
    competitors_mentioned: Texts = Field(
        description="Rival vendors or products the customer considers, and 'in-house build' if they weigh that."
    )
    decision_maker_engaged: bool = Field(
        description="Whether someone who can approve the purchase takes part in the correspondence, not just by name."
    )
    champion_strength: Annotated[ChampionStrength, spelled(ChampionStrength)] = Field(
        description="How strongly a person at the customer sells for us inside: none, weak, moderate or strong."
    )
    engagement_quality: Annotated[EngagementQuality, spelled(EngagementQuality)] = Field(
        description="How much the customer takes part: none (no word from them), low, medium or high."
    )
    qualification_gaps: Texts = Field(
        description="What is still unknown about budget, authority, need or timeline, each as the question to ask next."
    )
    qualification_score: Percent = Field(
        description="BANT, 0 to 100: up to 25 points each for budget, authority, need and timeline, by evidence."
    )
    risk_evidence: Annotated[list[str], Listed] = Field(
        description="One line for each risk signal: the date and what was written, done or left undone."
    )
    risk_signals: Annotated[list[Annotated[RiskSignal, spelled(RiskSignal)]], Once, Listed] = Field(
        description="Kinds of risk the evidence shows; deals with the same kinds form clusters. Empty if none."
    )
    risk_level: Annotated[RiskLevel, spelled(RiskLevel)] = Field(
        description="How likely the deal is lost or slips unless somebody acts: low, medium, high or critical."
    )
    close_probability: Percent = Field(
        description="Chance in percent that the deal is won; 100 for a won deal, 0 for a lost one."
    )
    days_to_close_estimate: Annotated[Annotated[int, Field(ge=0)] | None, Whole] = Field(
        description="Days from the last contact to a signature; null if closed, or if nothing written supports a date."
    )
    confidence_level: Annotated[ConfidenceLevel, spelled(ConfidenceLevel)] = Field(
        description="How far the correspondence supports this assessment; low whenever there is little or none."
    )
    deal_health_summary: str = Field(
        description="Two or three sentences for the pipeline meeting: where the deal stands, why, and what decides it."
    )
    recommended_next_action: str = Field(
        description="The one thing the owner should do next, with whom, about what, and by when."
    )
    recommended_intervention: str | None = Field(
        description="What the manager or another department should do that the owner cannot; null if nothing is needed."
    )
