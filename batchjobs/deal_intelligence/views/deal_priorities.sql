-- Open deals in the order in which attention pays: expected value times how urgently the deal needs somebody.
-- priority: 1 is the deal to look at first.
-- priority_score: deal_value x close_probability / 100 x urgency (low 1, medium 2, high 3, critical 4); null without a value.
-- deal_value: The amount in the CRM or, while it is unknown, the product's list price. Compared across currencies as it is.
WITH scored AS (
    SELECT
        *,
        coalesce(nullif(amount, 0), list_price) AS deal_value,
        CASE risk_level WHEN 'low' THEN 1 WHEN 'medium' THEN 2 WHEN 'high' THEN 3 WHEN 'critical' THEN 4 END AS urgency,
        round(deal_value * close_probability / 100 * urgency, 2) AS priority_score
    FROM deal_intelligence
    WHERE is_open
)
SELECT
    row_number() OVER (
        ORDER BY priority_score DESC NULLS LAST, close_probability * urgency DESC NULLS LAST, deal_id
    ) AS priority,
    priority_score,
    deal_id,
    deal_name,
    account,
    owner,
    deal_value,
    currency,
    close_probability,
    risk_level,
    days_to_close_estimate,
    recommended_next_action,
    recommended_intervention,
    confidence_level
FROM scored
ORDER BY priority
