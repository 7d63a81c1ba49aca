-- One row per shard of {rows}, fragments of stage {stage}: what its fragment holds.
-- An asset that failed in an earlier stage counts there; this one only repeats it. Rows from before the column
-- failed_in say so in their message.
SELECT
    {stage} AS stage,
    shard,
    any_value(coalesce(made_from, CASE WHEN {stage} LIKE 'tokens/%' THEN 'views' END)) AS made_from,
    any_value(input) AS input,
    any_value(fragment) AS fragment,
    any_value(spec) AS spec,
    count(*) FILTER (status = 'ok') AS ok,
    count(*) FILTER (status = 'failed' AND NOT repeated) AS failed,
    coalesce(sum({views}) FILTER (status = 'ok'), 0)::BIGINT AS views,
    coalesce(sum(cpu_seconds), 0.0) AS cpu_seconds,
    max(finished_at) FILTER (NOT repeated) AS finished_at
FROM (
    SELECT *, coalesce(failed_in <> {stage}, starts_with(message, 'has no views'), false) AS repeated FROM {rows}
)
GROUP BY ALL
