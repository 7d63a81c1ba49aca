-- One row per asset: the plan, and what its current fragment of a view set says of it.
-- A fragment that was made from another plan of its shard is stale: its assets count as not rendered.
SELECT
    p.uid,
    coalesce(v.status, p.status) AS status,
    coalesce(f.input <> p.shard_input || {views_input}, false) AS stale,
    v.error,
    v.message,
    p.* EXCLUDE (uid, status),
    v.* EXCLUDE (uid, shard, row, status, error, message, failed_in, made_from, spec, up, "offset"),
    v.up AS used_up,
    v."offset" AS shift
FROM {plan} p
LEFT JOIN {rows} v ON v.shard = p.shard AND v.row = p.row AND v.input = p.shard_input || {views_input}
LEFT JOIN (SELECT DISTINCT shard, input FROM {rows}) f ON f.shard = p.shard
