-- Settings that every cluster has; what an operator or the running system set stays.
INSERT INTO cluster_settings (key, value, created_at, updated_at) VALUES
    ('cluster_bootstrapped', 'false', :now, :now),
    ('etcd_status', 'unknown', :now, :now)
ON CONFLICT (key) DO NOTHING;
