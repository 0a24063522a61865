-- A session that isn't refreshed for so many days is over.
ALTER TABLE sessions ADD COLUMN idle_days INTEGER NOT NULL DEFAULT 30;
