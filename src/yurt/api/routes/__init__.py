"""All operations of the API, in the order of the document."""

from yurt.api.routes import (
    archive,
    connect,
    host,
    images,
    imports,
    instances,
    networks,
    nics,
    operations,
    profiles,
    settings,
    streams,
    volumes,
)

ENDPOINTS = (
    *host.ENDPOINTS,
    *instances.ENDPOINTS,
    *settings.ENDPOINTS,
    *archive.ENDPOINTS,
    *streams.ENDPOINTS,
    *connect.ENDPOINTS,
    *images.ENDPOINTS,
    *imports.ENDPOINTS,
    *profiles.ENDPOINTS,
    *volumes.ENDPOINTS,
    *networks.ENDPOINTS,
    *nics.ENDPOINTS,
    *operations.ENDPOINTS,
)
