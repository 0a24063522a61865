-- What an event is about, which fields it changed (a JSON list of names; null: none), and the user agent of its actor with a seal of its
-- own. format: of its link. Events of before are of format 1, which covers none of this.
ALTER TABLE audit ADD COLUMN format INTEGER NOT NULL DEFAULT 1;
ALTER TABLE audit ADD COLUMN resource_type TEXT;
ALTER TABLE audit ADD COLUMN resource_id BLOB;
ALTER TABLE audit ADD COLUMN changed TEXT;
ALTER TABLE audit ADD COLUMN user_agent TEXT;
ALTER TABLE audit ADD COLUMN agent_seal BLOB;
