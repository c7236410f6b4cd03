-- outside a transaction
-- No function asks for these any more (0102).

DROP INDEX CONCURRENTLY IF EXISTS conversations_words;
DROP INDEX CONCURRENTLY IF EXISTS messages_words;
