-- ok assets that a person should look at, and why
SELECT uid, view_set, why, uri
FROM (
    SELECT
        uid,
        view_set,
        uri,
        list_filter([
            CASE WHEN list_max(clipped) > 0 THEN format('clipped by the border in {} views', len(list_filter(clipped, lambda n: n > 0))) END,
            CASE WHEN list_min(coverage) < 0.005 THEN format('covers only {:.2f} % of a view', 100 * list_min(coverage)) END,
            CASE WHEN list_max(luminance_mean) < 0.01 THEN 'nearly black' END,
            CASE WHEN list_min(luminance_mean) > 0.95 THEN 'nearly white' END,
            CASE WHEN list_max(luminance_spread) < 0.005 THEN 'one flat colour' END,
            CASE WHEN list_min(depth_coverage) < 0.9 THEN format('depth on only {:.0f} % of the object', 100 * list_min(depth_coverage)) END,
            CASE WHEN depth_error > 0.005 AND depth_error_footprint > 1 THEN format('views disagree by {:.2f} % of the size', 100 * depth_error) END,
            CASE WHEN len(missing_textures) > 0 THEN format('{} textures missing', len(missing_textures)) END
        ], lambda reason: reason IS NOT NULL) AS why
    FROM renders
    WHERE status = 'ok'
)
WHERE len(why) > 0
ORDER BY len(why) DESC, uid, view_set
