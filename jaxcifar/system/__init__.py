"""The machine and the operating system: devices, cores, XLA flags, files, commands, output."""
