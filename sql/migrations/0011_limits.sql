-- A support bundle holds shapes only, unless an admin wants what people wrote, too.
ALTER TABLE runs ADD COLUMN with_values INTEGER NOT NULL DEFAULT 0 CHECK (with_values IN (0, 1));

-- How much the kept answers to requests with an Idempotency-Key are, so that writing one more need not count them all.
CREATE TABLE idempotency_usage (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO idempotency_usage (one, bytes) SELECT 1, coalesce(sum(octet_length(answer)), 0) FROM idempotency_keys;
CREATE TRIGGER idempotency_keys_added AFTER INSERT ON idempotency_keys BEGIN
    UPDATE idempotency_usage SET bytes = bytes + octet_length(NEW.answer) WHERE one = 1;
END;
CREATE TRIGGER idempotency_keys_changed AFTER UPDATE OF answer ON idempotency_keys BEGIN
    UPDATE idempotency_usage SET bytes = bytes + octet_length(NEW.answer) - octet_length(OLD.answer) WHERE one = 1;
END;
CREATE TRIGGER idempotency_keys_removed AFTER DELETE ON idempotency_keys BEGIN
    UPDATE idempotency_usage SET bytes = bytes - octet_length(OLD.answer) WHERE one = 1;
END;
