-- the fifty assets that cost a view set the most CPU time, and where it went
SELECT
    uid,
    view_set,
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
FROM renders
WHERE cpu_seconds IS NOT NULL
ORDER BY cpu_seconds DESC, uid, view_set
LIMIT 50
