-- name: page
SELECT id, channel, version, ring_label, rings, wait_seconds, lost_max, state, reason, ring, attempt, watched, ring_done_at, created_at, updated_at FROM updates
WHERE seq < :before ORDER BY seq DESC LIMIT :limit
-- name: seq_of
SELECT seq FROM updates WHERE id = :id
-- name: count
-- scan: an operator makes each of them.
SELECT count(*) FROM updates
-- name: by_id
SELECT id, channel, version, ring_label, rings, wait_seconds, lost_max, state, reason, ring, attempt, watched, ring_done_at, created_at, updated_at FROM updates
WHERE id = :id
-- name: open
-- scan: of an index of those that have not ended, of which there is one at most.
SELECT id, channel, version, ring_label, rings, wait_seconds, lost_max, state, reason, ring, attempt, watched, ring_done_at, created_at, updated_at FROM updates
WHERE state IN ('running', 'paused', 'halted') ORDER BY seq LIMIT 1
-- name: insert
INSERT INTO updates (id, channel, version, ring_label, rings, wait_seconds, lost_max, state, watched, created_at, updated_at)
VALUES (:id, :channel, :version, :ring_label, :rings, :wait_seconds, :lost_max, :state, :watched, :now, :now)
-- name: update
UPDATE updates SET state = :state, reason = :reason, ring = :ring, attempt = :attempt, watched = :watched, ring_done_at = :ring_done_at, updated_at = :now
WHERE id = :id
-- name: members
-- scan: looked at only while an update runs; there are some thousands of nodes.
SELECT id, (SELECT CAST(value AS TEXT) FROM json_each(nodes.labels) WHERE key = :label), CAST(json_extract(status, '$.version') AS TEXT),
    CAST(json_extract(status, '$.update.id') AS TEXT), CAST(json_extract(status, '$.update.state') AS TEXT),
    CAST(json_extract(status, '$.update.reason') AS TEXT) FROM nodes ORDER BY id
