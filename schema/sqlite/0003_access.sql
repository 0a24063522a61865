-- A tenant's own roles; the system roles are in the code. permissions: a JSON list of keys.
CREATE TABLE roles (
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id BLOB NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    description TEXT,
    permissions TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX roles_by_name ON roles (tenant_id, name);

-- API keys: only the SHA-256 of the secret. user_id: the maker; null: the command line.
CREATE TABLE api_keys (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id BLOB,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL UNIQUE,
    secret_digest BLOB NOT NULL,
    scopes TEXT NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER,
    revoked_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX api_keys_of_tenant ON api_keys (tenant_id, id);
CREATE INDEX api_keys_of_maker ON api_keys (user_id) WHERE user_id IS NOT NULL;

ALTER TABLE revocations ADD COLUMN api_key_id BLOB;
