-- A conversation can be pinned: it is then at the top of the console's list. Nullable without a default, so that no row is
-- written.
ALTER TABLE conversations ADD COLUMN pinned_at timestamptz;
