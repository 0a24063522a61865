-- How many digits a code has.
ALTER TABLE codes ADD COLUMN digits INTEGER NOT NULL DEFAULT 6;
