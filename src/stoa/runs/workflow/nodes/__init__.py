"""Node types: one file each, with the schema and the behaviour. `registry` finds them."""
