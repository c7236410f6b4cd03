-- A key's own wish for kept answers of the gateway: what `Stoa-Cache: max-age=…` asks for one request, this asks for all of them.

ALTER TABLE access_keys ADD COLUMN cache_seconds int CHECK (cache_seconds BETWEEN 1 AND 86400);
