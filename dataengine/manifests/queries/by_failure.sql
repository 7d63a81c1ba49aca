-- failures by stage and kind, each with an example
SELECT
    stage,
    error,
    count(*) AS assets,
    list(DISTINCT format ORDER BY format) AS formats,
    min_by(message, uid) AS example,
    min(uid) AS example_uid
FROM failures
GROUP BY ALL
ORDER BY assets DESC, stage, error
