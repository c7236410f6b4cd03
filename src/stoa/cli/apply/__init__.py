"""`stoa apply`: knowledge bases, sources, tools and apps as files say, with a plan before anything is done."""
