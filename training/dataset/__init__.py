"""The data set factory: scenes of distorted pictures, their labels, and the question-and-answer records of them."""
