"""OpenAI's newer API over the same model: /v1/responses."""
