SELECT {views_stage} AS stage, uid, error, message, source, format, uri, shard, row, attempts, log, finished_at
FROM asset_rows
WHERE status = 'failed'
