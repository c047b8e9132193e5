"""Recipe and cards -> live objects; the only composer."""
