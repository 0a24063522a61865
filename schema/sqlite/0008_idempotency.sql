-- Requests with an Idempotency-Key. name and fingerprint are HMACs; answer is sealed, and null until the request was
-- answered; salt makes the rerun's ids. run holds it until lease_until.
CREATE TABLE idempotent_requests (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,
    fingerprint BLOB NOT NULL,
    salt BLOB NOT NULL,
    run BLOB NOT NULL,
    began_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    answer BLOB
) STRICT;
CREATE INDEX idempotent_requests_to_sweep ON idempotent_requests (expires_at);
