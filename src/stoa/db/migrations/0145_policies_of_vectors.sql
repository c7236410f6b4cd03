-- Tables of vectors that large indexes were given since the migration before this one had a policy that knows one project, and none of several:
-- whoever sees some projects of an organization found nothing in them by meaning.
SELECT widen_policies();
