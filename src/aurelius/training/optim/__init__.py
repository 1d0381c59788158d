"""The optimizers, one module each, named after their settings in `config.optimizers`."""
