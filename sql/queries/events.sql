-- name: insert
INSERT INTO events (id, category, name, level, fields, actor, address, request_id, created_at)
VALUES (:id, :category, :name, :level, :fields, :actor, :address, :request_id, :now)
-- name: page
SELECT id, category, name, level, fields, created_at, actor, address, request_id FROM events
WHERE seq < :before AND (:level IS NULL OR level = :level COLLATE NOCASE) AND (:since IS NULL OR created_at > :since) ORDER BY seq DESC LIMIT :limit
-- name: page_of_category
SELECT id, category, name, level, fields, created_at, actor, address, request_id FROM events
WHERE category = :category AND seq < :before AND (:level IS NULL OR level = :level COLLATE NOCASE) AND (:since IS NULL OR created_at > :since)
ORDER BY seq DESC LIMIT :limit
-- name: page_of_name
SELECT id, category, name, level, fields, created_at, actor, address, request_id FROM events
WHERE name = :name AND seq < :before AND (:category IS NULL OR category = :category) AND (:level IS NULL OR level = :level COLLATE NOCASE)
    AND (:since IS NULL OR created_at > :since) ORDER BY seq DESC LIMIT :limit
-- name: page_of_node
SELECT id, category, name, level, fields, created_at, actor, address, request_id FROM events
WHERE node_id = :node_id AND seq < :before AND (:category IS NULL OR category = :category) AND (:name IS NULL OR name = :name)
    AND (:level IS NULL OR level = :level COLLATE NOCASE) AND (:since IS NULL OR created_at > :since) ORDER BY seq DESC LIMIT :limit
-- name: count
-- scan: each end of the table is one row; events go only from the old end, so none is missing between.
SELECT coalesce((SELECT seq FROM events ORDER BY seq DESC LIMIT 1) - (SELECT seq FROM events ORDER BY seq LIMIT 1) + 1, 0)
-- name: count_filtered
-- scan: filters that no index serves are counted by reading all.
SELECT count(*) FROM events WHERE (:level IS NULL OR level = :level COLLATE NOCASE) AND (:since IS NULL OR created_at > :since)
-- name: count_of_category
SELECT count(*) FROM events
WHERE category = :category AND (:level IS NULL OR level = :level COLLATE NOCASE) AND (:since IS NULL OR created_at > :since)
-- name: count_of_name
SELECT count(*) FROM events
WHERE name = :name AND (:category IS NULL OR category = :category) AND (:level IS NULL OR level = :level COLLATE NOCASE)
    AND (:since IS NULL OR created_at > :since)
-- name: count_of_node
SELECT count(*) FROM events
WHERE node_id = :node_id AND (:category IS NULL OR category = :category) AND (:name IS NULL OR name = :name)
    AND (:level IS NULL OR level = :level COLLATE NOCASE) AND (:since IS NULL OR created_at > :since)
-- name: following
SELECT seq, id, category, name, level, fields, created_at, actor, address, request_id FROM events
WHERE seq > :after ORDER BY seq LIMIT :limit
-- name: newest_seq
-- scan: it ends at its first row.
SELECT seq FROM events ORDER BY seq DESC LIMIT 1
-- name: seq_of
SELECT seq FROM events WHERE id = :id
-- name: seq_before
SELECT seq - 1 FROM events WHERE created_at > :since ORDER BY created_at LIMIT 1
-- name: oldest
-- scan: it ends at its limit.
SELECT seq, created_at FROM events ORDER BY seq LIMIT :limit
-- name: prune
DELETE FROM events WHERE seq <= :up_to
