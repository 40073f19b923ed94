-- True for services from before nodes could run replicas: nothing starts by surprise after an upgrade.
ALTER TABLE services ADD COLUMN records_only INTEGER NOT NULL DEFAULT 0 CHECK (records_only IN (0, 1));
UPDATE services SET records_only = 1;
