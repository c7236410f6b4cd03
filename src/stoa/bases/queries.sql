-- name: insert_base
INSERT INTO knowledgebases (org_id, project_id, id, name, description, embedder, chunking, retriever, language,
    created_by, ocr, ingestion)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: base
-- One base with what it holds.
SELECT b.*, c.items, c.chunks, c.served, c.built, c.missed FROM knowledgebases b, LATERAL (
    SELECT count(*) AS items, coalesce(sum(i.chunks) FILTER (WHERE i.served_sha256 IS NOT NULL), 0) AS chunks,
           count(*) FILTER (WHERE i.served_sha256 IS NOT NULL) AS served,
           count(*) FILTER (WHERE i.served_sha256 IS NOT NULL
               AND i.built >= (b.building ->> 'generation')::int) AS built,
           count(*) FILTER (WHERE i.served_sha256 IS NOT NULL AND i.built < (b.building ->> 'generation')::int
               AND i.status = 'failed') AS missed
    FROM knowledge_items i WHERE i.org_id = b.org_id AND i.knowledgebase_id = b.id) c
WHERE b.org_id = $1 AND b.id = $2;

-- name: list_bases
-- A page of bases, without the flows of their ingestion.
SELECT b.*, c.items, c.chunks, c.served, c.built, c.missed FROM (
    SELECT org_id, project_id, id, name, description, embedder, chunking, retriever, language, ocr, generation,
        building, created_at, updated_at,
           ingestion - '{{flow,flow_ui}}'::text[] AS ingestion
    FROM knowledgebases WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2) ORDER BY {order} LIMIT $3 OFFSET $4
) b, LATERAL (
    SELECT count(*) AS items, coalesce(sum(i.chunks) FILTER (WHERE i.served_sha256 IS NOT NULL), 0) AS chunks,
           count(*) FILTER (WHERE i.served_sha256 IS NOT NULL) AS served,
           count(*) FILTER (WHERE i.served_sha256 IS NOT NULL
               AND i.built >= (b.building ->> 'generation')::int) AS built,
           count(*) FILTER (WHERE i.served_sha256 IS NOT NULL AND i.built < (b.building ->> 'generation')::int
               AND i.status = 'failed') AS missed
    FROM knowledge_items i WHERE i.org_id = b.org_id AND i.knowledgebase_id = b.id) c
ORDER BY {order};

-- name: count_bases
SELECT count(*) FROM (
    SELECT FROM knowledgebases
    WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2) LIMIT 10001
) counted;

-- name: settings
-- A base's settings alone: what a search needs.
SELECT project_id, embedder, retriever, language, generation FROM knowledgebases WHERE org_id = $1 AND id = $2;

-- name: known_bases
-- Those of the ids that are bases.
SELECT id FROM knowledgebases WHERE org_id = $1 AND id = ANY ($2::uuid[]);

-- name: settings_of_worker
SELECT generation, building, embedder, chunking, language, ocr FROM knowledgebases WHERE org_id = $1 AND id = $2;

-- name: share_base
-- The base, held against its deletion and against the switch of generations until the transaction ends.
SELECT project_id, generation, building, embedder, chunking, language FROM knowledgebases
    WHERE org_id = $1 AND id = $2 FOR SHARE;

-- name: lock_base
SELECT project_id, generation, building, embedder, chunking, language FROM knowledgebases
    WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: update_base
UPDATE knowledgebases
    SET name = $3, description = $4, embedder = $5, chunking = $6, retriever = $7, language = $8, ocr = $9,
    ingestion = $10, updated_at = now()
WHERE org_id = $1 AND id = $2;

-- name: delete_base
DELETE FROM knowledgebases WHERE org_id = $1 AND id = $2;

-- name: insert_item
INSERT INTO knowledge_items (org_id, project_id, id, knowledgebase_id, name, size, mime_type, sha256, metadata,
    created_by, source_id, origin)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING *;

