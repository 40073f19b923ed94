-- name: fleet
-- scan: the whole fleet is wanted
SELECT node_id FROM brake_fleet ORDER BY node_id
-- name: release
DELETE FROM brake_fleet
-- name: put
INSERT INTO brake_fleet (node_id) VALUES (:node_id)
