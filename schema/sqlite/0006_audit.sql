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
