-- The first account, admin / uptime, so that somebody can sign in; its password is to be changed at once. Argon2id, PHC format.
INSERT INTO users (name, password_hash, role, password_is_seeded, created_at, updated_at)
SELECT 'admin', '$argon2id$v=19$m=19456,t=6,p=1$e6nM3H1u2c5/htv65M21hg$nbSRZK2m/OCwgvxuSnlJ9up+3hRt1xXs3+qF+3ZIA5U', 'admin', 1, :now, :now
WHERE NOT EXISTS (SELECT 1 FROM users);
