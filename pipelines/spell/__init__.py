"""SPELL, sparse repellency: diffusion models steered away from protected references, without training."""