-- name: replace_item
-- A new file for an item, and new metadata where they are given. What is in the index stays and answers until the new
-- one is.
UPDATE knowledge_items
    SET name = $4, size = $5, mime_type = $6, sha256 = $7, metadata = coalesce($8, metadata), paid_by = $9,
    status = 'pending', version = version + 1, attempt = 0, node_id = NULL, not_before = now(), deadline = NULL,
        pages_done = NULL, pages = NULL, chunks_done = NULL,
    chunks_total = NULL, warnings = NULL, error = NULL, uploaded_at = now(), processed_at = NULL
WHERE org_id = $1 AND knowledgebase_id = $2 AND id = $3 RETURNING *;

-- name: reprocess_item
-- Who asks pays for what is read.
UPDATE knowledge_items
    SET status = 'pending', paid_by = $3, version = version + 1, attempt = 0, node_id = NULL, not_before = now(),
    deadline = NULL,
    pages_done = NULL, pages = NULL, chunks_done = NULL, chunks_total = NULL, warnings = NULL, error = NULL,
        processed_at = NULL
WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: reprocess_failed
-- Held in the order of their ids, like everything that takes several items.
WITH failed AS (
    SELECT id FROM knowledge_items WHERE org_id = $1 AND knowledgebase_id = $2 AND status = 'failed'
        ORDER BY id FOR UPDATE
), again AS (
    UPDATE knowledge_items i
        SET status = 'pending', paid_by = $3, version = version + 1, attempt = 0, node_id = NULL, not_before = now(),
        deadline = NULL,
        pages_done = NULL, pages = NULL, chunks_done = NULL, chunks_total = NULL, warnings = NULL, error = NULL,
            processed_at = NULL
    FROM failed WHERE i.org_id = $1 AND i.id = failed.id RETURNING 1)
SELECT count(*) FROM again;

-- name: item
SELECT * FROM knowledge_items WHERE org_id = $1 AND id = $2;

-- name: items_by_id_or_name
-- The items of a base that a golden set speaks of.
SELECT id, name FROM knowledge_items
    WHERE org_id = $1 AND knowledgebase_id = $2 AND (id = ANY ($3::uuid[]) OR name = ANY ($4::text[]));

-- name: lock_item
SELECT * FROM knowledge_items WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: lock_items
-- Held in the order of their ids, like everything that takes several items.
SELECT * FROM knowledge_items WHERE org_id = $1 AND id = ANY ($2::uuid[]) ORDER BY id FOR UPDATE;

-- name: set_item_metadata
UPDATE knowledge_items SET metadata = $3 WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: list_items
SELECT * FROM knowledge_items
WHERE org_id = $1 AND knowledgebase_id = $2 AND ($3::text[] IS NULL OR status = ANY ($3))
    AND ($4::uuid IS NULL OR source_id = $4)
ORDER BY {items_order} LIMIT $5 OFFSET $6;

-- name: count_items
SELECT count(*) FROM (
    SELECT FROM knowledge_items
    WHERE org_id = $1 AND knowledgebase_id = $2 AND ($3::text[] IS NULL OR status = ANY ($3))
        AND ($4::uuid IS NULL OR source_id = $4)
    LIMIT 10001
) counted;

-- name: delete_items
-- Items of a base: those named, or all of them. Held in the order of their ids, like everything that takes several
-- items.
WITH gone AS (
    SELECT id FROM knowledge_items
        WHERE org_id = $1 AND knowledgebase_id = $2 AND ($3::uuid[] IS NULL OR id = ANY ($3)) ORDER BY id FOR UPDATE
)
DELETE FROM knowledge_items i USING gone WHERE i.org_id = $1 AND i.id = gone.id
    RETURNING i.id, i.sha256, i.served_sha256;

-- name: delete_idempotency
-- Remembered answers that speak of what was deleted.
WITH gone AS (DELETE FROM idempotency_keys WHERE org_id = $1 AND subject_id = ANY ($2::uuid[]) RETURNING 1)
    SELECT count(*) FROM gone;

