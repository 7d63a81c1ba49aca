-- What queries see, over asset_rows, renders, token_rows, fragment_rows and shard_rows (catalog.py makes those).
-- The catalog adds a view for every other kind of stage, see derived.sql. `licence` has both of its spellings.

CREATE OR REPLACE VIEW assets AS SELECT *, licence AS license FROM asset_rows;

CREATE OR REPLACE VIEW views AS
SELECT
    uid,
    view_set,
    view,
    shard,
    row,
    source,
    licence,
    licence AS license,
    split,
    resolution,
    looks[1] AS look,
    azimuth[view + 1] AS azimuth,
    elevation[view + 1] AS elevation,
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
    depth.size AS depth_size,
    normal."offset" AS normal_offset,
    normal.size AS normal_size,
    albedo."offset" AS albedo_offset,
    albedo.size AS albedo_size,
    orm."offset" AS orm_offset,
    orm.size AS orm_size,
    id."offset" AS id_offset,
    id.size AS id_size,
    more_looks
FROM (
    SELECT
        *,
        list_filter(members, lambda m: m.name = stem || '.rgba.png')[1] AS rgba,
        list_filter(members, lambda m: m.name = stem || '.depth.png')[1] AS depth,
        list_filter(members, lambda m: m.name = stem || '.normal.png')[1] AS normal,
        list_filter(members, lambda m: m.name = stem || '.albedo.png')[1] AS albedo,
        list_filter(members, lambda m: m.name = stem || '.orm.png')[1] AS orm,
        list_filter(members, lambda m: m.name = stem || '.id.png')[1] AS id,
        list_transform(
            list_filter(members, lambda m: m.name LIKE stem || '.%.rgba.png'),
            lambda m, i: struct_pack(look := looks[i + 1], "offset" := m."offset", size := m.size)
        ) AS more_looks
    FROM (
        SELECT *, lpad(view::VARCHAR, greatest(2, length((num_views - 1)::VARCHAR))::INTEGER, '0') AS stem
        FROM (SELECT *, unnest(range(num_views)) AS view FROM renders WHERE status = 'ok')
    )
);

-- The rule of resuming (stages/open_shard.py, is_current) for all fragments at once: made from the plan's present shard, or
-- from a fragment that is itself current.
CREATE OR REPLACE VIEW current_fragments AS
WITH RECURSIVE held AS (
    SELECT f.stage, f.shard, f.fragment, f.spec
    FROM fragment_rows f
    JOIN shard_rows s ON s.shard = f.shard
    WHERE f.made_from IS NULL
        AND f.input = s.shard_input || {inputs}
    UNION ALL
    SELECT f.stage, f.shard, f.fragment, f.spec
    FROM fragment_rows f
    JOIN held h ON h.stage = f.made_from AND h.shard = f.shard AND h.fragment = f.input
)
FROM held;

CREATE OR REPLACE VIEW current_shards AS SELECT f.* FROM fragment_rows f SEMI JOIN current_fragments USING (stage, shard);
