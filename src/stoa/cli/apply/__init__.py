"""`stoa apply`: creates and changes knowledge bases, sources, tools and apps as declared in files, after showing a
plan."""
