"""jaxcifar: a CIFAR-10 laboratory in JAX."""
