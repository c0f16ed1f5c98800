"""Operators of neural networks: convolution, matrix product, pooling, normalisation, attention."""
