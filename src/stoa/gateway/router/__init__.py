"""The AI gateway on its own host: OpenAI's chat completions, embeddings and models for all of the catalogue."""
