-- What knowledge bases hold does not get into the planner's statistics either, where it would outlive its rows (0011).
DO $$
DECLARE
    name text;
    own  regclass;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'knowledgebases.name', 'knowledgebases.description',
        'knowledge_items.name', 'knowledge_items.mime_type', 'knowledge_items.sha256', 'knowledge_items.served_sha256', 'knowledge_items.served_name',
        'knowledge_items.served_mime_type', 'knowledge_items.metadata', 'knowledge_items.warnings', 'knowledge_items.error', 'knowledge_items.origin',
        'knowledge_index_items.metadata', 'knowledge_index_items.terms',
        'knowledge_chunks.heading', 'knowledge_chunks.text', 'knowledge_chunks.place',
        'knowledge_vectors.embedding', 'knowledge_postings.records',
        'knowledge_transcripts.sha256',
        'knowledge_sources.name', 'knowledge_sources.config', 'knowledge_sources.metadata', 'knowledge_sources.secrets', 'knowledge_sources.secret_names',
        'knowledge_source_entries.origin', 'knowledge_source_entries.state', 'knowledge_source_entries.sha256', 'knowledge_source_entries.error'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET STATISTICS 0', split_part(name, '.', 1), split_part(name, '.', 2));
    END LOOP;
    FOR own IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'knowledge_vectors'::regclass LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN embedding SET STATISTICS 0', own);
    END LOOP;
END $$;
-- Of these the planner has to know how many there are; it keeps the first and the last of them.
ALTER TABLE knowledge_chunks ALTER COLUMN hash SET STATISTICS 1;
ALTER TABLE knowledge_postings ALTER COLUMN term SET STATISTICS 1;
-- What an ANALYZE of an earlier version has taken. Where this role may not (it is no superuser), `stoa scrub` says so.
DO $$
BEGIN
    DELETE FROM pg_statistic s USING pg_attribute a, pg_class c
    WHERE a.attrelid = s.starelid AND a.attnum = s.staattnum AND a.attstattarget IN (0, 1)
      AND c.oid = a.attrelid AND c.relnamespace = 'public'::regnamespace;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END $$;