-- name: content_in_use
-- Whether an item has this content, or the index serves it.
SELECT EXISTS (SELECT 1 FROM knowledge_items WHERE org_id = $1 AND project_id = $2 AND sha256 = $3)
    OR EXISTS (SELECT 1 FROM knowledge_items WHERE org_id = $1 AND project_id = $2 AND served_sha256 = $3);

-- name: unknown_content
-- Those of the contents that no item has, and that the index does not serve.
SELECT h FROM unnest($3::bytea[]) AS h
WHERE NOT EXISTS (SELECT 1 FROM knowledge_items WHERE org_id = $1 AND project_id = $2 AND sha256 = h)
  AND NOT EXISTS (SELECT 1 FROM knowledge_items WHERE org_id = $1 AND project_id = $2 AND served_sha256 = h);

-- name: claim
-- Of all tenants.
-- Claims up to $2 items; each is this node's from the commit on. First what nodes that do not live or fell silent left
-- behind, and what is this
-- node's own but not among what it works on ($8); an item that lost its worker twice or more rests first (2, 8, 32, 128
-- seconds), so that a file
-- that takes its server down does not do so before the others have had their turn. Then what waits, one project after
-- another, beginning behind
-- project $6; within a project one base after another. $3 are projects with items on this node, $4 how many more each
-- may have, $5 the same for
-- every other project. Of files over $9 bytes at most $10 are claimed: more of them would wait here, and might be read
-- by another node.
WITH RECURSIVE lost AS (
    SELECT i.org_id, i.id, i.size, i.attempt FROM knowledge_items i
    WHERE i.status = 'processing' AND (i.node_id <> $1 OR i.id <> ALL ($8::uuid[]))
      AND (i.deadline < now() OR i.node_id = $1 OR i.node_id NOT IN (SELECT id FROM living_nodes))
    ORDER BY i.deadline LIMIT $2 FOR UPDATE SKIP LOCKED
), resting AS (
    UPDATE knowledge_items i
        SET status = 'pending', node_id = NULL, deadline = NULL,
        not_before = now() + 2 * 4 ^ (l.attempt - 2) * interval '1 second'
    FROM lost l WHERE l.attempt >= 2 AND i.org_id = l.org_id AND i.id = l.id
), projects AS (
    SELECT $6::uuid AS project_id, false AS found, false AS wrapped, 0 AS turn
    UNION ALL
    SELECT coalesce(n.project_id, '00000000-0000-0000-0000-000000000000'), n.project_id IS NOT NULL,
        p.wrapped OR n.project_id IS NULL, p.turn + 1
    FROM projects p LEFT JOIN LATERAL (
        SELECT i.project_id FROM knowledge_items i WHERE i.status = 'pending' AND i.project_id > p.project_id
            ORDER BY i.project_id LIMIT 1
    ) n ON true
    WHERE NOT p.wrapped OR n.project_id <= $6
), roomy AS (
    SELECT p.project_id, p.turn, coalesce(here.room, $5::int) AS room
    FROM projects p LEFT JOIN unnest($3::uuid[], $4::int[]) AS here(project_id, room) ON here.project_id = p.project_id
    WHERE p.found AND coalesce(here.room, $5::int) > 0
      AND EXISTS (SELECT 1 FROM knowledge_items i
          WHERE i.status = 'pending' AND i.project_id = p.project_id AND i.not_before <= now())
    LIMIT $2
), lanes AS (
    SELECT p.project_id, p.turn, p.room, b.base_id FROM roomy p CROSS JOIN LATERAL (
        WITH RECURSIVE bases AS (
            (SELECT knowledgebase_id AS base_id FROM knowledge_items
                WHERE status = 'pending' AND project_id = p.project_id
             ORDER BY knowledgebase_id LIMIT 1)
            UNION ALL
            SELECT (SELECT i.knowledgebase_id FROM knowledge_items i
                    WHERE i.status = 'pending' AND i.project_id = p.project_id AND i.knowledgebase_id > b.base_id
                        ORDER BY i.knowledgebase_id LIMIT 1)
            FROM bases b WHERE b.base_id IS NOT NULL
        ) SELECT base_id FROM bases WHERE EXISTS (
            SELECT 1 FROM knowledge_items i
            WHERE i.status = 'pending' AND i.project_id = p.project_id AND i.knowledgebase_id = bases.base_id
                AND i.not_before <= now())
          ORDER BY random() LIMIT $2
    ) b
), waiting AS (
    SELECT w.org_id, w.id, w.size, l.project_id, l.turn, l.room,
        row_number() OVER (PARTITION BY l.base_id ORDER BY w.not_before) AS turn_of_base
    FROM lanes l CROSS JOIN LATERAL (
        SELECT i.org_id, i.id, i.size, i.not_before FROM knowledge_items i
        WHERE i.status = 'pending' AND i.project_id = l.project_id AND i.knowledgebase_id = l.base_id
            AND i.not_before <= now()
        ORDER BY i.not_before LIMIT least(l.room, $2) FOR UPDATE SKIP LOCKED) w
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY project_id ORDER BY turn_of_base, random()) AS turn_of_project
        FROM waiting
), next AS (
    SELECT org_id, id, size, 0 AS turn_of_project, 0 AS turn FROM lost WHERE attempt < 2
    UNION ALL
    SELECT org_id, id, size, turn_of_project, turn FROM ranked WHERE turn_of_project <= room
), taken AS (
    SELECT org_id, id FROM (
        SELECT *, count(*) FILTER (WHERE size > $9) OVER (ORDER BY turn_of_project, turn, id) AS large FROM next) n
    WHERE size <= $9 OR large <= $10 ORDER BY turn_of_project, turn, id LIMIT $2
)
UPDATE knowledge_items i
    SET status = 'processing', node_id = $1, attempt = i.attempt + 1,
    deadline = now() + $7::float8 * interval '1 second'
