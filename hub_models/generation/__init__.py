"""Small class-conditional generators trained here: data, recipes, training, checkpoints."""
