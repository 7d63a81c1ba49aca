-- What failed in the stages of a kind; what had failed before them is told there.
SELECT {prefix} || t.{name} AS stage, t.uid, t.error, t.message, a.source, a.format, a.uri, t.shard, t.row, t.attempts,
    t.log, t.finished_at
FROM {rows} t
SEMI JOIN current_fragments c ON c.shard = t.shard AND c.stage = {prefix} || t.{name}
JOIN asset_rows a ON a.shard = t.shard AND a.row = t.row
WHERE t.status = 'failed' AND coalesce(t.failed_in = {prefix} || t.{name}, a.status = 'ok')
