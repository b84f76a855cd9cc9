"""The native judge network: configuration, vision towers, connectors and the model, as transformers classes."""
