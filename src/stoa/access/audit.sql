-- name: list_lines
-- Newest first, of the caller's scope; each filter is off where it is NULL.
SELECT * FROM audit
WHERE org_id = $1 AND ($2::bigint IS NULL OR id < $2) AND ($3::text IS NULL OR action = $3)
  AND ($4::uuid IS NULL OR subject_id = $4) AND ($5::uuid IS NULL OR key_id = $5 OR user_id = $5)
  AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
ORDER BY id DESC LIMIT $8;

-- name: count_lines
-- Up to $7: counting a long audit would cost more than it tells.
SELECT count(*) FROM (
    SELECT FROM audit
    WHERE org_id = $1 AND ($2::text IS NULL OR action = $2) AND ($3::uuid IS NULL OR subject_id = $3)
      AND ($4::uuid IS NULL OR key_id = $4 OR user_id = $4)
      AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6) LIMIT $7) lines;

-- name: chained_lines
-- In the order of the chain, from the line $2 on, whose hash is the one before the next.
SELECT * FROM audit WHERE org_id = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3;

-- name: head
SELECT sequence, hash FROM audit_heads WHERE org_id = $1;

-- name: unsealed_orgs
-- Of all tenants: organizations with lines that are not in the chain yet.
SELECT DISTINCT org_id FROM audit WHERE sequence IS NULL LIMIT 100;

-- name: add_head
INSERT INTO audit_heads (org_id, sequence, hash) VALUES ($1, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;

-- name: lock_head
-- One node seals an organization's lines at a time. Who writes lines does not wait for this lock.
SELECT sequence, hash FROM audit_heads WHERE org_id = $1 FOR UPDATE;

-- name: unsealed
SELECT * FROM audit WHERE org_id = $1 AND sequence IS NULL ORDER BY id LIMIT $2;

-- name: seal
UPDATE audit a SET sequence = s.sequence, hash = s.hash
FROM unnest($2::bigint[], $3::bigint[], $4::bytea[]) AS s(id, sequence, hash) WHERE a.org_id = $1 AND a.id = s.id;

-- name: move_head
UPDATE audit_heads SET sequence = $2, hash = $3 WHERE org_id = $1;
