"""Serving: trimmed SavedModels, the files of TensorFlow Serving, verification."""
