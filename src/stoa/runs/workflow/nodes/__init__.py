"""Node types: a file each, with its schema and what its nodes do. `registry` finds them."""
