"""The building blocks of importance methods; the methods themselves are in `methods`."""
