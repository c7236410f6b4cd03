"""The index of knowledge bases: chunks with their vectors and words, and the search over them."""