FROM taken WHERE i.org_id = taken.org_id AND i.id = taken.id RETURNING i.*;

-- name: progress
-- Stores progress and renews the lease. No row: the worker no longer owns the item.
UPDATE knowledge_items
    SET pages_done = $6, pages = $7, chunks_done = $8, chunks_total = $9,
    deadline = now() + $10::float8 * interval '1 second'
WHERE org_id = $1 AND id = $2 AND version = $3 AND attempt = $4 AND node_id = $5 AND status = 'processing' RETURNING id;

-- name: unsettled_items
-- Of all tenants.
SELECT 'pending', count(*) FROM knowledge_items WHERE status = 'pending'
UNION ALL SELECT 'processing', count(*) FROM knowledge_items WHERE status = 'processing';

-- name: settle
-- The version that was taken is in the index that is searched ($7 chunks), in the one that is being built ($8), or in
-- both.
UPDATE knowledge_items
    SET status = 'processed', node_id = NULL, deadline = NULL, served_sha256 = sha256, served_name = name,
    served_mime_type = mime_type, pages = $6, pages_done = $6, chunks = coalesce($7, chunks), built_chunks = $8,
        chunks_done = coalesce($8, $7),
    chunks_total = coalesce($8, $7), warnings = $9, error = NULL, built = $10, processed_at = now()
WHERE org_id = $1 AND id = $2 AND version = $3 AND attempt = $4 AND node_id = $5 AND status = 'processing' RETURNING id;

-- name: settle_items
-- The same for several items that are locked and checked, in the index that is searched ($2 is its generation).
UPDATE knowledge_items i
    SET status = 'processed', node_id = NULL, deadline = NULL, served_sha256 = i.sha256, served_name = i.name,
    served_mime_type = i.mime_type, pages = s.pages, pages_done = s.pages, chunks = s.chunks, built_chunks = NULL,
    chunks_done = s.chunks, chunks_total = s.chunks,
    warnings = CASE WHEN s.warnings IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(s.warnings::jsonb)) END,
    error = NULL, built = $2, processed_at = now()
FROM unnest($3::uuid[], $4::int[], $5::int[], $6::text[]) AS s (id, pages, chunks, warnings)
WHERE i.org_id = $1 AND i.id = s.id;

