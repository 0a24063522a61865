-- A signing key that was stolen is revoked; all processes that use the file read the keys again when they meet the row.
ALTER TABLE signing_keys ADD COLUMN revoked_at INTEGER;
ALTER TABLE revocations ADD COLUMN signing_key TEXT;
