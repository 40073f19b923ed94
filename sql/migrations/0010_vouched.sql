-- The mesh address that an operator gave a node, or the token that admitted it. A certificate has no other: what a machine says of itself is
-- no proof that the address is its own.
ALTER TABLE nodes ADD COLUMN mesh_ip_given TEXT;
ALTER TABLE join_tokens ADD COLUMN mesh_ip TEXT;