-- name: fail
-- The claimed version failed. $7, $8: the previous version was copied into the generation being built.
UPDATE knowledge_items
    SET status = 'failed', node_id = NULL, deadline = NULL, error = $6, built_chunks = coalesce($7, built_chunks),
    built = coalesce($8, built), processed_at = now()
WHERE org_id = $1 AND id = $2 AND version = $3 AND attempt = $4 AND node_id = $5 AND status = 'processing' RETURNING id;

-- name: postpone
-- Back to the queue after a temporary failure.
UPDATE knowledge_items
    SET status = 'pending', node_id = NULL, deadline = NULL, not_before = now() + $6::float8 * interval '1 second',
    error = $7
WHERE org_id = $1 AND id = $2 AND version = $3 AND attempt = $4 AND node_id = $5 AND status = 'processing' RETURNING id;

-- name: give_back
-- Of all tenants.
-- At shutdown: releases this node's items, and this attempt does not count.
UPDATE knowledge_items
    SET status = 'pending', node_id = NULL, deadline = NULL, not_before = now(), attempt = greatest(attempt - 1, 0)
WHERE node_id = $1 AND status = 'processing';

-- name: begin_building
UPDATE knowledgebases SET building = $3, updated_at = now() WHERE org_id = $1 AND id = $2;

-- name: rebuild_items
-- Every indexed or pending item is processed again, also for the generation being built; searches use the old chunks.
UPDATE knowledge_items
    SET status = 'pending', paid_by = $3, version = version + 1, attempt = 0, node_id = NULL, not_before = now(),
    deadline = NULL,
    pages_done = NULL, pages = NULL, chunks_done = NULL, chunks_total = NULL, built_chunks = NULL, error = NULL
WHERE org_id = $1 AND knowledgebase_id = $2 AND (status <> 'failed' OR served_sha256 IS NOT NULL);

-- name: stop_building
-- Keeps the present embedder as the owner's choice.
UPDATE knowledgebases SET building = NULL, embedder = embedder || '{"automatic": false}', updated_at = now()
    WHERE org_id = $1 AND id = $2;

-- name: unbuild_items
-- Resets items that were processed for the canceled generation; pending replacements stay pending.
UPDATE knowledge_items
    SET status = 'processed', version = version + 1, node_id = NULL, deadline = NULL, error = NULL,
    built = least(built, $3),
    built_chunks = NULL, chunks_done = chunks, chunks_total = chunks, processed_at = coalesce(processed_at, now())
WHERE org_id = $1 AND knowledgebase_id = $2 AND served_sha256 = sha256;

-- name: unbuild_replacements
UPDATE knowledge_items SET built = least(built, $3), built_chunks = NULL
WHERE org_id = $1 AND knowledgebase_id = $2 AND served_sha256 <> sha256;

-- name: switch
-- Switches searches to the generation that was built.
UPDATE knowledgebases
    SET generation = (building ->> 'generation')::int, embedder = building -> 'embedder',
    chunking = building -> 'chunking',
    language = building ->> 'language', building = NULL, updated_at = now()
WHERE org_id = $1 AND id = $2 AND building IS NOT NULL RETURNING generation;

-- name: switch_items
UPDATE knowledge_items SET chunks = built_chunks, built_chunks = NULL
WHERE org_id = $1 AND knowledgebase_id = $2 AND served_sha256 IS NOT NULL AND built = $3;

-- name: complete_bases
-- Of all tenants.
-- Bases whose next generation has all searchable items. Items that wait for their first processing use the new one.
SELECT b.org_id, b.id FROM knowledgebases b
WHERE b.building IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM knowledge_items i WHERE i.org_id = b.org_id AND i.knowledgebase_id = b.id
    AND i.served_sha256 IS NOT NULL AND i.built < (b.building ->> 'generation')::int)
LIMIT 16;

-- name: is_complete
SELECT NOT EXISTS (SELECT 1 FROM knowledge_items
    WHERE org_id = $1 AND knowledgebase_id = $2 AND served_sha256 IS NOT NULL AND built < $3);

