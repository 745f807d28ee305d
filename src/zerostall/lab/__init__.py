"""Measuring and forecasting: what a model costs, and how well it does."""
