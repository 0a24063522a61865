-- How far an import of a file has come, so that it goes on there. id: a digest of tenant, source and file.
-- next_record: the first record (counted from 0) that isn't settled. recent: of the last steps the first record, and what became
-- of the rows that could be read, a letter each: 0:+++m,1000:++
CREATE TABLE imports (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    next_record INTEGER NOT NULL,
    created INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    recent TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX imports_of_tenant ON imports (tenant_id);
