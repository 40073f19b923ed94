-- A support bundle holds shapes only, unless an admin wants what people wrote, too.
ALTER TABLE runs ADD COLUMN with_values INTEGER NOT NULL DEFAULT 0 CHECK (with_values IN (0, 1));
