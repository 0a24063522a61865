-- What the ids of a request with an Idempotency-Key follow from: a rerun that the ephemeral store doesn't know learns it from the record.
ALTER TABLE commands ADD COLUMN seed TEXT;
