-- How far an import of a file has come, so that it goes on there. id: a digest of tenant, source and file.
-- next_record: the first record (counted from 0) that isn't settled. first_of_last and outcomes: the last step's first record,
-- and what became of its rows that could be read, a letter each.
CREATE TABLE imports (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    next_record INTEGER NOT NULL,
    created INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    first_of_last INTEGER NOT NULL,
    outcomes TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX imports_of_tenant ON imports (tenant_id);
