-- Open deals at high or critical risk, critical and valuable ones first: why, and what to do about each.
-- deal_id: The deal in the CRM.
-- deal_name: Name of the deal in the CRM.
-- account: The customer's name.
-- owner: Salesperson who owns the deal.
-- manager: The owner's manager.
-- stage: Stage in the CRM, as it was when the deal was sent.
-- deal_value: The amount in the CRM or, while it is unknown, the product's list price.
-- currency: Currency of the value.
-- risk_level: high or critical.
-- close_probability: Chance in percent that the deal is won.
-- risk_signals: Kinds of risk found.
-- risk_evidence: What was written, done or left undone, for each signal.
-- deal_health_summary: Where the deal stands, why, and what decides it.
-- recommended_next_action: The one thing the owner should do next.
-- recommended_intervention: What somebody above or beside the owner should do; null if nothing is needed.
-- confidence_level: How far the correspondence supports the assessment.
-- last_contact_on: Date of the newest message.
-- days_since_contact: Days from the newest message to the day of the query.
SELECT
    deal_id,
    deal_name,
    account,
    owner,
    manager,
    stage,
    coalesce(nullif(amount, 0), list_price) AS deal_value,
    currency,
    risk_level,
    close_probability,
    risk_signals,
    risk_evidence,
    deal_health_summary,
    recommended_next_action,
    recommended_intervention,
    confidence_level,
    last_contact_on,
    date_diff('day', last_contact_on, current_date) AS days_since_contact
FROM deal_intelligence
WHERE is_open AND risk_level IN ('high', 'critical')
ORDER BY risk_level, deal_value DESC NULLS LAST, deal_id
