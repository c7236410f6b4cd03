"""Shows an answer on a terminal while it is written: Markdown, steps, questions to the person, and the outcome."""
