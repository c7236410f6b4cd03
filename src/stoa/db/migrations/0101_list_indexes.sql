-- outside a transaction
-- Words that know their day, what the job that counts lists reads, and forks (0100). Each statement can be repeated: a
-- start that was killed here goes on at the next.

CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_dated_words
    ON conversations USING gin (dated_words(search, org_id, created_at));
CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_dated_words
    ON messages USING gin (dated_words(search, org_id, created_at));
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_of_day ON conversations USING brin (created_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_forked ON conversations (org_id, created_at DESC, id)
    WHERE forked_from IS NOT NULL;

-- An expression in an index has statistics like a column: of words there are none (0011).
ALTER INDEX conversations_dated_words ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX messages_dated_words ALTER COLUMN 1 SET STATISTICS 0;
