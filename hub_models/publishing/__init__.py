"""From a checkpoint folder to a complete Hub repository."""
