-- Open deals at high or critical risk, critical and valuable ones first: why, and what to do about each.
-- deal_value: The amount in the CRM or, while it is unknown, the product's list price.
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
