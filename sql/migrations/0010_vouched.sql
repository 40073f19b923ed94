-- The mesh address that an operator gave a node, or the token that admitted it. A certificate has no other: what a machine says of itself is
-- no proof that the address is its own.
ALTER TABLE nodes ADD COLUMN mesh_ip_given TEXT;
ALTER TABLE join_tokens ADD COLUMN mesh_ip TEXT;

-- Ids and names that read alike are looked for with every join, without reading every node.
CREATE INDEX nodes_folded_id ON nodes (lower(id));
CREATE INDEX nodes_folded_name ON nodes (lower(trim(name)));
