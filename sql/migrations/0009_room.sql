-- What an operator says that a node has, and keeps free on it: JSON, and NULL where nothing is said.
ALTER TABLE nodes ADD COLUMN capacity TEXT;
ALTER TABLE nodes ADD COLUMN reserved TEXT;
-- The generation whose rollout was told to be late; 0 where none was.
ALTER TABLE services ADD COLUMN rollout_told INTEGER NOT NULL DEFAULT 0;
