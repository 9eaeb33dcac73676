"""LLM providers' batch endpoints behind one contract; the only package that imports an LLM SDK."""