-- name: insert_deletion
INSERT INTO deletions (org_id, project_id, id, kind, subject_id, stores, blobs, file_ids, created_by, knowledgebase_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: deletion
SELECT * FROM deletions WHERE org_id = $1 AND id = $2;

-- name: unverified_deletions
-- Deletions of knowledge whose proof is still owed, of all tenants: a node may have died between the two, or the proof
-- was too long for a request.
SELECT * FROM deletions
WHERE verified_at IS NULL AND kind IN ('knowledgebase', 'knowledge_item') AND created_at < now() - interval '5 seconds'
ORDER BY created_at LIMIT 100;

-- name: chunks_of_base
SELECT coalesce(sum(chunks), 0)::bigint FROM knowledge_items WHERE org_id = $1 AND knowledgebase_id = $2;

-- name: record_blobs
UPDATE deletions SET stores = jsonb_set(stores, '{blobs}', jsonb_build_object('rows', $3::int, 'bytes', $4::bigint)),
    blobs = '{}'
WHERE org_id = $1 AND id = $2 AND blobs <> '{}';

-- name: left_over
-- Rows of knowledge that still speak of what was deleted; its re-scan wants zero. The index has a re-scan of its own.
SELECT (SELECT count(*) FROM knowledgebases WHERE org_id = $1 AND id = $2)
     + (SELECT count(*) FROM knowledge_items WHERE org_id = $1 AND (id = ANY ($3::uuid[]) OR knowledgebase_id = $2))
     + (SELECT count(*) FROM knowledge_transcripts
         WHERE org_id = $1 AND (item_id = ANY ($3::uuid[]) OR knowledgebase_id = $2))
     + (SELECT count(*) FROM model_calls WHERE org_id = $1 AND knowledgebase_id = $2)
     + (SELECT count(*) FROM idempotency_keys WHERE org_id = $1 AND (subject_id = $2 OR subject_id = ANY ($3::uuid[])));

-- name: verified
UPDATE deletions SET verified_at = now() WHERE org_id = $1 AND id = ANY ($2::uuid[]) AND verified_at IS NULL;

-- name: transcripts
-- Earlier transcripts of this content by this model, for any item of the project.
SELECT DISTINCT ON (page) page, text, complete FROM knowledge_transcripts
WHERE org_id = $1 AND project_id = $2 AND sha256 = $3 AND model = $4 ORDER BY page;

-- name: insert_transcript
-- Whoever carries the item now: what was read is true of the content. No row: the item is gone, or has another.
INSERT INTO knowledge_transcripts (org_id, project_id, knowledgebase_id, item_id, sha256, page, model, text, complete,
    prompt_tokens, completion_tokens,
                                   call_id)
SELECT i.org_id, i.project_id, i.knowledgebase_id, i.id, $3, $4, $5, $6, $7, $8, $9, $10 FROM knowledge_items i
WHERE i.org_id = $1 AND i.id = $2 AND $3 IN (i.sha256, i.served_sha256) FOR SHARE
ON CONFLICT (org_id, item_id, sha256, page, model) DO UPDATE SET text = excluded.text, complete = excluded.complete,
    prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens, call_id = excluded.call_id
        RETURNING page;

-- name: measure_transcripts
-- What goes with items of a base: those named, or all of them.
SELECT count(*) AS rows, coalesce(sum(octet_length(text)), 0)::bigint AS bytes FROM knowledge_transcripts
WHERE org_id = $1 AND knowledgebase_id = $2 AND ($3::uuid[] IS NULL OR item_id = ANY ($3));

-- name: forget_base_on_bill
-- Anonymizes the lines of the bill; the amounts stay.
WITH lines AS (UPDATE model_calls SET knowledgebase_id = NULL WHERE org_id = $1 AND knowledgebase_id = $2 RETURNING 1)
    SELECT count(*) FROM lines;

-- name: forget_transcripts
-- Removes transcripts of versions before the searchable one of each item.
DELETE FROM knowledge_transcripts t USING unnest($2::uuid[], $3::bytea[]) AS kept (item_id, sha256)
WHERE t.org_id = $1 AND t.item_id = kept.item_id AND t.sha256 <> kept.sha256;
