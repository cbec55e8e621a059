"""Training: augmentation, loss, optimizer, state, the compiled epoch, and the trainer."""
