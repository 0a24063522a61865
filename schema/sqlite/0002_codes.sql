-- One-time codes of the embedded ephemeral store. live: 0 once dropped; the row stays until it is swept, so that serials
-- only grow.
CREATE TABLE codes (
    purpose TEXT NOT NULL,
    subject BLOB NOT NULL,
    key BLOB NOT NULL,
    nonce BLOB NOT NULL,
    serial INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    target BLOB NOT NULL,
    tries INTEGER NOT NULL,
    live INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (purpose, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_to_sweep ON codes (expires_at);
