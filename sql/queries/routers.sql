-- name: page
SELECT id, node_id, primary_router_id, secondary_router_id, created_at, updated_at
FROM router_assignments WHERE id > :after AND (:node_id IS NULL OR node_id = :node_id) ORDER BY id LIMIT :limit
-- name: by_id
SELECT id, node_id, primary_router_id, secondary_router_id, created_at, updated_at FROM router_assignments WHERE id = :id
-- name: count
-- scan: counting reads the smallest index once.
SELECT count(*) FROM router_assignments
-- name: count_of_node
SELECT count(*) FROM router_assignments WHERE node_id = :node_id
-- name: naming
SELECT count(*) FROM router_assignments WHERE node_id = :node_id OR primary_router_id = :node_id OR secondary_router_id = :node_id
-- name: delete_naming
DELETE FROM router_assignments WHERE node_id = :node_id OR primary_router_id = :node_id OR secondary_router_id = :node_id
-- name: insert
INSERT INTO router_assignments (id, node_id, primary_router_id, secondary_router_id, created_at, updated_at)
VALUES (:id, :node_id, :primary_router_id, :secondary_router_id, :now, :now)
-- name: delete
DELETE FROM router_assignments WHERE id = :id
