-- name: insert
INSERT INTO events (seq, id, id_given, category, name, level, fields, actor, address, request_id, created_at)
VALUES (:seq, :id, :id_given, :category, :name, :level, :fields, :actor, :address, :request_id, :now)
-- name: page
SELECT id, category, name, level, fields, created_at, actor, address, request_id FROM events
WHERE seq < :before ORDER BY seq DESC LIMIT :limit
-- name: page_matching
-- scan: block by block, newest first; of each only what its places say, and all of the one that has not ended.
SELECT e.id, e.category, e.name, e.level, e.fields, e.created_at, e.actor, e.address, e.request_id
FROM event_blocks b
CROSS JOIN json_each(iif(b.newest_at IS NULL,
    (SELECT json_group_array(seq & 1023) FROM events WHERE seq BETWEEN b.block << 10 AND (b.block << 10) + 1023),
    coalesce((SELECT places FROM event_finds WHERE block = b.block AND key = :key), '[]'))) p
CROSS JOIN events e ON e.seq = (b.block << 10) + p.value
WHERE b.block <= :before >> 10 AND (b.newest_at IS NULL OR b.newest_at > :since)
    AND e.seq < :before AND e.created_at > :since
    AND (:category IS NULL OR e.category = :category) AND (:name IS NULL OR e.name = :name)
    AND (:level IS NULL OR e.level = :level COLLATE NOCASE) AND (:node_id IS NULL OR e.node_id = :node_id)
ORDER BY b.block DESC, e.seq DESC LIMIT :limit
-- name: count
-- scan: each end of the table is one row; events go only from the old end, so none is missing between.
SELECT coalesce((SELECT seq FROM events ORDER BY seq DESC LIMIT 1) - (SELECT seq FROM events ORDER BY seq LIMIT 1) + 1, 0)
-- name: count_of_key
-- scan: whole blocks by their counts; the oldest, the newest and those on both sides of the time by their events.
WITH whole (block) AS MATERIALIZED (
    SELECT block FROM event_blocks WHERE oldest_at > :since AND block > (SELECT seq >> 10 FROM events ORDER BY seq LIMIT 1))
SELECT (SELECT coalesce(sum(f.count), 0) FROM whole w CROSS JOIN event_finds f ON f.block = w.block AND f.key = :key)
    + (SELECT count(*) FROM event_blocks b CROSS JOIN events e ON e.seq BETWEEN b.block << 10 AND (b.block << 10) + 1023
        WHERE (b.newest_at IS NULL OR b.newest_at > :since) AND b.block NOT IN (SELECT block FROM whole)
            AND e.created_at > :since
            AND (:category IS NULL OR e.category = :category) AND (:name IS NULL OR e.name = :name)
            AND (:level IS NULL OR e.level = :level COLLATE NOCASE) AND (:node_id IS NULL OR e.node_id = :node_id))
-- name: count_matching
-- scan: several filters at once are counted by reading what the most selective one finds.
SELECT count(*)
FROM event_blocks b
CROSS JOIN json_each(iif(b.newest_at IS NULL,
    (SELECT json_group_array(seq & 1023) FROM events WHERE seq BETWEEN b.block << 10 AND (b.block << 10) + 1023),
    coalesce((SELECT places FROM event_finds WHERE block = b.block AND key = :key), '[]'))) p
CROSS JOIN events e ON e.seq = (b.block << 10) + p.value
WHERE (b.newest_at IS NULL OR b.newest_at > :since) AND e.created_at > :since
    AND (:category IS NULL OR e.category = :category) AND (:name IS NULL OR e.name = :name)
    AND (:level IS NULL OR e.level = :level COLLATE NOCASE) AND (:node_id IS NULL OR e.node_id = :node_id)
-- name: following
SELECT seq, id, category, name, level, fields, created_at, actor, address, request_id FROM events
WHERE seq > :after ORDER BY seq LIMIT :limit
-- name: newest_seq
-- scan: it ends at its first row.
SELECT seq FROM events ORDER BY seq DESC LIMIT 1
-- name: seq_of
SELECT seq FROM events WHERE seq = :seq AND id = :id
UNION ALL SELECT seq FROM events WHERE id = :id AND id_given = 1
-- name: seq_before
-- scan: over the blocks, each a short row, up to the first that has such an event.
SELECT e.seq - 1 FROM event_blocks b CROSS JOIN events e ON e.seq BETWEEN b.block << 10 AND (b.block << 10) + 1023
WHERE (b.newest_at IS NULL OR b.newest_at > :since) AND e.created_at > :since ORDER BY b.block, e.seq LIMIT 1
-- name: oldest
-- scan: it ends at its limit.
SELECT seq, created_at FROM events ORDER BY seq LIMIT :limit
-- name: prune
DELETE FROM events WHERE seq <= :up_to
-- name: prune_blocks
DELETE FROM event_blocks WHERE block < (:up_to + 1) >> 10
