-- name: upsert_global
-- A model that every tenant may use, as this node's provider lists it.
INSERT INTO models (id, slug, name, provider, wire_name, abilities) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, provider = excluded.provider, abilities = excluded.abilities
WHERE (models.name, models.provider, models.abilities) IS DISTINCT
    FROM (excluded.name, excluded.provider, excluded.abilities);

-- name: insert_of_connection
INSERT INTO models (id, org_id, project_id, connection_id, slug, name, provider, wire_name, abilities)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING;

-- name: models_of_tenant
-- The models of the caller's connections.
SELECT id, slug, name, provider, abilities FROM models WHERE org_id = $1 AND connection_id IS NOT NULL ORDER BY slug;

-- name: model
-- One model, with its connection.
SELECT m.*, c.type AS connection_type, c.base_url, c.secret, c.ca_bundle, c.updated_at AS connection_updated_at
FROM models m LEFT JOIN connections c ON c.org_id = m.org_id AND c.id = m.connection_id
WHERE m.id = $1;

-- name: insert_connection
INSERT INTO connections (org_id, project_id, id, name, type, base_url, secret, ca_bundle)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *;

-- name: connection
SELECT * FROM connections WHERE org_id = $1 AND id = $2;

-- name: connection_to_change
-- Locks the row: of two concurrent changes the second sees the first.
SELECT * FROM connections WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: list_connections
-- A page of connections; {order} contains only validated column names.
SELECT * FROM connections
WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2) AND ($3::text[] IS NULL OR type = ANY ($3))
ORDER BY {order} LIMIT $4 OFFSET $5;

-- name: count_connections
SELECT count(*) FROM (
    SELECT FROM connections
    WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2) AND ($3::text[] IS NULL OR type = ANY ($3))
    LIMIT 10001
) counted;

-- name: update_connection
-- Changes the address, credential or CA bundle; a NULL secret keeps the old one.
UPDATE connections SET base_url = $3, secret = coalesce($4, secret), ca_bundle = $5, updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: delete_connection
DELETE FROM connections WHERE org_id = $1 AND id = $2 RETURNING id;

-- name: model_by_slug
-- A model of the caller's connections, by its slug.
SELECT m.*, c.type AS connection_type, c.base_url, c.secret, c.ca_bundle, c.updated_at AS connection_updated_at
FROM models m JOIN connections c ON c.org_id = m.org_id AND c.id = m.connection_id
WHERE m.org_id = $1 AND m.slug = $2 ORDER BY m.created_at, m.id LIMIT 1;

-- name: id_of_slug
-- A model that the transaction's tenant may use, by its slug; one that every tenant may use takes precedence.
SELECT id FROM models WHERE slug = $1 AND (org_id IS NULL OR connection_id IS NOT NULL)
ORDER BY org_id NULLS FIRST, created_at, id LIMIT 1;

-- name: connection_by_name
SELECT * FROM connections WHERE org_id = $1 AND name = $2 ORDER BY created_at, id LIMIT 1;
