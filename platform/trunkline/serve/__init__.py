"""A model at work: files of rows answered as they stream by, and an endpoint that answers for every task in one pass."""
