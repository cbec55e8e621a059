"""The machine and the operating system: devices, cores, XLA's flags, files, commands."""
