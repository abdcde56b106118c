"""Merging without transformers: tensors by name from safetensors, arithmetic in float32, one tensor at a time."""
