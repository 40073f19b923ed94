-- name: insert
INSERT INTO events (id, category, name, level, fields, created_at) VALUES (:id, :category, :name, :level, :fields, :now)
-- name: page
SELECT id, category, name, level, fields, created_at FROM events WHERE seq < :before ORDER BY seq DESC LIMIT :limit
-- name: page_of_category
SELECT id, category, name, level, fields, created_at FROM events WHERE category = :category AND seq < :before ORDER BY seq DESC LIMIT :limit
-- name: count
-- scan: counting reads the smallest index once.
SELECT count(*) FROM events
-- name: count_of_category
SELECT count(*) FROM events WHERE category = :category
-- name: prune
DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - :kept
-- name: seq_of
SELECT seq FROM events WHERE id = :id
