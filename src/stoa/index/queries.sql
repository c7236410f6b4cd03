-- name: ensure_index
-- Creates the index's row, if it does not exist.
INSERT INTO knowledge_indexes (org_id, project_id, knowledgebase_id, generation, embedder, dimensions, language, form)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING;

-- name: lock_index
-- Locks the index's row: one writer at a time, because counts, ordinals and blocks change together. Searches do not
-- wait.
SELECT index_id, embedder, dimensions, language, chunks, next_ordinal, own_table, form, languages FROM knowledge_indexes
WHERE org_id = $1 AND knowledgebase_id = $2 AND generation = $3 FOR UPDATE;

-- name: form_of
-- How an index analyses texts; read without a lock, so a writer reads it again after locking.
SELECT form FROM knowledge_indexes WHERE org_id = $1 AND knowledgebase_id = $2 AND generation = $3 AND chunks > 0;

-- name: open_index
-- The row that a search needs. It also sets the scan settings of the transaction, so that the planner uses indexes
-- whatever the statistics say.
SELECT org_id, index_id, dimensions, language, chunks, words, next_ordinal, own_table, hnsw, form, languages,
       set_config('hnsw.ef_search', $4, true), set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('hnsw.max_scan_tuples', $5, true),
       set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)
FROM knowledge_indexes WHERE org_id = $1 AND knowledgebase_id = $2 AND generation = $3;

-- name: set_settings
-- An empty index may get other settings; a table for other dimensions is no longer used.
UPDATE knowledge_indexes SET embedder = $3, dimensions = $4, language = $5, own_table = false, hnsw = false,
    removed = 0, form = $6, languages = '{}' WHERE org_id = $1 AND index_id = $2;

-- name: count_change
UPDATE knowledge_indexes SET chunks = chunks + $3, words = words + $4, next_ordinal = $5, unmerged = unmerged + $6,
    removed = removed + $7
WHERE org_id = $1 AND index_id = $2;

-- name: add_languages
UPDATE knowledge_indexes SET languages = languages || $3::text[] WHERE org_id = $1 AND index_id = $2;

-- name: languages_of
SELECT coalesce(item.language, i.language) AS language, count(*) AS items
FROM knowledge_indexes i JOIN knowledge_index_items item ON item.org_id = i.org_id AND item.index_id = i.index_id
WHERE i.org_id = $1 AND i.knowledgebase_id = $2 AND i.generation = $3 GROUP BY 1;

-- name: delete_index
DELETE FROM knowledge_indexes WHERE org_id = $1 AND index_id = $2;

-- name: items_of
SELECT item_id, metadata, first_ordinal, last_ordinal, words, terms FROM knowledge_index_items
WHERE org_id = $1 AND index_id = $2 AND item_id = ANY ($3::uuid[]) ORDER BY item_id;

-- name: insert_items
-- The terms of all items are one array, $9: each item's are from place $10 to $11 of it.
INSERT INTO knowledge_index_items (org_id, project_id, index_id, item_id, metadata, first_ordinal, last_ordinal, words,
    terms, language, title)
SELECT $1, $2, $3, i.id, i.metadata, i.first, i.last, i.words, ($9::text[])[i.terms_first : i.terms_last], i.language,
    i.title
FROM unnest($4::uuid[], $5::jsonb[], $6::int[], $7::int[], $8::int[], $10::int[], $11::int[], $12::text[], $13::text[])
    AS i (id, metadata, first, last, words, terms_first, terms_last, language, title);

-- name: set_metadata
UPDATE knowledge_index_items SET metadata = $4, terms = $5 WHERE org_id = $1 AND index_id = $2 AND item_id = $3;

-- name: delete_items
DELETE FROM knowledge_index_items WHERE org_id = $1 AND index_id = $2 AND item_id = ANY ($3::uuid[]);

-- name: insert_chunks
INSERT INTO knowledge_chunks (org_id, project_id, index_id, ordinal, item_id, id, position, page, heading, text, hash,
    place)
