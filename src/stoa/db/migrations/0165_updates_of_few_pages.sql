-- outside a transaction
-- Lists sorted by updated_at (0157) read every range of pages in which one conversation has changed lately. Where users
-- come back to old conversations, that is soon every range of 128 pages; of 8 pages it is few. Full ranges are
-- summarized when the next one begins: until then they are always read.

CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_updated ON conversations USING brin (updated_at)
    WITH (pages_per_range = 8, autosummarize = on);
DROP INDEX CONCURRENTLY IF EXISTS conversations_by_update;
