-- Each finds violations: $1 is an organization or NULL for all, $2 the earliest time or NULL.

-- name: overdue
-- Items that no node claims, or that are overdue.
SELECT i.org_id, i.id AS subject, format('%s, %s since %s', i.name, i.status,
    coalesce(i.deadline, i.not_before)::timestamptz(0)) AS detail
FROM knowledge_items i
WHERE ((i.status = 'processing' AND i.deadline < now() - interval '5 minutes')
    OR (i.status = 'pending' AND i.not_before < now() - interval '1 hour'))
  AND ($1::uuid IS NULL OR i.org_id = $1) AND ($2::timestamptz IS NULL OR i.uploaded_at >= $2);

-- name: unserved
-- Processed items that are missing from the index of their base, or have another number of chunks there.
SELECT i.org_id, i.id AS subject, format('%s: %s chunks of %s are in the index', i.name, indexed.chunks,
    i.chunks) AS detail
FROM knowledge_items i
JOIN knowledgebases b ON b.org_id = i.org_id AND b.id = i.knowledgebase_id
LEFT JOIN knowledge_indexes x ON x.org_id = b.org_id AND x.knowledgebase_id = b.id AND x.generation = b.generation
CROSS JOIN LATERAL (
    SELECT count(*) AS chunks FROM knowledge_chunks c WHERE c.org_id = x.org_id AND c.index_id = x.index_id
        AND c.item_id = i.id
) indexed
WHERE i.status = 'processed' AND b.building IS NULL AND indexed.chunks <> coalesce(i.chunks, 0)
  AND ($1::uuid IS NULL OR i.org_id = $1) AND ($2::timestamptz IS NULL OR i.uploaded_at >= $2);

-- name: orphans
-- Items of an index without an item of the base.
SELECT e.org_id, format('%s/%s/%s', x.knowledgebase_id, x.generation, e.item_id) AS subject,
    'the index holds it, and it is no item of its base' AS detail
FROM knowledge_index_items e
JOIN knowledge_indexes x ON x.org_id = e.org_id AND x.index_id = e.index_id
WHERE ($1::uuid IS NULL OR e.org_id = $1) AND $2::timestamptz IS NULL
  AND NOT EXISTS (SELECT 1 FROM knowledge_items i WHERE i.org_id = e.org_id AND i.id = e.item_id
      AND i.knowledgebase_id = x.knowledgebase_id);

-- name: stray_indexes
-- Indexes that no base uses or builds.
SELECT x.org_id, format('%s/%s', x.knowledgebase_id, x.generation) AS subject, format('%s chunks', x.chunks) AS detail
FROM knowledge_indexes x
WHERE ($1::uuid IS NULL OR x.org_id = $1) AND $2::timestamptz IS NULL AND NOT EXISTS (
    SELECT 1 FROM knowledgebases b WHERE b.org_id = x.org_id AND b.id = x.knowledgebase_id
    AND (b.generation = x.generation OR (b.building ->> 'generation')::int = x.generation));

-- name: miscounted
-- Indexes whose counts (used for scores) differ from their chunks, vectors and items.
SELECT x.org_id, format('%s/%s', x.knowledgebase_id, x.generation) AS subject,
       format('it counts %s chunks and %s words; there are %s chunks, %s vectors, %s words', x.chunks, x.words,
           c.chunks, v.vectors, e.words) AS detail
FROM knowledge_indexes x
CROSS JOIN LATERAL (SELECT count(*) AS chunks FROM knowledge_chunks WHERE org_id = x.org_id AND index_id = x.index_id) c
CROSS JOIN LATERAL (SELECT count(*) AS vectors FROM knowledge_vectors WHERE org_id = x.org_id
    AND index_id = x.index_id) v
CROSS JOIN LATERAL (SELECT coalesce(sum(words), 0) AS words FROM knowledge_index_items WHERE org_id = x.org_id
    AND index_id = x.index_id) e
WHERE ($1::uuid IS NULL OR x.org_id = $1) AND $2::timestamptz IS NULL
    AND (x.chunks <> c.chunks OR x.chunks <> v.vectors OR x.words <> e.words);

-- name: unbilled
-- OCR pages without a line on the bill, or with another number of tokens there.
SELECT t.org_id, format('%s/%s/%s/%s', t.item_id, encode(t.sha256, 'hex'), t.page, t.model) AS subject,
       format('page %s took %s + %s tokens; %s', t.page, t.prompt_tokens, t.completion_tokens,
              coalesce(format('its bill says %s + %s', c.prompt_tokens, c.completion_tokens),
                  'it is on no bill')) AS detail
FROM knowledge_transcripts t LEFT JOIN model_calls c ON c.org_id = t.org_id AND c.id = t.call_id
WHERE ($1::uuid IS NULL OR t.org_id = $1) AND ($2::timestamptz IS NULL OR t.created_at >= $2)
  AND (c.id IS NULL OR c.prompt_tokens <> t.prompt_tokens OR c.completion_tokens <> t.completion_tokens);

-- name: bill_late
-- Enters a line without a price, because the price is not known.
WITH page AS (
    SELECT t.*, coalesce(i.paid_by, i.created_by) AS paid_by FROM knowledge_transcripts t
        JOIN knowledge_items i ON i.org_id = t.org_id AND i.id = t.item_id
    WHERE t.org_id = $1 AND t.item_id = $2 AND t.sha256 = decode($3, 'hex') AND t.page = $4 AND t.model = $5
      AND NOT EXISTS (SELECT 1 FROM model_calls c WHERE c.org_id = t.org_id AND c.id = t.call_id)
    FOR UPDATE OF t
), line AS (
    INSERT INTO model_calls (org_id, project_id, key_id, model, prompt_tokens, completion_tokens, cached_tokens,
        reasoning_tokens, estimated, kind,
                             knowledgebase_id, at)
    SELECT org_id, project_id, paid_by, model, prompt_tokens, completion_tokens, 0, 0, false, 'ocr', knowledgebase_id,
        created_at FROM page RETURNING id
)
UPDATE knowledge_transcripts t SET call_id = line.id FROM page, line
WHERE t.org_id = page.org_id AND t.item_id = page.item_id AND t.sha256 = page.sha256 AND t.page = page.page
    AND t.model = page.model RETURNING t.call_id;

-- name: contents
-- Every content that an item has or that its index serves.
SELECT org_id, project_id, sha256 FROM knowledge_items WHERE ($1::uuid IS NULL OR org_id = $1)
    AND ($2::timestamptz IS NULL OR uploaded_at >= $2)
UNION
SELECT org_id, project_id, served_sha256 FROM knowledge_items
WHERE served_sha256 IS NOT NULL AND ($1::uuid IS NULL OR org_id = $1)
    AND ($2::timestamptz IS NULL OR uploaded_at >= $2);

-- name: process_again
-- Processes an item again that is not in the index correctly.
UPDATE knowledge_items SET status = 'pending', version = version + 1, attempt = 0, node_id = NULL, not_before = now(),
    deadline = NULL, error = NULL
WHERE org_id = $1 AND id = $2 AND status IN ('processed', 'processing', 'pending') RETURNING id;

-- name: index_key
-- Whose index it is, if the base is gone or does not know it.
SELECT project_id FROM knowledge_indexes WHERE org_id = $1 AND knowledgebase_id = $2 AND generation = $3;
