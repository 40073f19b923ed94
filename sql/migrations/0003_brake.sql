-- The nodes that lived when the scheduler's brake came on; empty while it is off. A restart must not let go of it.
CREATE TABLE brake_fleet (node_id TEXT PRIMARY KEY) STRICT;
