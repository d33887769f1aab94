"""What importance methods are made of, and, in `methods`, the methods themselves."""
