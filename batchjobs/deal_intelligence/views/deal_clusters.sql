-- Deals that share a risk signal, or two: a problem of many deals is solved once, by whoever owns the cause. Without 'other'.
-- signals: The shared kind of risk, or the two of them.
-- deals: Deals that show it, at least two, open and closed.
-- open_deals: Those still open.
-- open_value: Amounts of the open ones in the CRM or, where unknown, list prices. Added up across currencies as they are.
-- average_close_probability: Mean chance in percent that the open ones are won.
-- deal_ids: The deals, open ones first, each group by value.
WITH deals AS (
    SELECT
        deal_id,
        is_open,
        close_probability,
        coalesce(nullif(amount, 0), list_price) AS deal_value,
        unnest(list_distinct(risk_signals)) AS signal
    FROM deal_intelligence
),
shared AS (
    SELECT [signal] AS signals, deal_id, is_open, close_probability, deal_value
    FROM deals
    WHERE signal <> 'other'
    UNION ALL
    SELECT [one.signal, two.signal] AS signals, one.deal_id, one.is_open, one.close_probability, one.deal_value
    FROM deals AS one
    JOIN deals AS two ON two.deal_id = one.deal_id AND two.signal > one.signal
    WHERE one.signal <> 'other' AND two.signal <> 'other'
)
SELECT
    signals,
    count(*) AS deals,
    count(*) FILTER (WHERE is_open) AS open_deals,
    coalesce(sum(deal_value) FILTER (WHERE is_open), 0) AS open_value,
    round(avg(close_probability) FILTER (WHERE is_open), 1) AS average_close_probability,
    list(deal_id ORDER BY is_open DESC, deal_value DESC NULLS LAST, deal_id) AS deal_ids
FROM shared
GROUP BY signals
HAVING count(*) > 1
ORDER BY open_value DESC, deals DESC, signals
