"""The views every results store has: where items stand, what jobs did, what was spent, what is dead."""

from storage.views import View

_ITEM_STATES = View(
    "item_states",
    """
SELECT items.job_id, items.item_id, items.request_key, items.how, CASE
    WHEN items.how = 'reused' OR items.request_key IN (SELECT request_key FROM results) THEN 'succeeded'
    WHEN items.request_key IN (
        SELECT request_key FROM requests
        SEMI JOIN (SELECT job_id, shard_id FROM shards WHERE "open") AS open_shards USING (job_id, shard_id)
    ) THEN 'in_flight'
    ELSE 'failed' END AS state
FROM items
""",
    "Where every item of every job stands now.",
    {
        "job_id": "The job.",
        "item_id": "The item's own id, as in the input.",
        "request_key": "SHA-256 over everything that can change the answer; equal keys are bought once.",
        "how": "new: bought by this job. shared: bought for another item of this job. reused: answered by an earlier "
        "job. in_flight: being bought by another job.",
        "state": "succeeded: has an accepted answer. in_flight: an open shard may still bring one. failed: neither.",
    },
)

_JOB_PROGRESS = View(
    "job_progress",
    """
WITH answered AS (
    SELECT job_id, count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE state = 'failed') AS failed
    FROM item_states GROUP BY job_id),
sent AS (
    SELECT job_id, histogram(state) AS shards, max(greatest(sent_at, ended_at, settled_at)) AS changed_at
    FROM shards GROUP BY job_id),
paid AS (
    SELECT job_id, count(*) AS attempts, count(*) FILTER (WHERE repaired) AS repaired, sum(cost_usd) AS cost_usd,
        sum(sync_cost_usd - cost_usd) AS saved_usd
    FROM attempts GROUP BY job_id)
SELECT jobs.job_id, jobs.task, jobs.provider, jobs.model, jobs.state, jobs.items,
    coalesce(answered.succeeded, 0) AS succeeded, coalesce(answered.failed, 0) AS failed,
    jobs.items - coalesce(answered.succeeded, 0) - coalesce(answered.failed, 0) AS in_flight,
    jobs.rejected, jobs.duplicates, jobs.reused, jobs.requests, sent.shards,
    coalesce(paid.attempts, 0) AS attempts, coalesce(paid.repaired, 0) AS repaired,
    CAST(jobs.estimated_cost_usd AS DECIMAL(18, 9)) AS estimated_cost_usd,
    CAST(coalesce(paid.cost_usd, 0) AS DECIMAL(18, 9)) AS cost_usd,
    CAST(coalesce(paid.saved_usd, 0) AS DECIMAL(18, 9)) AS saved_usd,
    CASE WHEN jobs.items = 0 THEN 100.0
        ELSE round(100.0 * (coalesce(answered.succeeded, 0) + coalesce(answered.failed, 0)) / jobs.items, 1)
        END AS percent,
    jobs.created_at AS started_at, coalesce(sent.changed_at, jobs.created_at) AS changed_at
FROM jobs LEFT JOIN answered USING (job_id) LEFT JOIN sent USING (job_id) LEFT JOIN paid USING (job_id)
""",
    "One row per job: what is done, what failed, what is in flight, what it cost. Times are UTC, money is US dollars.",
    {
        "job_id": "The job.",
        "task": "What was asked of each item.",
        "provider": "Whose batch endpoint was used.",
        "model": "The model that was asked.",
        "state": "The job's state when the pipeline last looked.",
        "items": "Items accepted: succeeded + failed + in_flight, always.",
        "succeeded": "Items with an accepted answer, their own or one they share.",
        "failed": "Items without an answer that nothing in flight can still bring; see dead_letters.",
        "in_flight": "Items whose answer may still come.",
        "rejected": "Input lines that became no item; see the table rejects.",
        "duplicates": "Input lines that repeat the id of an earlier item of the job.",
        "reused": "Items answered by an earlier job and not bought again.",
        "requests": "Requests of the first attempt, bought by this job.",
        "shards": "How many shards are in which state, retries included.",
        "attempts": "Outcomes so far, each time a request was bought.",
        "repaired": "Answers among them that were no plain JSON, and fit once they were read as meant.",
        "estimated_cost_usd": "The estimate before anything was bought.",
        "cost_usd": "Batch price of every outcome so far, usable or not.",
        "saved_usd": "What synchronous calls would have cost more for the same tokens.",
        "percent": "Share of items that succeeded or failed, in percent.",
        "started_at": "When the job was planned, UTC.",
        "changed_at": "When a shard of the job last was sent, ended or settled, UTC.",
    },
)

