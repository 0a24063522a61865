-- Everything of store::Store. Ids are 16-byte blobs (UUID v7), times INTEGER milliseconds since 1970, counters 64-bit.

-- One account a row; email_digest is the claim of its address, until it is purged.
-- password_epoch: the credential_epoch that the present password was set under (a rehash doesn't touch it).
CREATE TABLE users (
    id BLOB PRIMARY KEY NOT NULL,
    home_tenant BLOB NOT NULL,
    last_tenant BLOB,
    email_digest BLOB NOT NULL UNIQUE,
    email TEXT NOT NULL,
    email_verified_at INTEGER,
    phone TEXT,
    phone_verified_at INTEGER,
    display_name TEXT,
    locale TEXT,
    status TEXT NOT NULL,
    metadata TEXT NOT NULL,
    password_hash TEXT,
    password_epoch INTEGER,
    credential_epoch INTEGER NOT NULL,
    version INTEGER NOT NULL,
    serial_email INTEGER NOT NULL,
    serial_phone INTEGER NOT NULL,
    serial_email_change INTEGER NOT NULL,
    last_login_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    purge_after INTEGER
) STRICT;
CREATE INDEX users_bin ON users (purge_after) WHERE deleted_at IS NOT NULL;

-- The latest 16 networks that an account signed in from.
CREATE TABLE known_networks (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    network BLOB NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, network)
) STRICT, WITHOUT ROWID;

CREATE TABLE tenants (
    id BLOB PRIMARY KEY NOT NULL,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    metadata TEXT NOT NULL,
    policy TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;

-- By user for "my tenants", by tenant (in the order of the users' ids, which is that of their making) for its user list.
CREATE TABLE memberships (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    joined_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, tenant_id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX memberships_of_tenant ON memberships (tenant_id, user_id);

-- What a member may do; by tenant and role to find its owners.
CREATE TABLE member_roles (
    user_id BLOB NOT NULL,
    tenant_id BLOB NOT NULL,
    role_id BLOB NOT NULL,
    PRIMARY KEY (user_id, tenant_id, role_id),
    FOREIGN KEY (user_id, tenant_id) REFERENCES memberships (user_id, tenant_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX member_roles_of_tenant ON member_roles (tenant_id, role_id, user_id);

-- sweep_day: the day (of 86,400,000 ms since 1970) when the row has been over for 30 days. It moves at most once a day, so
-- that a refresh seldom touches the index.
CREATE TABLE sessions (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    id BLOB NOT NULL,
    tenant_id BLOB NOT NULL,
    nonce BLOB NOT NULL,
    generation INTEGER NOT NULL,
    credential_epoch INTEGER NOT NULL,
    ip TEXT NOT NULL,
    user_agent TEXT,
    created_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    turned_at INTEGER NOT NULL,
    turned_by BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    sweep_day INTEGER NOT NULL,
    PRIMARY KEY (user_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_to_sweep ON sessions (sweep_day);

-- Access tokens to be refused; seq is the cursor of the readers, so it is never used again. Either of a session, or of a user
-- below an epoch, but for one session.
CREATE TABLE revocations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    session_id BLOB,
    user_id BLOB,
    below INTEGER,
    keep BLOB
) STRICT;

CREATE TABLE pending_signups (
    id BLOB PRIMARY KEY NOT NULL,
    nonce BLOB NOT NULL,
    email_digest BLOB NOT NULL,
    email TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    display_name TEXT,
    tries INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX pending_signups_of_address ON pending_signups (email_digest);
CREATE INDEX pending_signups_to_sweep ON pending_signups (expires_at);

CREATE TABLE pending_email_changes (
    user_id BLOB PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    new_email TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_email_changes_to_sweep ON pending_email_changes (expires_at);

-- sweep_at: a day after it was used or expired.
CREATE TABLE reset_links (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    id BLOB NOT NULL,
    nonce BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    sweep_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX reset_links_to_sweep ON reset_links (sweep_at);

CREATE TABLE undo_links (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    id BLOB NOT NULL,
    nonce BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    old_email TEXT NOT NULL,
    old_verified_at INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    sweep_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX undo_links_to_sweep ON undo_links (sweep_at);

-- due_at moves by the lease when a job is taken; parked ones are never due.
CREATE TABLE outbox (
    id BLOB PRIMARY KEY NOT NULL,
    message TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    parked INTEGER NOT NULL,
    error TEXT
) STRICT;
CREATE INDEX outbox_due ON outbox (due_at) WHERE parked = 0;
CREATE INDEX outbox_parked ON outbox (id) WHERE parked = 1;

-- Audit events, clustered by tenant, in order of time (the ids are). actor_id: a user or an API key. The seals are what links
-- cover in the place of personal data: a salt of 16 bytes, or, once the data is erased, its salted digest (32 bytes). seq: its
-- link's; null: not linked yet.
CREATE TABLE audit (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    actor_id BLOB,
    user_id BLOB,
    network BLOB,
    request_id TEXT,
    at INTEGER NOT NULL,
    actor_seal BLOB NOT NULL,
    subject_seal BLOB NOT NULL,
    seq INTEGER,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_unlinked ON audit (tenant_id, id) WHERE seq IS NULL;
CREATE INDEX audit_of_user ON audit (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_of_actor ON audit (actor_id) WHERE actor_id IS NOT NULL;

-- What commands gave, for their reruns. No personal data: it outlives a purge by up to a day.
CREATE TABLE commands (
    id BLOB PRIMARY KEY NOT NULL,
    outcome TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX commands_to_sweep ON commands (at);

CREATE TABLE hash_census (
    kind TEXT PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY NOT NULL,
    point BLOB NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    signs_from INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
