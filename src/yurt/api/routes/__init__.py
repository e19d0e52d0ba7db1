"""All operations of the API, in the order of the document."""

from yurt.api.routes import archive, host, images, instances, operations, settings, streams

ENDPOINTS = (
    *host.ENDPOINTS,
    *instances.ENDPOINTS,
    *settings.ENDPOINTS,
    *archive.ENDPOINTS,
    *streams.ENDPOINTS,
    *images.ENDPOINTS,
    *operations.ENDPOINTS,
)
