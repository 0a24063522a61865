-- Power over credentials. managed: the operator has given it to the tenant's admins; tenants that the operator's command made have it.
ALTER TABLE tenants ADD COLUMN managed INTEGER NOT NULL DEFAULT 0;
UPDATE tenants SET managed = 1 WHERE kind = 'organization' AND EXISTS
    (SELECT 1 FROM audit a WHERE a.tenant_id = tenants.id AND a.event = 'tenant.created' AND a.actor = 'system');

-- What a tenant keeps about its member; null: what the account was made with, in its home.
ALTER TABLE memberships ADD COLUMN metadata TEXT;

-- independent: made by an organization without that power. must_change: an admin set the password. not_me_at: links of mails that were
-- written before are dead.
ALTER TABLE users ADD COLUMN independent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN must_change INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN not_me_at INTEGER;

-- The address that an account had before stays taken for as long as it can move back; null: a link of before.
ALTER TABLE undo_links ADD COLUMN old_digest BLOB;
CREATE INDEX undo_links_of_address ON undo_links (old_digest) WHERE old_digest IS NOT NULL;

-- When the password was given again in a session; null: not since it began.
ALTER TABLE sessions ADD COLUMN signed_in_at INTEGER;

-- When an invite was sent again last; null: never.
ALTER TABLE invites ADD COLUMN sent_again_at INTEGER;

-- A link that an admin made: who it was, and in which tenant (JSON); null: the person asked for it.
ALTER TABLE reset_links ADD COLUMN made_by TEXT;

-- origin: user or operator. parent_id: the key that made it. stopped_at: since when its maker is gone. taken_over_at: when an owner took it.
-- Keys of before without a maker are the operator's if its command made them; else their maker is gone, and they end.
ALTER TABLE api_keys ADD COLUMN origin TEXT NOT NULL DEFAULT 'user';
ALTER TABLE api_keys ADD COLUMN parent_id BLOB;
ALTER TABLE api_keys ADD COLUMN stopped_at INTEGER;
ALTER TABLE api_keys ADD COLUMN taken_over_at INTEGER;
UPDATE api_keys SET origin = 'operator' WHERE user_id IS NULL AND EXISTS
    (SELECT 1 FROM audit a WHERE a.tenant_id = api_keys.tenant_id AND a.event = 'api_key.created' AND a.actor = 'system' AND a.at = api_keys.created_at);
INSERT INTO revocations (at, api_key_id)
    SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER), id FROM api_keys WHERE user_id IS NULL AND origin = 'user' AND revoked_at IS NULL;
UPDATE api_keys SET revoked_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
    WHERE user_id IS NULL AND origin = 'user' AND revoked_at IS NULL;
CREATE INDEX api_keys_of_parent ON api_keys (parent_id) WHERE parent_id IS NOT NULL;
