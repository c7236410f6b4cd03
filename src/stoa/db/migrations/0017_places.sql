-- Where a chunk stands beside its page and heading: {"rows": [first, last], "sheet": …, "ocr": true}. NULL: nothing more is known.
ALTER TABLE knowledge_chunks ADD COLUMN place jsonb;