SELECT $1, $2, $3, $4::int + c.number::int - 1, c.item_id, c.id, c.position, c.page, c.heading, c.text, c.hash, c.place
FROM unnest($5::uuid[], $6::int[], $7::uuid[], $8::int[], $9::text[], $10::text[], $11::bytea[], $12::jsonb[])
    WITH ORDINALITY AS c (item_id, position, id, page, heading, text, hash, place, number);

-- name: insert_vectors
-- $5 is the concatenation of the vectors; each has $6 numbers.
INSERT INTO {vectors} (org_id, project_id, index_id, ordinal, embedding)
SELECT $1, $2, $3, $4 + at, ($5::real[])[at * $6 + 1 : (at + 1) * $6]::halfvec
    FROM generate_series(0, $7::int - 1) AS at;

-- name: insert_postings
INSERT INTO knowledge_postings (org_id, project_id, index_id, term, first_ordinal, last_ordinal, count, records)
SELECT $1, $2, $3, p.term, p.first_ordinal, p.last_ordinal, length(p.records) / 8, p.records
FROM unnest($4::text[], $5::int[], $6::int[], $7::bytea[]) AS p (term, first_ordinal, last_ordinal, records);

-- name: delete_chunks
WITH gone AS (DELETE FROM knowledge_chunks WHERE org_id = $1 AND index_id = $2 AND ordinal BETWEEN $3 AND $4
    RETURNING octet_length(text) AS size)
SELECT count(*) AS chunks, coalesce(sum(size), 0)::bigint AS bytes FROM gone;

-- name: delete_vectors
WITH gone AS (DELETE FROM {vectors} WHERE org_id = $1 AND index_id = $2 AND ordinal BETWEEN $3 AND $4
    RETURNING pg_column_size(embedding) AS size)
SELECT coalesce(sum(size), 0)::bigint FROM gone;

-- name: blocks_of
-- The blocks of these terms that overlap a range of ordinals.
SELECT term, first_ordinal, last_ordinal, records FROM knowledge_postings
WHERE org_id = $1 AND index_id = $2 AND term = ANY ($3::text[]) AND first_ordinal <= $5 AND last_ordinal >= $4;

-- name: set_records
-- Blocks that lost some of their records; first_ordinal and last_ordinal remain valid as bounds.
UPDATE knowledge_postings p SET count = length(cut.records) / 8, records = cut.records
FROM unnest($3::text[], $4::int[], $5::bytea[]) AS cut (term, first_ordinal, records)
WHERE p.org_id = $1 AND p.index_id = $2 AND p.term = cut.term AND p.first_ordinal = cut.first_ordinal;

-- name: delete_blocks
DELETE FROM knowledge_postings p USING unnest($3::text[], $4::int[]) AS gone (term, first_ordinal)
WHERE p.org_id = $1 AND p.index_id = $2 AND p.term = gone.term AND p.first_ordinal = gone.first_ordinal;

-- name: measure
-- The size of a whole index, for the receipt of its deletion.
SELECT (SELECT count(*) FROM knowledge_chunks WHERE org_id = $1 AND index_id = $2) AS chunks,
       (SELECT coalesce(sum(octet_length(text)), 0) FROM knowledge_chunks WHERE org_id = $1
           AND index_id = $2)::bigint AS text_bytes,
       (SELECT coalesce(sum(pg_column_size(embedding)), 0) FROM {vectors} WHERE org_id = $1
           AND index_id = $2)::bigint AS vector_bytes;

-- name: drop_items
DELETE FROM knowledge_index_items WHERE org_id = $1 AND index_id = $2;

-- name: drop_chunks
DELETE FROM knowledge_chunks WHERE org_id = $1 AND index_id = $2;

-- name: drop_vectors
DELETE FROM {vectors} WHERE org_id = $1 AND index_id = $2;

-- name: drop_postings
DELETE FROM knowledge_postings WHERE org_id = $1 AND index_id = $2;

