"""The client side of the REST API: transport, requests as pure functions, and the Python SDK."""
