-- name: is_first_organization
-- The organization that the server made at its first start is its operator's.
SELECT id = $1 FROM orgs ORDER BY created_at, id LIMIT 1;

-- name: verified_days
-- The days without findings whose rows can no longer change.
SELECT name, starts_at, ends_at FROM doctor_spans;

-- name: remember
-- Remembers a day without findings.
INSERT INTO doctor_spans (name, starts_at, ends_at) VALUES ($1, $2, $3)
ON CONFLICT (name, starts_at) DO UPDATE SET ends_at = excluded.ends_at, verified_at = now();

-- name: forget
-- Forgets a day that has findings now.
DELETE FROM doctor_spans WHERE name = $1 AND starts_at = $2;
