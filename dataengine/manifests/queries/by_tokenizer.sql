-- tokens by tokenizer: assets, quality of the round trip, codes
SELECT
    tokenizer,
    count(*) AS assets,
    count(*) FILTER (status = 'ok' AND NOT stale) AS ok,
    count(*) FILTER (status = 'failed' AND NOT stale) AS failed,
    count(*) FILTER (stale) AS stale,
    median(list_avg(psnr)) AS median_psnr,
    median(list_avg(ssim)) AS median_ssim,
    median(list_avg(psnr_object)) AS median_psnr_object,
    median(distinct_codes) AS median_distinct_codes,
    avg(background_share) AS background_share
FROM tokens
GROUP BY ALL
ORDER BY tokenizer
