-- One row per asset and stage of a kind: tokens, or whatever stages of your own make.
CREATE OR REPLACE VIEW {kind} AS
SELECT r.uid, r.{name},{more} r.status, c.shard IS NULL AS stale, r.* EXCLUDE (uid, {name}, status, failed_in, made_from)
FROM {rows} r
LEFT JOIN current_fragments c ON c.shard = r.shard AND c.stage = {prefix} || r.{name}
