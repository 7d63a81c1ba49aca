-- What a trainer can use.
CREATE OR REPLACE VIEW samples AS
SELECT
    t.uid,
    t.tokenizer,
    t.view_set,
    a.split,
    a.caption,
    a.licence,
    a.licence AS license,
    t.tar,
    t.tokens_offset,
    t.tokens_size,
    t.cameras_offset,
    t.cameras_size,
    t.caption_offset,
    t.caption_size,
    t.caption_hash,
    t.num_views,
    t.grid,
    t.psnr,
    t.ssim,
    t.psnr_object,
    t.distinct_codes,
    t.background_share,
    a.tar AS views_tar,
    a.* EXCLUDE (
        uid, view_set, split, caption, licence, tar, num_views, members, status, stale, error, message, reason, shard_input, input,
        fragment, log, attempts, host
    )
FROM tokens t
JOIN renders a ON a.shard = t.shard AND a.row = t.row AND a.view_set = t.view_set
WHERE t.status = 'ok' AND NOT t.stale AND a.status = 'ok';
