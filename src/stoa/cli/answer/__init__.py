"""An answer on a terminal, as it is written: Markdown, steps, questions to the reader, and its end."""
