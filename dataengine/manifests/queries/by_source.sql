-- assets, ok and failed, by source and format
SELECT
    source,
    format,
    count(*) AS assets,
    count(*) FILTER (status = 'ok') AS ok,
    count(*) FILTER (status = 'failed') AS failed,
    count(*) FILTER (status = 'planned') AS planned,
    count(*) FILTER (status = 'duplicate') AS duplicates,
    median(cpu_seconds) AS median_cpu_seconds
FROM assets
GROUP BY ALL
ORDER BY assets DESC, source, format
