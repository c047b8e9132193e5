"""YAML files with positions: read, checked against a schema, written."""
