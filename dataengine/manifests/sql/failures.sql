SELECT CASE view_set {stages} END AS stage, uid, error, message, source, format, uri, shard, row, attempts, log, finished_at
FROM renders
WHERE status = 'failed'
