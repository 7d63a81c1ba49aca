-- assets finished in a view set by the hour, and the views and CPU time that went into them
SELECT
    date_trunc('hour', finished_at) AS hour,
    count(*) AS assets,
    count(*) FILTER (status = 'failed') AS failed,
    sum(num_views) FILTER (status = 'ok') AS views,
    sum(cpu_seconds) / 3600 AS cpu_hours,
    count(DISTINCT host) AS hosts
FROM renders
WHERE finished_at IS NOT NULL
GROUP BY ALL
ORDER BY hour
