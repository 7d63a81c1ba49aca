-- assets, ok and failed, by licence
SELECT
    coalesce(licence, '(unknown)') AS licence,
    count(*) AS assets,
    count(*) FILTER (status = 'ok') AS ok,
    count(*) FILTER (status = 'failed') AS failed,
    count(*) FILTER (status = 'planned') AS planned,
    count(caption) AS captioned
FROM assets
WHERE status <> 'duplicate'
GROUP BY ALL
ORDER BY assets DESC, licence