_SPEND = View(
    "spend",
    """
SELECT CAST(coalesce(shards.ended_at, shards.settled_at, shards.sent_at, jobs.created_at) AS DATE) AS "day",
    jobs.model, jobs.task, jobs.provider, count(*) AS requests,
    count(*) FILTER (WHERE attempts.outcome = 'succeeded') AS succeeded,
    CAST(sum(attempts.input_tokens) AS BIGINT) AS input_tokens,
    CAST(sum(attempts.output_tokens) AS BIGINT) AS output_tokens,
    CAST(sum(attempts.cache_read_tokens) AS BIGINT) AS cache_read_tokens,
    CAST(sum(attempts.cache_write_tokens) AS BIGINT) AS cache_write_tokens,
    CAST(sum(attempts.cost_usd) AS DECIMAL(18, 9)) AS cost_usd,
    CAST(sum(attempts.sync_cost_usd) AS DECIMAL(18, 9)) AS sync_cost_usd,
    CAST(sum(attempts.sync_cost_usd - attempts.cost_usd) AS DECIMAL(18, 9)) AS saved_usd,
    CAST(coalesce(sum(attempts.cost_usd) FILTER (WHERE attempts.outcome <> 'succeeded'), 0) AS DECIMAL(18, 9))
        AS unusable_cost_usd
FROM attempts JOIN shards USING (job_id, shard_id) JOIN jobs USING (job_id)
GROUP BY ALL
""",
    "What was spent and saved, by day, model, task and provider. Days are UTC, money is US dollars.",
    {
        "day": "The UTC day on which the batch ended.",
        "model": "The model that was asked.",
        "task": "What was asked of each item.",
        "provider": "Whose batch endpoint was used.",
        "requests": "Outcomes, each time a request was bought.",
        "succeeded": "Outcomes that were usable answers.",
        "input_tokens": "Billed input tokens, cached ones included.",
        "output_tokens": "Billed output tokens.",
        "cache_read_tokens": "The part of the input that was read from the provider's prompt cache.",
        "cache_write_tokens": "The part of the input that was written to the provider's prompt cache.",
        "cost_usd": "What the batches cost.",
        "sync_cost_usd": "What synchronous calls would have cost for the same tokens.",
        "saved_usd": "The difference.",
        "unusable_cost_usd": "The part of cost_usd that bought no usable answer: truncated, refused, invalid, failed.",
    },
)

_DEAD_LETTERS = View(
    "dead_letters",
    """
WITH tries AS (
    SELECT dead.job_id, dead.item_id, dead.request_key, requests.job_id AS bought_by,
        requests.shard_id, shards.attempt,
        attempts.outcome, attempts.code, coalesce(attempts.message, shards.detail) AS message,
        attempts.raw_key, attempts.raw_line,
        (requests.job_id = dead.job_id, bought.created_at, shards.attempt, requests.shard_id) AS recency
    FROM (SELECT job_id, item_id, request_key FROM item_states WHERE state = 'failed') AS dead
    LEFT JOIN requests ON requests.request_key = dead.request_key
    LEFT JOIN shards ON shards.job_id = requests.job_id AND shards.shard_id = requests.shard_id
    LEFT JOIN jobs AS bought ON bought.job_id = requests.job_id
    LEFT JOIN attempts ON attempts.job_id = requests.job_id AND attempts.shard_id = requests.shard_id
        AND attempts.request_key = requests.request_key),
lasts AS (
    SELECT job_id, item_id, request_key, count(outcome) AS attempts,
        list(concat_ws(': ', coalesce(outcome, 'not_bought'), nullif(code, ''), nullif(message, '')) ORDER BY recency)
            FILTER (WHERE shard_id IS NOT NULL) AS messages,
        arg_max(
            struct_pack(bought_by, shard_id, attempt, outcome, code, message, raw_key, raw_line),
            (outcome IS NOT NULL, recency)) AS latest
    FROM tries GROUP BY job_id, item_id, request_key)
SELECT lasts.job_id, jobs.task, lasts.item_id, lasts.request_key,
    coalesce(latest.outcome, 'not_bought') AS reason, latest.code AS code, latest.message AS message,
    lasts.attempts, coalesce(lasts.messages, []) AS messages,
    latest.bought_by AS bought_by, latest.shard_id AS shard_id, latest.attempt AS attempt,
    latest.raw_key AS raw_key, latest.raw_line AS raw_line,
    'batchjobs retry ' || coalesce(latest.bought_by, lasts.job_id) AS retry
FROM lasts JOIN jobs ON jobs.job_id = lasts.job_id
""",
    "Items without a result and with nothing in flight, each after its last attempt.",
    {
        "job_id": "The job.",
        "task": "What was asked of the item.",
        "item_id": "The item's own id, as in the input.",
        "request_key": "SHA-256 over everything that can change the answer.",
        "reason": "How the last attempt ended: truncated, refused, invalid, failed, errored, expired, cancelled, "
        "missing, or not_bought.",
        "code": "The provider's or the validator's error code.",
        "message": "What the provider or the validator said last.",
        "attempts": "How many times the request was bought, by whichever job.",
        "messages": "Every attempt in a few words, the oldest first.",
        "bought_by": "The job of the last attempt; an earlier one where the item waited for its answer.",
        "shard_id": "The shard of the last attempt.",
        "attempt": "The number of the last attempt.",
        "raw_key": "The stored object that holds the provider's own bytes of the last attempt.",
        "raw_line": "The line in that object.",
        "retry": "The command that buys this and the other dead letters of its job once more.",
    },
)


def general_views() -> tuple[View, ...]:
    """The views every results store has, in the order in which they build on each other."""
    return (_ITEM_STATES, _JOB_PROGRESS, _SPEND, _DEAD_LETTERS)
