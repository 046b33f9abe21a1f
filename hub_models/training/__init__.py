"""From a recipe to weights: views, feature cache, losses, loop."""
