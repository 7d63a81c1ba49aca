-- One row a shard of {rows}, fragments of stage {stage}: what its fragment holds.
-- An asset that has no views failed in the views stage; the tokens stage only repeats it.
SELECT
    {stage} AS stage,
    shard,
    any_value(input) AS input,
    any_value(fragment) AS fragment,
    any_value({spec}) AS spec,
    count(*) FILTER (status = 'ok') AS ok,
    count(*) FILTER (status = 'failed' AND NOT repeated) AS failed,
    coalesce(sum(num_views) FILTER (status = 'ok'), 0)::BIGINT AS views,
    coalesce(sum(cpu_seconds), 0.0) AS cpu_seconds,
    max(finished_at) FILTER (NOT repeated) AS finished_at
FROM (SELECT *, coalesce(starts_with(message, 'has no views'), false) AS repeated FROM {rows})
GROUP BY ALL
