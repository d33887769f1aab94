"""The search for lambda or k of an ``importance_mlp``."""