-- name: known
-- Vectors of contents that this embedder has seen in the project, in halfvec's wire form.
SELECT DISTINCT ON (c.hash) c.hash, halfvec_send(v.embedding) AS vector
FROM knowledge_chunks c
JOIN knowledge_indexes i ON i.org_id = c.org_id AND i.index_id = c.index_id AND i.embedder = $3
JOIN knowledge_vectors v ON v.org_id = c.org_id AND v.index_id = c.index_id AND v.ordinal = c.ordinal
WHERE c.org_id = $1 AND c.project_id = $2 AND c.hash = ANY ($4::bytea[]);

-- name: left_over
-- Remaining rows of a base's deleted items, or of a deleted base; vectors and postings without a chunk.
WITH indexes AS (SELECT index_id FROM knowledge_indexes WHERE org_id = $1 AND knowledgebase_id = $2)
SELECT (SELECT count(*) FROM knowledge_index_items WHERE org_id = $1 AND item_id = ANY ($3::uuid[]))
     + (SELECT count(*) FROM knowledge_chunks c WHERE c.org_id = $1 AND c.index_id IN (SELECT index_id FROM indexes)
         AND c.item_id = ANY ($3::uuid[]))
     + (SELECT count(*) FROM knowledge_vectors v WHERE v.org_id = $1 AND v.index_id IN (SELECT index_id FROM indexes)
        AND NOT EXISTS (SELECT 1 FROM knowledge_chunks c WHERE c.org_id = v.org_id AND c.index_id = v.index_id
            AND c.ordinal = v.ordinal));

-- name: orphans
-- Deleted indexes of which tables still have rows. The distinct ids of each table are read by a loose index scan.
WITH RECURSIVE seen (place, index_id) AS (
    SELECT p.place, CASE p.place
        WHEN 1 THEN (SELECT min(index_id) FROM knowledge_index_items WHERE org_id = $1)
        WHEN 2 THEN (SELECT min(index_id) FROM knowledge_chunks WHERE org_id = $1)
        WHEN 3 THEN (SELECT min(index_id) FROM ONLY knowledge_vectors WHERE org_id = $1)
        ELSE (SELECT min(index_id) FROM knowledge_postings WHERE org_id = $1) END
    FROM generate_series(1, 4) AS p (place)
    UNION ALL
    SELECT s.place, CASE s.place
        WHEN 1 THEN (SELECT min(index_id) FROM knowledge_index_items WHERE org_id = $1 AND index_id > s.index_id)
        WHEN 2 THEN (SELECT min(index_id) FROM knowledge_chunks WHERE org_id = $1 AND index_id > s.index_id)
        WHEN 3 THEN (SELECT min(index_id) FROM ONLY knowledge_vectors WHERE org_id = $1 AND index_id > s.index_id)
        ELSE (SELECT min(index_id) FROM knowledge_postings WHERE org_id = $1 AND index_id > s.index_id) END
    FROM seen s WHERE s.index_id IS NOT NULL)
SELECT count(*) FROM seen s WHERE s.index_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM knowledge_indexes i
    WHERE i.org_id = $1 AND i.index_id = s.index_id);

-- name: indexes_of
SELECT index_id, chunks FROM knowledge_indexes WHERE org_id = $1 AND knowledgebase_id = $2;

-- name: ordinals
SELECT ordinal FROM knowledge_chunks WHERE org_id = $1 AND index_id = $2;

-- name: frequent_blocks
-- All postings of a small index; of a larger one those of its most frequent words, at least one of which is in nearly
-- every chunk.
WITH sizes AS (SELECT term, sum(count) AS total FROM knowledge_postings WHERE org_id = $1 AND index_id = $2
    GROUP BY term),
     chosen AS (SELECT term FROM (SELECT term, sum(total) OVER (ORDER BY total DESC, term) AS running FROM sizes) s
         WHERE running <= $3)
