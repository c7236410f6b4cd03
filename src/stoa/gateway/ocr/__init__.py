"""Documents to Markdown and to JSON by models of the catalogue: `POST /v1/ocr/parse`, `POST /v1/ocr/extract`."""
