-- the fifty assets that cost the most CPU time, and where it went
SELECT
    uid,
    status,
    error,
    cpu_seconds,
    wall_seconds,
    import_seconds,
    render_seconds,
    check_seconds,
    encode_seconds,
    peak_memory,
    imported_face_count,
    bytes,
    format,
    uri
FROM assets
WHERE cpu_seconds IS NOT NULL
ORDER BY cpu_seconds DESC, uid
LIMIT 50