SELECT p.term, p.records FROM knowledge_postings p JOIN chosen USING (term) WHERE p.org_id = $1 AND p.index_id = $2;

-- name: stems
-- The stems of words by a language's dictionaries; no row for stop words.
SELECT w.word, s.stem
    FROM unnest($2::text[]) AS w (word), LATERAL unnest(tsvector_to_array(to_tsvector($1::text::regconfig,
    w.word))) AS s (stem);

-- name: compounds
-- Terms of the index between each of $3 and its counterpart in $4 (exclusive), at least $5 letters longer than the
-- former: at most $6 for each pair.
SELECT r.place, t.term
FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS r (low, high, place),
     LATERAL (SELECT DISTINCT p.term FROM knowledge_postings p WHERE p.org_id = $1 AND p.index_id = $2
         AND p.term > r.low COLLATE "C" AND p.term < r.high COLLATE "C" AND length(p.term) >= length(r.low) + $5
         LIMIT $6) t;

-- name: filter_blocks
-- The postings of the metadata terms that a filter needs.
SELECT term, records FROM knowledge_postings WHERE org_id = $1 AND index_id = $2 AND term = ANY ($3::text[]);

-- name: range_blocks
-- The same for one range of terms. For a join with a list of ranges the planner would read all postings of the base.
SELECT records FROM knowledge_postings WHERE org_id = $1 AND index_id = $2 AND term >= $3::text AND term < $4::text;

-- name: word_blocks
-- The postings of a query's terms, rarest first, up to the budget, so that the most frequent terms are left out. Each
-- term is looked up separately (LATERAL), so that the plan does not depend on the table's statistics.
WITH found AS MATERIALIZED (
    SELECT t.term, p.count, p.records FROM unnest($3::text[]) AS t (term),
        LATERAL (SELECT count, records FROM knowledge_postings
            WHERE org_id = $1 AND index_id = $2 AND term = t.term OFFSET 0) p),
     sizes AS (SELECT term, sum(count)::bigint AS total FROM found GROUP BY term),
     ranked AS (SELECT term, total, sum(total) OVER (ORDER BY total, term) AS running FROM sizes),
     taken AS (SELECT f.term, string_agg(f.records, ''::bytea) AS records
         FROM found f JOIN ranked r ON r.term = f.term AND (r.running <= $4 OR r.running = r.total) GROUP BY f.term)
SELECT coalesce(array_agg(r.term), '{}') AS terms, coalesce(array_agg(r.total), '{}') AS totals,
    coalesce(array_agg(t.records), '{}') AS records
FROM ranked r LEFT JOIN taken t ON t.term = r.term;

-- name: open_with_words
-- `open_index` and `word_blocks` in one, for an index whose row is cached: $6 is its cached id, and $7 are terms by its
-- cached form and languages. If the returned row differs, the caller looks the words up again.
WITH found AS MATERIALIZED (
    SELECT t.term, p.count, p.records FROM unnest($7::text[]) AS t (term),
        LATERAL (SELECT count, records FROM knowledge_postings
            WHERE org_id = $1 AND index_id = $6 AND term = t.term OFFSET 0) p),
     sizes AS (SELECT term, sum(count)::bigint AS total FROM found GROUP BY term),
     ranked AS (SELECT term, total, sum(total) OVER (ORDER BY total, term) AS running FROM sizes),
     taken AS (SELECT f.term, string_agg(f.records, ''::bytea) AS records
         FROM found f JOIN ranked r ON r.term = f.term AND (r.running <= $8 OR r.running = r.total) GROUP BY f.term)
SELECT i.org_id, i.index_id, i.dimensions, i.language, i.chunks, i.words, i.next_ordinal, i.own_table, i.hnsw, i.form,
       i.languages, w.terms, w.totals, w.records,
       set_config('hnsw.ef_search', $4, true), set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('hnsw.max_scan_tuples', $5, true),
       set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)
