-- The doctor asks, in an organization's name, whether the node that carries a run still lives. Nodes are nobody's; these columns tell nothing else.
GRANT SELECT (id, expires_at) ON nodes TO stoa_tenant;
