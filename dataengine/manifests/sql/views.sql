-- What queries see, over asset_rows, token_rows, fragment_rows and shard_rows (catalog.py makes those).

CREATE OR REPLACE VIEW assets AS SELECT * FROM asset_rows;

CREATE OR REPLACE VIEW views AS
SELECT
    uid,
    view,
    shard,
    row,
    source,
    licence,
    split,
    resolution,
    coverage[view + 1] AS coverage,
    clipped[view + 1] AS clipped,
    luminance_mean[view + 1] AS luminance_mean,
    luminance_spread[view + 1] AS luminance_spread,
    depth_coverage[view + 1] AS depth_coverage,
    view_depth_error[view + 1] AS depth_error,
    tar,
    rgba."offset" AS rgba_offset,
    rgba.size AS rgba_size,
    depth."offset" AS depth_offset,
    depth.size AS depth_size
FROM (
    SELECT
        *,
        list_filter(members, lambda m: m.name = stem || '.rgba.png')[1] AS rgba,
        list_filter(members, lambda m: m.name = stem || '.depth.png')[1] AS depth
    FROM (
        SELECT *, lpad(view::VARCHAR, greatest(2, length((num_views - 1)::VARCHAR))::INTEGER, '0') AS stem
        FROM (SELECT *, unnest(range(num_views)) AS view FROM asset_rows WHERE status = 'ok')
    )
);

CREATE OR REPLACE VIEW current_views AS
SELECT f.shard, f.fragment
FROM fragment_rows f
JOIN shard_rows s ON s.shard = f.shard AND s.shard_input = f.input
WHERE f.stage = 'views';

CREATE OR REPLACE VIEW tokens AS
SELECT
    t.uid,
    t.tokenizer,
    t.status,
    t.input IS DISTINCT FROM c.fragment AS stale,
    t.* EXCLUDE (uid, tokenizer, status)
FROM token_rows t
LEFT JOIN current_views c ON c.shard = t.shard;

CREATE OR REPLACE VIEW failures AS
SELECT 'views' AS stage, uid, error, message, source, format, uri, shard, row, attempts, log, finished_at
FROM asset_rows
WHERE status = 'failed'
UNION ALL
SELECT 'tokens/' || t.tokenizer, t.uid, t.error, t.message, a.source, a.format, a.uri, t.shard, t.row, t.attempts, t.log,
    t.finished_at
FROM tokens t
JOIN asset_rows a ON a.shard = t.shard AND a.row = t.row
WHERE t.status = 'failed' AND NOT t.stale AND a.status = 'ok'; -- what has no views failed there

CREATE OR REPLACE VIEW samples AS
SELECT
    t.uid,
    t.tokenizer,
    a.split,
    a.caption,
    a.licence,
    t.tar,
    t.tokens_offset,
    t.tokens_size,
    t.cameras_offset,
    t.cameras_size,
    t.caption_offset,
    t.caption_size,
    t.num_views,
    t.grid,
    t.psnr,
    t.ssim,
    t.psnr_object,
    t.distinct_codes,
    t.background_share,
    a.tar AS views_tar,
    a.* EXCLUDE (
        uid, split, caption, licence, tar, num_views, members, status, stale, error, message, reason, shard_input, input,
        fragment, log, attempts, host
    )
FROM tokens t
JOIN asset_rows a ON a.shard = t.shard AND a.row = t.row
WHERE t.status = 'ok' AND NOT t.stale AND a.status = 'ok';
