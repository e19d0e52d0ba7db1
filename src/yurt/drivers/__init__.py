"""Drivers translate a resolved spec into a running guest. They never import storage, network or images."""
