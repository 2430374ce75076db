"""What the runtime costs beside the bare engine and codec."""
