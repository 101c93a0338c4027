"""Data on its way to the model: loaders and their limits, several loaders as one, batches onto a device."""
