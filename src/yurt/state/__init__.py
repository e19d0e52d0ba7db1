"""Where documents live: one protocol, SQLite on one host and etcd in a cluster."""
