-- Who does what one process at a time does. fence counts holders: a former one, that still believes it has the lease, is refused.
CREATE TABLE leases (
    duty TEXT PRIMARY KEY NOT NULL,
    holder BLOB NOT NULL,
    fence INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO leases (duty, holder, fence, until) SELECT 'audit', holder, fence, until FROM audit_lease;
DROP TABLE audit_lease;
