-- What an enrolled node was given to trust with its identity: the SHA-256 (hex) of the authorities' certificates. While it is not the
-- one of today, the node is asked to fetch it.
ALTER TABLE nodes ADD COLUMN identity_trust TEXT;
