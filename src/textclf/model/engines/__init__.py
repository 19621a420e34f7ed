"""What computes the logits of an encoder: torch, or an engine that was exported for CPUs."""
