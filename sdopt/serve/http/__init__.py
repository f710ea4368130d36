"""HTTP over the picture service: the OpenAI Images API, the AUTOMATIC1111 API, health, metrics."""
