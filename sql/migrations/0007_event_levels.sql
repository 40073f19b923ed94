-- Levels of the server's own events are in upper case, as V1 wrote them. Those of clients stay as they were sent: their categories are others.
UPDATE events SET level = upper(level)
WHERE level IN ('debug', 'info', 'warning', 'error', 'critical') AND category IN (
    'auth', 'backups', 'cluster', 'endpoints', 'etcd', 'nodes', 'replicas', 'router_assignments', 'scheduler', 'services', 'settings',
    'support', 'updates', 'wireguard');
