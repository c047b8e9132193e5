"""Runs that go elsewhere: what is sent, submitted, watched, stopped. Kind of cluster -> the module that serves it."""

BACKENDS = {
    "local": "machine",
    "ray": "ray_jobs",
    "kuberay": "kuberay",
    "slurm": "slurm",
    "aws": "launcher",
    "gcp": "launcher",
}
