"""Derivatives: the backward and the forward pass over equations, and what is built on them."""
