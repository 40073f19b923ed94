-- Settings that every cluster has; what an operator or the running system set stays.
INSERT INTO cluster_settings (key, value, created_at, updated_at) VALUES
    ('backup_drill_interval_seconds', '604800', :now, :now),
    ('backup_interval_seconds', '86400', :now, :now),
    ('backup_keep', '7', :now, :now),
    ('cluster_bootstrapped', 'false', :now, :now),
    ('etcd_status', 'unknown', :now, :now),
    ('events_retention_days', '30', :now, :now),
    ('events_retention_rows', '1000000', :now, :now),
    ('idempotency_bytes_max', '67108864', :now, :now),
    ('node_forget_after_days', '0', :now, :now),
    ('nodes_max', '10000', :now, :now),
    ('scheduler_brake', 'on', :now, :now),
    ('scheduler_mode', 'auto', :now, :now),
    ('service_revisions_bytes_max', '16777216', :now, :now)
ON CONFLICT (key) DO NOTHING;
