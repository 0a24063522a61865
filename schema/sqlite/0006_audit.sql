-- Audit events with what chains them. actor_id: a user or an API key. The seals are what links cover in the place of
-- personal data: a salt of 16 bytes, or, once the data is erased, its salted digest (32 bytes). seq: its link's; null: not
-- linked yet.
CREATE TABLE audit_events (
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
INSERT INTO audit_events (tenant_id, id, event, actor, actor_id, user_id, network, request_id, at, actor_seal, subject_seal)
    SELECT tenant_id, id, event, actor, actor_id, user_id, network, request_id, at, randomblob(16), randomblob(16) FROM audit;
DROP TABLE audit;
ALTER TABLE audit_events RENAME TO audit;
CREATE INDEX audit_unlinked ON audit (tenant_id, id) WHERE seq IS NULL;
CREATE INDEX audit_of_user ON audit (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_of_actor ON audit (actor_id) WHERE actor_id IS NOT NULL;

-- One chain a tenant: each link is a SHA-256 over the one before and an event.
CREATE TABLE audit_chain (
    tenant_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    link BLOB NOT NULL,
    PRIMARY KEY (tenant_id, seq)
) STRICT, WITHOUT ROWID;

-- The end of each chain, so that one cut short is noticed.
CREATE TABLE audit_heads (
    tenant_id BLOB PRIMARY KEY NOT NULL,
    seq INTEGER NOT NULL,
    link BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Who links events: one at a time. fence counts holders: a former one, that still believes it has the lease, is refused.
CREATE TABLE audit_lease (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    holder BLOB NOT NULL,
    fence INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;