FROM knowledge_indexes i,
     (SELECT coalesce(array_agg(r.term), '{}') AS terms, coalesce(array_agg(r.total), '{}') AS totals,
          coalesce(array_agg(t.records), '{}') AS records FROM ranked r LEFT JOIN taken t ON t.term = r.term) w
WHERE i.org_id = $1 AND i.knowledgebase_id = $2 AND i.generation = $3;

-- name: nearest
-- An exact scan for the nearest vectors, and the cosines of the chunks $5 that keywords found. This and the next three
-- statements have the same first parameters. The query's vector is sent as text, which costs a tenth of a list of
-- numbers. The sub-select casts it once: PostgreSQL would cast a plain parameter again for every row, at several times
-- the cost of the distance.
(SELECT ordinal, -(embedding <#> (SELECT $3::text::halfvec)) AS score, false AS listed FROM {vectors}
WHERE org_id = $1 AND index_id = $2 ORDER BY embedding <#> (SELECT $3::text::halfvec) LIMIT $4)
UNION ALL
SELECT ordinal, -(embedding <#> (SELECT $3::text::halfvec)), true FROM {vectors}
WHERE org_id = $1 AND index_id = $2 AND ordinal = ANY ($5::int[]);

-- name: nearest_listed
-- An exact scan of ranges of ordinals: from each of $6 to its counterpart in $7 (inclusive).
(SELECT v.ordinal, -(v.embedding <#> (SELECT $3::text::halfvec)) AS score, false AS listed
FROM unnest($6::int[], $7::int[]) AS r (first, last),
     LATERAL (SELECT ordinal, embedding FROM {vectors} WHERE org_id = $1 AND index_id = $2 AND ordinal BETWEEN r.first
         AND r.last) v
ORDER BY v.embedding <#> (SELECT $3::text::halfvec) LIMIT $4)
UNION ALL
SELECT ordinal, -(embedding <#> (SELECT $3::text::halfvec)), true FROM {vectors}
WHERE org_id = $1 AND index_id = $2 AND ordinal = ANY ($5::int[]);

-- name: nearest_by_graph
-- Uses the HNSW graph of a table that holds only one index. The graph was built on the same cast.
(SELECT ordinal, -((embedding::halfvec({dimensions})) <#> (SELECT $3::text::halfvec({dimensions}))) AS score,
    false AS listed FROM {vectors}
ORDER BY (embedding::halfvec({dimensions})) <#> (SELECT $3::text::halfvec({dimensions})) LIMIT $4)
UNION ALL
SELECT ordinal, -(embedding <#> (SELECT $3::text::halfvec)), true FROM {vectors}
WHERE org_id = $1 AND index_id = $2 AND ordinal = ANY ($5::int[]);

-- name: nearest_by_graph_of
-- The same for vectors whose bit in $6 is set: pgvector walks the graph until enough of them are found.
(SELECT ordinal, -((embedding::halfvec({dimensions})) <#> (SELECT $3::text::halfvec({dimensions}))) AS score,
    false AS listed FROM {vectors}
WHERE CASE WHEN ordinal < $7 THEN get_bit($6::bytea, ordinal) = 1 ELSE false END
ORDER BY (embedding::halfvec({dimensions})) <#> (SELECT $3::text::halfvec({dimensions})) LIMIT $4)
UNION ALL
SELECT ordinal, -(embedding <#> (SELECT $3::text::halfvec)), true FROM {vectors}
WHERE org_id = $1 AND index_id = $2 AND ordinal = ANY ($5::int[]);

-- name: widen
SELECT set_config('hnsw.ef_search', $1, true);

-- name: scores_of
-- The cosines of some chunks.
SELECT ordinal, -(embedding <#> (SELECT $3::text::halfvec)) AS score FROM {vectors} WHERE org_id = $1
    AND index_id = $2 AND ordinal = ANY ($4::int[]);

-- name: chunks_of
SELECT c.ordinal, c.id, c.item_id, c.position, c.page, c.heading, c.text, c.place, i.metadata, i.language
FROM knowledge_chunks c JOIN knowledge_index_items i ON i.org_id = c.org_id AND i.index_id = c.index_id
    AND i.item_id = c.item_id
WHERE c.org_id = $1 AND c.index_id = $2 AND c.ordinal = ANY ($3::int[]);

-- name: chunks_of_item
-- An item's chunks in their order, with how many there are.
SELECT c.id, c.position, c.page, c.heading, c.text, count(*) OVER () AS total
FROM knowledge_indexes x
JOIN knowledge_index_items i ON i.org_id = x.org_id AND i.index_id = x.index_id AND i.item_id = $4
JOIN knowledge_chunks c ON c.org_id = i.org_id AND c.index_id = i.index_id
    AND c.ordinal BETWEEN i.first_ordinal AND i.last_ordinal AND c.item_id = i.item_id
WHERE x.org_id = $1 AND x.knowledgebase_id = $2 AND x.generation = $3 ORDER BY c.position LIMIT $6 OFFSET $5;

-- name: items_at
-- The items of some chunks, with each item's range of ordinals and number of words.
SELECT c.ordinal, c.item_id, i.first_ordinal, i.last_ordinal, i.words
FROM knowledge_chunks c, LATERAL (SELECT first_ordinal, last_ordinal, words FROM knowledge_index_items
    WHERE org_id = $1 AND index_id = $2 AND item_id = c.item_id OFFSET 0) i
WHERE c.org_id = $1 AND c.index_id = $2 AND c.ordinal = ANY ($3::int[]);

-- name: due
-- Of all tenants.
-- Indexes that are too large for the shared table or small enough to return to it, that lack an HNSW graph or whose
-- graph has too many deleted vectors, whose postings have too many blocks, or whose form is of an older version.
SELECT org_id, index_id FROM knowledge_indexes
WHERE unmerged >= $1 OR form < $4 OR (NOT own_table AND chunks >= $2 AND dimensions <= $3)
   OR (own_table AND (chunks < $2 / 2 OR NOT hnsw OR removed > greatest($2 / 10, chunks / 5)))
ORDER BY index_id;

-- name: try_lock_index
-- One node maintains an index at a time; PostgreSQL releases the advisory lock with the connection.
SELECT pg_try_advisory_lock(21367, ($1::bigint % 2147483647)::int);

-- name: unlock_index
SELECT pg_advisory_unlock(21367, ($1::bigint % 2147483647)::int);

-- name: state
SELECT index_id, org_id, dimensions, chunks, own_table, hnsw, removed, unmerged, form FROM knowledge_indexes
    WHERE org_id = $1 AND index_id = $2;

-- name: lock_state
-- The same, with the row locked (FOR UPDATE): nobody writes while vectors move.
SELECT index_id, org_id, dimensions, chunks, own_table, hnsw, removed, unmerged FROM knowledge_indexes
    WHERE org_id = $1 AND index_id = $2 FOR UPDATE;

-- name: set_home
UPDATE knowledge_indexes SET own_table = $3, hnsw = false, removed = 0 WHERE org_id = $1 AND index_id = $2;

-- name: copy_vectors
INSERT INTO {target} (org_id, project_id, index_id, ordinal, embedding)
SELECT org_id, project_id, index_id, ordinal, embedding FROM {source} WHERE org_id = $1 AND index_id = $2;

-- name: set_graph
UPDATE knowledge_indexes SET hnsw = true, removed = greatest(0, removed - $3)
    WHERE org_id = $1 AND index_id = $2 AND own_table;

-- name: graphs
-- The HNSW indexes of a table; an invalid one was being built when its process died.
SELECT c.relname AS name, i.indisvalid AS valid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_am a ON a.oid = c.relam
WHERE i.indrelid = to_regclass($1) AND a.amname = 'hnsw' ORDER BY c.relname;

-- name: stray_tables
-- Of all tenants.
-- Tables of vectors that no index uses any more.
SELECT c.relname FROM pg_class c JOIN pg_inherits h ON h.inhrelid = c.oid
    AND h.inhparent = 'knowledge_vectors'::regclass
WHERE NOT EXISTS (SELECT 1 FROM knowledge_indexes i WHERE i.own_table
    AND 'knowledge_vectors_' || i.index_id = c.relname);

-- name: is_read
-- Whether a transaction has a lock on a table.
SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = to_regclass($1) AND pid <> pg_backend_pid());

-- name: scattered_terms
-- Terms with many blocks of about one size (8 times as many records are the next size), and how many such blocks there
-- are.
SELECT term, sum(blocks)::bigint AS blocks FROM (
    SELECT term, count(*) AS blocks FROM knowledge_postings WHERE org_id = $1 AND index_id = $2 AND count < $4 / 2
    GROUP BY term, floor(ln(count::float8) / ln(8::float8)) HAVING count(*) >= $3) s
GROUP BY term ORDER BY term;

-- name: merge
-- Merges blocks of one size into blocks of the next size, so that a record is rewritten only a few times, however large
-- the index grows. Blocks with half of $5 records are not merged: a deleted item's blocks are rewritten, so the
-- records of a frequent word must not all be in one block.
WITH sizes AS (
    SELECT term, first_ordinal, count, floor(ln(count::float8) / ln(8::float8)) AS size
    FROM knowledge_postings WHERE org_id = $1 AND index_id = $2 AND term = ANY ($3::text[]) AND count < $5 / 2),
sized AS (
    SELECT term, first_ordinal, size, count(*) OVER (PARTITION BY term, size) AS blocks,
           (sum(count) OVER (PARTITION BY term, size ORDER BY first_ordinal) - count) / $5 AS part
    FROM sizes),
gone AS (
    DELETE FROM knowledge_postings p USING sized s
    WHERE p.org_id = $1 AND p.index_id = $2 AND p.term = s.term AND p.first_ordinal = s.first_ordinal AND s.blocks >= $4
    RETURNING p.org_id, p.project_id, p.index_id, p.term, p.first_ordinal, p.last_ordinal, p.count, p.records, s.size,
        s.part)
INSERT INTO knowledge_postings (org_id, project_id, index_id, term, first_ordinal, last_ordinal, count, records)
SELECT org_id, project_id, index_id, term, min(first_ordinal), max(last_ordinal), sum(count),
    string_agg(records, ''::bytea ORDER BY first_ordinal)
FROM gone GROUP BY org_id, project_id, index_id, term, size, part;

-- name: merged
UPDATE knowledge_indexes SET unmerged = greatest(0, unmerged - $3) WHERE org_id = $1 AND index_id = $2;

-- name: lock_form
-- Keeps writers out while the words are rebuilt; searches read the old postings until the commit.
SELECT org_id, project_id, knowledgebase_id, generation, language, form FROM knowledge_indexes
    WHERE org_id = $1 AND index_id = $2 FOR UPDATE;

-- name: drop_words
-- All postings except those of metadata.
DELETE FROM knowledge_postings WHERE org_id = $1 AND index_id = $2 AND left(term, 1) <> 'm';

-- name: items_after
SELECT item_id, metadata, first_ordinal, last_ordinal, terms, title FROM knowledge_index_items
WHERE org_id = $1 AND index_id = $2 AND item_id > $3 ORDER BY item_id LIMIT $4;

-- name: texts_of
SELECT item_id, ordinal, text, heading FROM knowledge_chunks
WHERE org_id = $1 AND index_id = $2 AND ordinal BETWEEN $3 AND $4 ORDER BY ordinal;

-- name: set_analysis
UPDATE knowledge_index_items SET words = $4, terms = $5, language = $6, title = $7
WHERE org_id = $1 AND index_id = $2 AND item_id = $3;

-- name: set_form
UPDATE knowledge_indexes SET form = $3, languages = $4, words = $5, unmerged = unmerged + $6
WHERE org_id = $1 AND index_id = $2;
