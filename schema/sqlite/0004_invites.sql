-- Invites. Their tokens are derived, never stored. sweep_at: when a pending one expires; of the others, when the row goes.
CREATE TABLE invites (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    email_digest BLOB NOT NULL,
    email TEXT NOT NULL,
    role_id BLOB NOT NULL,
    status TEXT NOT NULL,
    inviter BLOB,
    inviter_key BLOB,
    nonce BLOB NOT NULL,
    serial INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    accepted_at INTEGER,
    created_at INTEGER NOT NULL,
    sweep_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX invites_of_tenant ON invites (tenant_id, id);
CREATE INDEX invites_by_status ON invites (tenant_id, status, id);
-- An address has at most one pending invite in a tenant.
CREATE UNIQUE INDEX invites_pending ON invites (email_digest, tenant_id) WHERE status = 'pending';
CREATE INDEX invites_of_address ON invites (email_digest);
CREATE INDEX invites_of_inviter ON invites (inviter) WHERE inviter IS NOT NULL;
CREATE INDEX invites_to_sweep ON invites (sweep_at);
