-- Events are ordered and found by their number alone: an event costs one page instead of seven.
CREATE TABLE events_by_number (
    -- Never used twice: each follows the newest, which stays.
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL,
    -- True if the id does not end with the number: a client's own, or one from before.
    id_given   INTEGER NOT NULL DEFAULT 0 CHECK (id_given IN (0, 1)),
    category   TEXT NOT NULL,
    name       TEXT NOT NULL,
    level      TEXT NOT NULL,
    fields     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    actor      TEXT,
    address    TEXT,
    request_id TEXT,
    node_id    TEXT GENERATED ALWAYS AS (json_extract(fields, '$.node_id')) VIRTUAL
) STRICT;
INSERT INTO events_by_number (seq, id, id_given, category, name, level, fields, created_at, actor, address, request_id)
SELECT seq, id, 1, category, name, level, fields, created_at, actor, address, request_id FROM events ORDER BY seq;
DROP TABLE events;
ALTER TABLE events_by_number RENAME TO events;
CREATE UNIQUE INDEX events_id ON events (id) WHERE id_given = 1;

-- Blocks of 1,024 numbers. A filter reads those that can match, and of these the events that do.
CREATE TABLE event_blocks (
    block     INTEGER PRIMARY KEY, -- seq >> 10
    -- Times of its events; NULL until the next block begins. Until then the block is read as a whole.
    oldest_at INTEGER,
    newest_at INTEGER
) STRICT;
-- What a block that has ended can be found by: `category=..`, `name=..`, `level=..`, `node=..`, and category and level, which many events
-- share, together on two lines. The empty key finds all of it.
CREATE TABLE event_finds (
    seq    INTEGER PRIMARY KEY,
    block  INTEGER NOT NULL REFERENCES event_blocks (block) ON DELETE CASCADE,
    key    TEXT NOT NULL,
    count  INTEGER NOT NULL,
    -- JSON: places in the block.
    places TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_finds_key ON event_finds (block, key, count);

-- A new block ends those before it, one at a time: what is sorted fits into the memory of a small machine.
CREATE TRIGGER event_blocks_ended AFTER INSERT ON event_blocks BEGIN
    INSERT INTO event_finds (block, key, count, places)
    SELECT b.block, k.value, count(*), json_group_array(e.seq & 1023)
    FROM event_blocks b
    CROSS JOIN events e ON e.seq BETWEEN b.block << 10 AND (b.block << 10) + 1023
    CROSS JOIN json_each(json_array('', 'category=' || e.category, 'name=' || e.name, 'level=' || lower(e.level), 'node=' || e.node_id,
        'category=' || e.category || char(10) || 'level=' || lower(e.level))) k
    WHERE b.block < NEW.block AND b.newest_at IS NULL AND k.value IS NOT NULL
    GROUP BY b.block, k.value;
    UPDATE event_blocks SET (oldest_at, newest_at) = (
        SELECT min(created_at), max(created_at) FROM events
        WHERE seq BETWEEN event_blocks.block << 10 AND (event_blocks.block << 10) + 1023)
    WHERE block < NEW.block AND newest_at IS NULL;
END;
INSERT INTO event_blocks (block) SELECT DISTINCT seq >> 10 FROM events ORDER BY seq;
CREATE TRIGGER events_block AFTER INSERT ON events
WHEN NOT EXISTS (SELECT 1 FROM event_blocks WHERE block = NEW.seq >> 10) BEGIN
    INSERT INTO event_blocks (block) VALUES (NEW.seq >> 10);
END;

-- Ids and names that read alike: most are in lower case, and found by their own indexes.
DROP INDEX nodes_folded_id;
DROP INDEX nodes_folded_name;
CREATE INDEX nodes_folded_id ON nodes (lower(id)) WHERE lower(id) <> id;
CREATE INDEX nodes_folded_name ON nodes (lower(trim(name))) WHERE lower(trim(name)) <> name;
