"""Pages that people look at, made of the files of a run or a comparison, without TensorFlow."""
