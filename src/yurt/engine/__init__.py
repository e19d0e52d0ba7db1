"""The verbs: the only floor where drivers, images, storage and state meet."""
