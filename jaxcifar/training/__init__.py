"""How a step is made: augmentation, loss, optimizer, state, the compiled epoch."""
