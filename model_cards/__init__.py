"""Model cards: templates, what their examples printed, their pictures, and the generated cards."""
