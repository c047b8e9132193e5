"""Where a run goes: this process, an embedded Ray, a cluster."""
