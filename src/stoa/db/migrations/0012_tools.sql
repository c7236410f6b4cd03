-- MCP servers among the tools. What a server offers is kept, so that a run can begin, and a call in doubt be judged, while the server is away.
ALTER TABLE tools DROP CONSTRAINT tools_type_check;
ALTER TABLE tools ADD CONSTRAINT tools_type_check CHECK (type IN ('http', 'python', 'mcp', 'knowledge_base'));
ALTER TABLE tools ALTER COLUMN idempotent DROP NOT NULL;   -- NULL: as the server's annotations say, conservatively
ALTER TABLE tools ADD COLUMN offers jsonb;                 -- what the server offered when it was last asked; NULL: never
ALTER TABLE tools ADD COLUMN listed_at timestamptz;
ALTER TABLE tools ADD COLUMN problem text;                 -- why it could not be asked the last time
