"""All operations of the API, in the order of the document."""

from yurt.api.routes import archive, host, images, instances, operations, profiles, settings, streams, volumes

ENDPOINTS = (
    *host.ENDPOINTS,
    *instances.ENDPOINTS,
    *settings.ENDPOINTS,
    *archive.ENDPOINTS,
    *streams.ENDPOINTS,
    *images.ENDPOINTS,
    *profiles.ENDPOINTS,
    *volumes.ENDPOINTS,
    *operations.ENDPOINTS,
)
